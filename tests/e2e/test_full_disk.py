"""A full disk: nothing acknowledged is lost, 503 with Retry-After, answers, back by itself."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.small_disk import Filler, small_disk
from tests.support.stack import Stack, running_stack, until
from tests.support.traffic import SENDER_EVENTS, Sender

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

MIB = 1 << 20
DISK_MEBIBYTES = 900
RESERVE = ("--set", "disk.reserve=200MiB", "--set", "disk.ballast=64MiB")
NOTHING = ("--set", "disk.reserve=0B", "--set", "disk.ballast=0B")
BACK_SECONDS_MAX = 90


def all_are_there(stack: Stack, sender: Sender, kind: str) -> None:
    """What was acknowledged is counted once, in the roll-ups and in the raw table.

    The last batch may be stored although the sender stopped before it heard of that.
    """
    least = sender.acknowledged * SENDER_EVENTS
    for raw in (False, True):
        total = until(
            lambda raw=raw: found if (found := stack.trend(kind, raw=raw)) >= least else None,
            what=f"{least} events",
            seconds=BACK_SECONDS_MAX,
        )
        assert total in {least, least + SENDER_EVENTS}


def restarted(stack: Stack) -> dict[str, object]:
    """Components that were started more than once, with their last cause."""
    return {name: line["cause"] for name, line in stack.status().items() if line["restarts"]}


def test_events_are_refused_before_the_disk_is_full(tmp_path: Path):
    """Below the reserve: 503 and Retry-After, answers, no restart; above it: as before."""
    with small_disk(tmp_path, mebibytes=DISK_MEBIBYTES) as disk:
        filler = Filler(disk)
        with running_stack(disk / "data", *RESERVE) as stack:
            sender = Sender(stack, "soft")
            with sender.running():
                sender.waits_for(20)
                assert restarted(stack) == {}
                filler.leave(150 * MIB)
                sender.is_refused()
                assert set(sender.refused) == {(503, "1")}
                until(lambda: stack.trend("soft") > 0 or None, what="answers", seconds=30)
                metrics = stack.client.get("/metrics").text
                assert "disk_reserve_bytes 2.097152e+08" in metrics
                assert "ingest_refused_disk_full_total 0.0" not in metrics
                filler.give_back()
                sender.waits_for(20)
            assert restarted(stack) == {}
            all_are_there(stack, sender, "soft")


def test_engines_killed_on_a_full_disk_answer_again_thanks_to_the_ballast(tmp_path: Path):
    """Somebody takes the last byte and every engine dies: questions are answered all the same."""
    with small_disk(tmp_path, mebibytes=DISK_MEBIBYTES) as disk:
        filler = Filler(disk)
        ballast = disk / "data" / "spool" / "ballast"
        with running_stack(disk / "data", *RESERVE) as stack:
            assert ballast.stat().st_size == 64 * MIB
            sender = Sender(stack, "hard")
            with sender.running():
                sender.waits_for(20)
                filler.leave(0)
                until(lambda: None if ballast.exists() else True, what="no ballast", seconds=30)
                sender.is_refused()
                for victim in ("postgres", "clickhouse", "nats", "api"):
                    os.kill(stack.pid(victim), signal.SIGKILL)
                stack.wait_ready()
                assert filler.free_bytes < 64 * MIB
                until(lambda: stack.trend("hard") > 0 or None, what="answers", seconds=30)
                for _ in range(20):
                    assert stack.trend("hard") > 0, stack.log.read_text()
                assert stack.trend("hard") > 0
                assert {status for status, _ in sender.refused} == {503}
                filler.give_back()
                sender.waits_for(20)
            stack.wait_ready()
            all_are_there(stack, sender, "hard")
            until(lambda: True if ballast.exists() else None, what="ballast", seconds=30)


def test_without_reserve_and_ballast(tmp_path: Path):
    """The control arm: the queue meets the end of the disk and killed engines stay away.

    They come back with the space, by themselves, and still nothing acknowledged is lost.
    """
    with small_disk(tmp_path, mebibytes=DISK_MEBIBYTES) as disk:
        filler = Filler(disk)
        with running_stack(disk / "data", *NOTHING) as stack:
            sender = Sender(stack, "bare")
            with sender.running():
                sender.waits_for(20)
                filler.leave(0)
                sender.is_refused(times=1)
                os.kill(stack.pid("postgres"), signal.SIGKILL)
                until(
                    lambda: True if stack.status()["postgres"]["state"] == "BACKING_OFF" else None,
                    what="a PostgreSQL that cannot start",
                    seconds=BACK_SECONDS_MAX,
                )
                assert {status for status, _ in sender.refused} == {503}
                filler.give_back()
                sender.waits_for(20)
            stack.wait_ready()
            all_are_there(stack, sender, "bare")
        log = (disk / "data" / "logs" / "nats.jsonl").read_text()
        assert "no space left on device" in log
