"""What waits for one person who watches, and how many events a project may show.

Invariant: a watcher never holds more than `HELD_BYTES_MAX`; the oldest events go first, and how
many went is told before what came after them. Telling never waits for anybody.
"""

import asyncio
from collections import deque
from typing import Final

import msgspec

from appliance.base.tasks import wait
from appliance.domain.live import LiveFilter, Note, NoteKind

HELD_BYTES_MAX: Final = 128 << 10
HELD_EVENTS_MAX: Final = 1000


class Watcher:
    """The queue of one stream; made and closed by `LiveService`."""

    def __init__(self, project_id: str, wanted: LiveFilter) -> None:
        self.project_id = project_id
        self.wanted = wanted
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._dropped = 0
        self._gap = False
        self._visitors: bytes | None = None
        self._ended = ""
        self._ready = asyncio.Event()
        self.over = asyncio.Event()
        """Set when there is an end to be told, to a reader that may be reading nothing."""

    @property
    def held_bytes(self) -> int:
        """How much waits to be taken."""
        return self._held_bytes

    def offer(self, told: bytes) -> int:
        """Add an event; returns how many are lost for it."""
        if self._ended:
            return 0
        lost = 0
        if len(told) > HELD_BYTES_MAX:
            lost = 1
        else:
            self._held.append(told)
            self._held_bytes += len(told)
        while self._held_bytes > HELD_BYTES_MAX or len(self._held) > HELD_EVENTS_MAX:
            self._held_bytes -= len(self._held.popleft())
            lost += 1
        self._dropped += lost
        self._ready.set()
        return lost

    def miss(self, events: int) -> None:
        """Count events that came and are not told."""
        self._dropped += events
        self._ready.set()

    def note_gap(self) -> None:
        """Remember that nobody knows what came meanwhile."""
        self._gap = True
        self._ready.set()

    def show(self, visitors: bytes) -> None:
        """Replace the number of visitors that is told next."""
        if not self._ended:
            self._visitors = visitors
            self._ready.set()

    def end(self, reason: str) -> None:
        """Let the stream end after what waits; the first reason counts."""
        self._ended = self._ended or reason
        self._ready.set()
        self.over.set()

    def bar(self, reason: str) -> None:
        """Let the stream end at once: what waits is not for this watcher any more."""
        self._held.clear()
        self._held_bytes = 0
        self._dropped = 0
        self._gap = False
        self._visitors = None
        self._ended = reason
        self._ready.set()
        self.over.set()

    async def take(self, *, wait_seconds: float) -> list[Note]:
        """What is to be told now; nothing when nothing came in time. END is the last note."""
        await wait(self._ready, wait_seconds)
        self._ready.clear()
        notes: list[Note] = []
        if self._gap:
            self._gap = False
            notes.append(Note(NoteKind.GAP, b"{}"))
        if self._dropped:
            body = msgspec.json.encode({"events": self._dropped})
            self._dropped = 0
            notes.append(Note(NoteKind.DROPPED, body))
        notes.extend(Note(NoteKind.EVENT, told) for told in self._held)
        self._held.clear()
        self._held_bytes = 0
        if self._visitors is not None:
            notes.append(Note(NoteKind.VISITORS, self._visitors))
            self._visitors = None
        if self._ended:
            notes.append(Note(NoteKind.END, msgspec.json.encode({"reason": self._ended})))
        return notes


class Pace:
    """So many a second, with a reserve for a burst; asked with the time, which it does not know."""

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._at = 0.0

    def has_room(self, now_seconds: float) -> bool:
        """Whether one more may pass now."""
        passed = max(0.0, now_seconds - self._at)
        self._at = max(self._at, now_seconds)
        self._left = min(self._burst, self._left + passed * self._per_second)
        return self._left >= 1

    def spend(self) -> None:
        """Count one that passed."""
        self._left -= 1
