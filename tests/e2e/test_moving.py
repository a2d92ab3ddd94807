"""Events moved between a file and a running appliance, with everything killed on the way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.stack import Json, Stack, pug, running_stack, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
EVENTS = 40_000
KILLS = 3
NOON = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    with running_stack(tmp_path_factory.mktemp("moving") / "pug") as running:
        yield running


def line(number: int, kind: str, *, id_digit: int = 4, **custom: object) -> Json:
    """One event of yesterday or the days before, the same for the same numbers."""
    at = NOON - timedelta(milliseconds=1 + number * 3671)
    return {
        "event_id": f"{number:08x}-0000-{id_digit}000-8000-{number:012x}",
        "kind": kind,
        "occur_time": at.isoformat(),
        "distinct_id": f"user-{number % 50}",
        "session_id": f"{number % 300:08x}-0000-4000-9000-000000000000",
        "auto_properties": {"$url": "https://shop.example/a?utm_source=google", "$country": "AT"},
        "custom_properties": custom,
    }


def write(path: Path, lines: list[Json]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def records_done(stack: Stack) -> int:
    """How far the only unfinished import is, by its journal."""
    done = 0
    for path in (stack.data_dir / "imports").glob("*/state.json"):
        with suppress(FileNotFoundError):  # of an import that has just ended
            done = max(done, json.loads(path.read_bytes())["records"])
    return done


def run_import(stack: Stack, file: Path, *words: str) -> Json:
    project = stack.connection.project_id
    told = pug(
        *("import", "events", str(file), "--json", "--project", project, *words),
        data_dir=stack.data_dir,
    )
    assert told.returncode in {0, 1}, told.stderr
    result: Json = json.loads(told.stdout.splitlines()[-1])
    return result


def new_project(stack: Stack, name: str) -> str:
    told = pug("project", "create", name, "--json", data_dir=stack.data_dir)
    return str(json.loads(told.stdout)["id"])


def export(stack: Stack, project: str, path: Path, *words: str) -> bytes:
    told = pug("export", "events", project, "--to", str(path), *words, data_dir=stack.data_dir)
    assert told.returncode == 0, told.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_bytes()


def kill_import_at(stack: Stack, file: Path, records: int, *, project: str = "") -> None:
    """Start the command and `kill -9` it when so many records are done."""
    chosen = project or stack.connection.project_id
    words = ("import", "events", str(file), "--project", chosen)
    process = subprocess.Popen(
        [sys.executable, "-m", "appliance", *words, "--data-dir", str(stack.data_dir)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(
            lambda: records_done(stack) >= records or None,
            what=f"{records} records",
            seconds=120,
            pause=0.01,
        )
    finally:
        process.kill()
        process.wait()


def test_an_import_killed_anywhere_counts_once(stack: Stack, tmp_path: Path) -> None:
    """The command and the events worker are killed, the command repeated: every event is once in
    the raw table and once in the roll-ups. The control: other ids are other events, so a loss or
    a second count would have shown.
    """
    lines = [line(number, "moved", plan="pro", n=number) for number in range(EVENTS)]
    file = write(tmp_path / "events.jsonl", lines)
    for turn in range(KILLS):
        kill_import_at(stack, file, EVENTS * (turn + 1) // (KILLS + 2))
        if turn == 1:
            os.kill(stack.pid("events"), signal.SIGKILL)
    report = run_import(stack, file)
    assert report["resumed_at"] > 0  # type: ignore[operator]
    assert report["records"] == report["events"] == EVENTS
    assert report["stored"] is True
    for raw in (True, False):
        stack.trend_reaches("moved", EVENTS, raw=raw)
    again = run_import(stack, file)
    assert (again["resumed_at"], again["events"]) == (0, EVENTS)
    for raw in (True, False):
        assert stack.trend("moved", raw=raw) == EVENTS
    others = [line(number, "moved", id_digit=5) for number in range(100)]
    run_import(stack, write(tmp_path / "others.jsonl", others))
    for raw in (True, False):
        stack.trend_reaches("moved", EVENTS + 100, raw=raw)


def test_what_is_exported_comes_back_the_same(stack: Stack, tmp_path: Path) -> None:
    """In each format: export, import elsewhere, export again: the same bytes."""
    project = new_project(stack, "origin")
    odd: Json = {
        "int": 1,
        "big": 2**53 + 1,
        "double": 1.0,
        "huge": 1e21,
        "tiny": -1e-7,
        "text": "1",
        "true": True,
        "empty": "",
        'odd, "key"': 'line\nbreak, "quote"; ä € 😀 \\ /',
        "object": '{"timestampValue":"2026-01-01T00:00:00Z"}',
        "at": {"timestampValue": "2026-01-02T03:04:05.678Z"},
    }
    lines = [line(number, "odd.kind", **odd) for number in range(20)]
    lines += [line(number, "plain") for number in range(3000)]
    auto: Json = {
        "$url": "https://shop.example/ä?utm_medium=cpc",
        "$mobile": True,
        "$bot_score": 12,
        "$verified_bot": False,
        "$screenWidth": 1920,
        "$when": {"timestampValue": "1969-12-31T23:59:59.999Z"},
        "$referrer": "https://www.google.com/",
        "$pageTitle": "a\tb",
    }
    lines[0]["auto_properties"] = auto
    lines[1]["distinct_id"] = "cookieless-AAAAAAAAAAAAAAAAAAAAAA"
    lines[2]["occur_time"] = "1969-07-20T20:17:40.123Z"
    file = write(tmp_path / "origin.jsonl", lines)
    assert run_import(stack, file, "--project", project)["events"] == len(lines)
    wanted = export(stack, project, tmp_path / "wanted.jsonl")
    assert len(wanted.splitlines()) == len(lines)
    first = next(json.loads(one) for one in wanted.splitlines() if b'"$when"' in one)
    assert first["auto_properties"]["$channel"] == "Paid Search"
    assert first["auto_properties"] | auto == first["auto_properties"]
    assert first["custom_properties"] == odd
    for form in ("jsonl", "jsonl.gz", "csv", "parquet"):
        moved = tmp_path / f"moved.{form}"
        export(stack, project, moved)
        other = new_project(stack, form)
        report = run_import(stack, moved, "--project", other)
        assert (report["events"], report["refused"]) == (len(lines), 0)
        assert export(stack, other, tmp_path / f"back-{form}.jsonl") == wanted
    acts = pug("audit", "list", "--action", "project.events", "--json", data_dir=stack.data_dir)
    assert {one["action"] for one in json.loads(acts.stdout)} == {
        "project.events.import",
        "project.events.export",
    }
    chosen = ("--kind", "odd.kind", "--property", "$country=AT", "--distinct-id", "user-5")
    some = export(stack, project, tmp_path / "some.jsonl", *chosen)
    assert [json.loads(one)["distinct_id"] for one in some.splitlines()] == ["user-5"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_goes_on_where_it_was_killed(stack: Stack, tmp_path: Path, form: str) -> None:
    """No row is passed over and none is told twice: both sides export the same bytes."""
    project = new_project(stack, f"{form}-origin")
    lines = [line(number, "row", note="a\nb") for number in range(20_000)]
    run_import(stack, write(tmp_path / "rows.jsonl", lines), "--project", project)
    table = tmp_path / f"rows.{form}"
    export(stack, project, table)
    other = new_project(stack, f"{form}-other")
    kill_import_at(stack, table, 4000, project=other)
    report = run_import(stack, table, "--project", other)
    assert report["resumed_at"] >= 4000  # type: ignore[operator]
    assert report["records"] == report["events"] == len(lines)
    wanted = export(stack, project, tmp_path / "wanted.jsonl")
    assert len(wanted.splitlines()) == len(lines)
    assert export(stack, other, tmp_path / "other.jsonl") == wanted


def test_what_is_wrong_is_said_and_nothing_is_left(stack: Stack, tmp_path: Path) -> None:
    """An unknown project, a missing file, a file of something else, a folder that is none."""
    file = write(tmp_path / "events.jsonl", [{"no": "event"}] * 1500)
    words = ("import", "events", str(file), "--project")
    project = stack.connection.project_id
    for wrong, status, reason in (
        ((*words, "nobody"), 1, "PROJECT_NOT_FOUND"),
        ((*words, project), 2, "NOTHING_FITS"),
        (("import", "events", str(tmp_path / "x.csv"), "--project", project), 1, "FILE_MISSING"),
        (("export", "events", "nobody", "--to", str(tmp_path / "x.csv")), 1, "PROJECT_NOT_FOUND"),
        (
            ("export", "events", project, "--to", str(tmp_path / "y" / "x.csv")),
            3,
            "PATH_UNWRITABLE",
        ),
    ):
        told = pug(*wrong, "--json", data_dir=stack.data_dir)
        assert told.returncode == status, told.stderr
        assert json.loads(told.stderr.splitlines()[-1])["error"]["reason"] == reason
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_refused_lines_are_reported_and_the_rest_goes_in(stack: Stack, tmp_path: Path) -> None:
    """Each bad line is in the report with its number, its reason and its text."""
    lines = [json.dumps(line(number, "partly")) for number in range(10)]
    lines[2] = "not json"
    lines[4] = json.dumps({**line(4, "partly"), "kind": "two words"})
    lines[6] = json.dumps({**line(6, "partly"), "occur_time": "soon"})
    file = tmp_path / "partly.jsonl"
    file.write_text("\n".join(lines))
    copy = tmp_path / "refused.jsonl"
    report = run_import(stack, file, "--refused", str(copy))
    assert (report["events"], report["refused"]) == (7, 3)
    told = [json.loads(one) for one in copy.read_text().splitlines()]
    assert [one["line"] for one in told] == [3, 5, 7]
    assert [one["record"] for one in told] == [lines[2], lines[4], lines[6]]
    stack.trend_reaches("partly", 7)


def test_exports_of_other_systems(stack: Stack, tmp_path: Path) -> None:
    """A PostHog table and Segment's raw lines become events, and people where they tell of any."""
    posthog = tmp_path / "posthog.csv"
    at = (NOON - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
    properties = '"{""$current_url"":""https://shop.example/x"",""plan"":""pro""}"'
    identify = '"{""$anon_distinct_id"":""0190a000-0000-7000-8000-000000000001""}"'
    posthog.write_text(
        "uuid,event,distinct_id,properties,timestamp,person_id\n"
        f"0190a000-0000-7000-8000-00000000000a,$pageview,ann,{properties},{at},x\n"
        f"0190a000-0000-7000-8000-00000000000b,Paid invoice,ann,{properties},{at},x\n"
        f"0190a000-0000-7000-8000-00000000000c,$identify,ann,{identify},{at},x\n"
        f"0190a000-0000-7000-8000-00000000000d,$pageview,,{properties},{at},x\n"
    )
    report = run_import(stack, posthog, "--from", "posthog")
    assert (report["events"], report["people"], report["refused"]) == (2, 1, 1)
    stack.trend_reaches("paid_invoice", 1)
    segment = tmp_path / "segment.jsonl"
    call = {"userId": "ann", "timestamp": at + "Z", "context": {}, "messageId": "m-1"}
    calls = [
        {**call, "type": "track", "event": "Order Completed", "properties": {"total": 3}},
        {**call, "type": "identify", "messageId": "m-2", "traits": {"plan": "pro"}},
    ]
    write(segment, calls)
    report = run_import(stack, segment, "--from", "segment")
    assert (report["events"], report["people"], report["refused"]) == (1, 1, 0)
    stack.trend_reaches("purchase", 1)

    def person() -> Json | None:
        answer = stack.client.post(
            "/shared.profiles.v1.ProfilesService/GetByExternalId",
            json={"externalId": "ann"},
            headers={"x-api-key": stack.connection.private_key},
        )
        found: Json = answer.json() if answer.status_code == 200 else {}
        return found if "pro" in json.dumps(found) else None

    until(person, what="the person", seconds=120)
