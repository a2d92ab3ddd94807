"""The threads that statements run in, kept for the next statement.

In a thread that is new to chDB a statement costs 0.6 ms of processor more than in one that ran
another: as much again as a trivial statement costs.

Invariant: a thread is used again only after a statement that ended well, so nothing that chDB ties
to a thread outlives an error or a cancellation. There are never more threads than statements ran at
once, which `limits.py` bounds. Where next: `produce.py`.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue

_Work = tuple[Callable[[], bool], threading.Event]


class StatementThreads:
    """Runs each statement in a thread that no other one has meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Work]] = []

    def start(self, work: Callable[[], bool]) -> threading.Event:
        """Begin `work`, which tells whether it ended well; the event is set when it has ended."""
        with self._lock:
            waiting = self._idle.pop() if self._idle else None
        if waiting is None:
            waiting = self._new()
        ended = threading.Event()
        waiting.put((work, ended))
        return ended

    def _new(self) -> SimpleQueue[_Work]:
        waiting: SimpleQueue[_Work] = SimpleQueue()
        threading.Thread(target=self._serve, args=(waiting,), name="statement", daemon=True).start()
        return waiting

    def _serve(self, waiting: SimpleQueue[_Work]) -> None:
        fit = True
        while fit:
            work, ended = waiting.get()
            try:
                fit = work()
            except BaseException:
                ended.set()
                raise
            if fit:
                with self._lock:
                    self._idle.append(waiting)
            ended.set()
            del work, ended
