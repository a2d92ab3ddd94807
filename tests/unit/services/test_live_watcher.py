"""The queue of one who watches: bounded, honest about what is missing."""

import json

import pytest

from appliance.domain.live import LiveFilter, Note, NoteKind
from appliance.services.live_watcher import HELD_BYTES_MAX, HELD_EVENTS_MAX, Pace, Watcher

pytestmark = pytest.mark.anyio


def watcher() -> Watcher:
    return Watcher("p", LiveFilter())


def kinds(notes: list[Note]) -> list[NoteKind]:
    return [note.kind for note in notes]


async def test_nothing_came() -> None:
    """No news is an empty list, after the time that was given."""
    assert await watcher().take(wait_seconds=0.001) == []


@pytest.mark.parametrize("size", [1, 100, 5000, HELD_BYTES_MAX])
async def test_memory_is_bounded_whatever_comes(size: int) -> None:
    """A million bytes or events later the bound holds, and every event is told or counted."""
    one = watcher()
    number = max(2 * HELD_EVENTS_MAX, 4 * HELD_BYTES_MAX // size)
    lost = 0
    for index in range(number):
        lost += one.offer(b"%d" % index + b" " * (size - len(b"%d" % index)))
        assert one.held_bytes <= HELD_BYTES_MAX
    dropped, *events = await one.take(wait_seconds=1)
    assert json.loads(dropped.body) == {"events": lost}
    assert len(events) + lost == number
    assert [int(note.body) for note in events] == list(range(lost, number))
    assert one.held_bytes == 0


async def test_an_event_larger_than_everything_is_counted() -> None:
    """It takes nothing along."""
    one = watcher()
    one.offer(b"small")
    assert one.offer(b"x" * (HELD_BYTES_MAX + 1)) == 1
    assert kinds(await one.take(wait_seconds=1)) == [NoteKind.DROPPED, NoteKind.EVENT]


async def test_the_order_of_notes() -> None:
    """What is missing is told before what came after it; the end is last."""
    one = watcher()
    one.show(b"1")
    one.offer(b"a")
    one.miss(3)
    one.note_gap()
    one.show(b"2")
    one.end("SHUTTING_DOWN")
    one.offer(b"late")
    notes = await one.take(wait_seconds=1)
    assert kinds(notes) == [
        NoteKind.GAP,
        NoteKind.DROPPED,
        NoteKind.EVENT,
        NoteKind.VISITORS,
        NoteKind.END,
    ]
    assert notes[3].body == b"2"
    assert json.loads(notes[-1].body) == {"reason": "SHUTTING_DOWN"}


async def test_who_is_barred_gets_nothing_more() -> None:
    """What waited is not for them."""
    one = watcher()
    one.offer(b"secret")
    one.show(b"1")
    one.bar("UNAUTHENTICATED")
    one.offer(b"later")
    one.show(b"2")
    assert kinds(await one.take(wait_seconds=1)) == [NoteKind.END]


def test_pace() -> None:
    """A burst passes, then so many a second; a clock that stands or goes back gives nothing."""
    pace = Pace(per_second=10, burst=3)
    passed = 0
    for now in (0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.2, 0.1, 0.2, 100.0):
        if pace.has_room(now):
            pace.spend()
            passed += 1
    assert passed == 3 + 2 + 1
