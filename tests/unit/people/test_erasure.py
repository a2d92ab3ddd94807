"""The rules of an erasure, and its journal."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from appliance.domain.people.erasure import (
    ID_BYTES_MAX,
    IDS_MAX,
    chunk_ids,
    mentions,
    short_error,
    split_events,
    take_events,
    unite_ids,
)
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.services.erasure_journal import ErasureJournal, JournalEntry


def test_ids_are_united_in_order_without_blanks() -> None:
    assert unite_ids(("e", "P", ""), ["a", "e", "  "], ("b",)) == ("e", "P", "a", "b")


def test_groups_of_ids_fit_a_statement() -> None:
    many = [f"id-{number}" for number in range(2 * IDS_MAX + 1)]
    groups = list(chunk_ids(many))
    assert [one for group in groups for one in group] == many
    assert max(map(len, groups)) <= IDS_MAX
    wide = ["ü" * 2000, "x" * 5000, "y"]
    assert [len(group) for group in chunk_ids(wide)] == [1, 2]
    assert all(sum(len(one.encode()) for one in g) <= ID_BYTES_MAX for g in chunk_ids(wide))
    assert list(chunk_ids(["z" * 20_000])) == [("z" * 20_000,)]
    assert list(chunk_ids([])) == []


def test_an_error_is_cut_between_characters() -> None:
    assert short_error("short") == "short"
    assert len(short_error("ü" * 1000).encode()) == 1024
    assert len(short_error("€" * 1000).encode()) == 1023


ROWS = (
    b'{"project_id":"p","distinct_id":"e1","kind":"a"}\n'
    b'{"project_id":"p","distinct_id":"e10","kind":"e1"}\n'
    b'{"project_id":"q","distinct_id":"e1"}\n'
    b"\n"
    b'{"project_id":"p","distinct_id":"e1","kind":\n'
    b"not rows at all\n"
)


def test_rows_are_told_apart_exactly() -> None:
    """The id and the project must be the same; a torn row counts when it shows both."""
    split = split_events(ROWS, "p", {"e1"})
    assert split.theirs == 2
    assert [line[:40] for line in split.others] == [
        b'{"project_id":"p","distinct_id":"e10","k',
        b'{"project_id":"q","distinct_id":"e1"}',
        b"not rows at all",
    ]
    assert len(take_events(ROWS, "p", {"e1"})) == 2


def test_an_unreadable_message_is_recognised_by_its_fields() -> None:
    whole = ProfileIdentifyMessage(project_id="project-1", external_id="e1").to_binary()
    torn = whole + b"\xff"
    assert mentions(torn, "project-1", {"e1"})
    assert not mentions(torn, "project-1", {"e"})
    assert not mentions(torn, "project-2", {"e1"})
    long = "x" * 300
    longer = ProfileIdentifyMessage(project_id="project-1", external_id=long).to_binary()
    assert mentions(longer, "project-1", {long})


def entry(request: str, *ids: str, completed: bool = False, day: int = 1) -> JournalEntry:
    return JournalEntry(
        at=datetime(2026, 11, day, tzinfo=UTC),
        request_id=request,
        project_id="p",
        profile_id="",
        external_id=ids[0],
        distinct_ids=ids,
        events=1,
        requested_at=datetime(2026, 11, 1, tzinfo=UTC),
        completed=completed,
    )


@pytest.mark.anyio
async def test_the_journal_merges_and_outlives_a_torn_line(tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "erasures"
    journal = ErasureJournal(folder)
    assert await journal.entries() == ()
    await journal.append(entry("R1", "e1"))
    (path,) = folder.iterdir()
    with path.open("ab") as file:
        file.write(b'{"request_id": "torn')
    await journal.append(entry("R1", "e1", "P1", completed=True))
    await journal.append(entry("R2", "e2"))
    later = msgspec.structs.replace(
        entry("R2", "e2", "a"), at=datetime(2026, 12, 1, tzinfo=UTC), completed=True
    )
    await journal.append(later)
    found = {one.request_id: one for one in await journal.entries()}
    assert found["R1"].completed
    assert found["R1"].distinct_ids == ("e1", "P1")
    assert found["R2"].distinct_ids == ("e2", "a")
    assert sorted(one.name for one in folder.iterdir()) == ["2026-11.jsonl", "2026-12.jsonl"]
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
