"""Backups of a running appliance, and what comes back from them."""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.integration.lifecycle.backup.support import backup, drilled, killed_at, posting
from tests.support.place_files import write_places
from tests.support.stack import (
    VISIBLE_SECONDS_MAX,
    Stack,
    make_event,
    pug,
    running_stack,
    until,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """A running appliance with some events."""
    with running_stack(tmp_path_factory.mktemp("backup") / "data") as running:
        answer = running.post([make_event("before", page=number) for number in range(50)])
        assert answer.status_code == 200
        running.trend_reaches("before", 50)
        yield running


def objects(target: Path) -> list[Path]:
    """The objects of a target, largest first."""
    found = [path for path in target.glob("pool/*/*") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_size, reverse=True)


def test_everything_acknowledged_comes_back_once(stack: Stack, tmp_path: Path) -> None:
    """Also what was still in the queue, and the database of places; nobody is refused meanwhile."""
    target = tmp_path / "target"
    world = write_places(tmp_path / "world.mmdb")
    imported = pug("geo", "database", "import", str(world), data_dir=stack.data_dir)
    assert imported.returncode == 0, imported.stderr
    with posting(stack, "meanwhile") as work:
        made = backup("create", "--target", str(target), data_dir=stack.data_dir)
        early = work.acknowledged
    assert work.refused == 0
    name = made["backups"][0]["id"]
    verified = backup("verify", name, "--target", str(target), data_dir=stack.data_dir)
    assert verified["verified"][0]["good"]
    other = tmp_path / "other"
    backup("restore", name, "--target", str(target), data_dir=other)
    places = other / "geo" / "places.mmdb"
    assert places.read_bytes() == world.read_bytes()
    assert (places.stat().st_mode & 0o777, places.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    shutil.copy(stack.data_dir / "connection.json", other / "connection.json")
    with running_stack(other) as restored:
        restored.trend_reaches("before", 50)
        restored.trend_reaches("before", 50, raw=True)

        def agreed() -> float | None:
            """What waited in the queue is stored meanwhile, by both tables."""
            total = restored.trend("meanwhile")
            return total if total and restored.trend("meanwhile", raw=True) == total else None

        assert until(agreed, what="both tables", seconds=VISIBLE_SECONDS_MAX) <= early
        answer = restored.post([make_event("after")])
        assert answer.status_code == 200
        restored.trend_reaches("after", 1)


def test_the_second_backup_costs_only_what_is_fresh(stack: Stack, tmp_path: Path) -> None:
    """What did not change is kept once."""
    target = ("--target", str(tmp_path / "target"))
    first = backup("create", *target, data_dir=stack.data_dir)["backups"][0]
    second = backup("create", *target, data_dir=stack.data_dir)["backups"][0]
    assert second["bytes_added"] < first["bytes_added"] / 2
    listed = backup("list", *target, data_dir=stack.data_dir)["backups"]
    assert [one["id"] for one in listed] == [first["id"], second["id"]]


def test_a_flipped_bit_is_named(stack: Stack, tmp_path: Path) -> None:
    """And the next backup writes the object anew."""
    target = tmp_path / "target"
    words = ("--target", str(target))
    backup("create", *words, data_dir=stack.data_dir)
    victim = objects(target)[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    report = backup("verify", *words, data_dir=stack.data_dir, status=1)["verified"][0]
    assert len(report["damaged"]) == 1
    assert victim.name in report["damaged"][0]
    named = ("queue stream", "table", "PostgreSQL")
    assert any(what in report["damaged"][0] for what in named), report["damaged"]
    told = pug("backup", "restore", "latest", *words, data_dir=tmp_path / "other")
    assert told.returncode == 6
    assert "damaged" in told.stderr
    backup("create", *words, data_dir=stack.data_dir)
    assert backup("verify", *words, data_dir=stack.data_dir)["verified"][0]["good"]


def test_a_flipped_bit_of_a_manifest_is_named(stack: Stack, tmp_path: Path) -> None:
    """The others are not touched."""
    target = tmp_path / "target"
    words = ("--target", str(target))
    name = backup("create", *words, data_dir=stack.data_dir)["backups"][0]["id"]
    manifest = target / "backups" / name / "manifest"
    content = bytearray(manifest.read_bytes())
    content[-10] ^= 1
    manifest.write_bytes(content)
    listed = backup("list", *words, data_dir=stack.data_dir)["backups"]
    assert listed == [{"id": name, "target": str(target), "damaged": True}]
    told = pug("backup", "verify", name, *words, data_dir=stack.data_dir)
    assert (told.returncode, name in told.stderr) == (1, True)
    backup("create", *words, data_dir=stack.data_dir)
    assert backup("verify", *words, data_dir=stack.data_dir)["verified"][0]["good"]


def test_a_killed_backup_leaves_the_others(stack: Stack, tmp_path: Path) -> None:
    """At every stage; the worker goes on, and the next backup removes what was left."""
    target = tmp_path / "target"
    words = ("--target", str(target))
    sealed = 1
    backup("create", *words, data_dir=stack.data_dir)
    for step in ("moment", "dump", "read", "store", "seal"):
        stack.post([make_event("killed")])
        begun = killed_at(step, "create", *words, data_dir=stack.data_dir)
        listed = backup("list", *words, data_dir=stack.data_dir)["backups"]
        # sealing takes less time than a signal
        assert len(listed) in ({sealed, sealed + 1} if "seal" in begun else {sealed})
        sealed = len(listed)
    made = backup("create", *words, data_dir=stack.data_dir)["backups"][0]["id"]
    assert backup("verify", made, *words, data_dir=stack.data_dir)["verified"][0]["good"]
    assert not list(stack.data_dir.rglob("pug_backup_*"))
    stack.trend_reaches("killed", 5)
    stack.trend_reaches("killed", 5, raw=True)


RESTORE_STEPS = ("rebuild", "stop", "exchange", "secrets", "tidy")


def test_a_killed_restore_ends_wholly_old_or_wholly_restored(stack: Stack, tmp_path: Path) -> None:
    """After a power cut before and after every step, the next command brings it to its end."""
    target = tmp_path / "target"
    words = ("--target", str(target))
    name = backup("create", *words, data_dir=stack.data_dir)["backups"][0]["id"]
    live = tmp_path / "live"
    backup("restore", name, *words, data_dir=live)
    for step in RESTORE_STEPS:
        for mark in ("begun", "done"):
            (live / "clickhouse" / "old").write_text("old")
            status = drilled(f"{step}.{mark}", "restore", name, *words, data_dir=live)
            assert status == -9, step
            told = pug("backup", "finish", data_dir=live)
            assert told.returncode == 0, told.stderr
            restored = (step, mark) == ("secrets", "done") or step == "tidy"
            assert (live / "clickhouse" / "old").exists() != restored, (step, mark)
            assert not (live / "restoring").exists()
            (live / "clickhouse" / "old").unlink(missing_ok=True)
    (live / "clickhouse" / ".replaced" / "old").unlink(missing_ok=True)
    shutil.copy(stack.data_dir / "connection.json", live / "connection.json")
    with running_stack(live) as restored_stack:
        restored_stack.trend_reaches("before", 50)
        restored_stack.trend_reaches("before", 50, raw=True)


def test_secrets_can_be_sealed(stack: Stack, tmp_path: Path) -> None:
    """Without the passphrase nothing is shown but the list; no secret is in the target."""
    target = tmp_path / "target"
    word = tmp_path / "word"
    word.write_text("correct horse battery staple\n")
    word.chmod(0o600)
    words = ("--target", str(target), "--passphrase-file", str(word))
    made = backup("create", *words, data_dir=stack.data_dir)["backups"][0]
    assert made["encrypted"]
    assert backup("create", *words, data_dir=stack.data_dir)["backups"][0]["bytes_added"] < 1 << 20
    secret = (stack.data_dir / "secrets" / "session-signing-key").read_bytes()
    for path in target.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()
    assert len(backup("list", "--target", str(target), data_dir=stack.data_dir)["backups"]) == 2
    told = pug("backup", "restore", "latest", "--target", str(target), data_dir=tmp_path / "other")
    assert told.returncode == 4
    assert "--passphrase-file" in told.stderr
    wrong = tmp_path / "wrong"
    wrong.write_text("guess")
    wrong.chmod(0o600)
    told = pug(
        *("backup", "verify", "--target", str(target), "--passphrase-file", str(wrong)),
        data_dir=stack.data_dir,
    )
    assert "not the passphrase" in told.stderr
    assert backup("verify", *words, data_dir=stack.data_dir)["verified"][0]["good"]
    backup("restore", "latest", *words, data_dir=tmp_path / "other")
    assert (tmp_path / "other" / "secrets" / "session-signing-key").read_bytes() == secret
