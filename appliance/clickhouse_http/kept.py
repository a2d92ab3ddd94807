"""Connections kept for the next statement that wants the same settings.

A new connection with its settings costs 0.5 ms of processor, as much as a trivial statement does,
and a page asks thirty statements at once that differ in their text and parameters only.

Invariant: a connection is taken again only for exactly the settings it has, and only after a SELECT
that ended well and made no temporary table, so it is as a new one would be. The number of kept ones
is bounded. Where next: `run.py`.
"""

import threading
from typing import Final

from appliance.clickhouse_http.engine import Connection

KEPT_MAX: Final = 32
"""One costs 80 kB (measured), and no more than `queries_max` of one kind are ever needed."""

KeptSettings = tuple[tuple[str, str], ...]
"""With the database; in the order in which they were set, because that can matter."""


class KeptConnections:
    """Connections that no statement uses, by the settings they have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[tuple[KeptSettings, Connection]] = []

    def take(self, settings: KeptSettings) -> Connection | None:
        """The connection with these settings that was used last; its user must end its use."""
        with self._lock:
            for index in range(len(self._kept) - 1, -1, -1):
                if self._kept[index][0] == settings:
                    return self._kept.pop(index)[1]
        return None

    def keep(self, settings: KeptSettings, connection: Connection) -> None:
        """Keep a connection that has exactly these settings, in the place of the oldest one."""
        with self._lock:
            self._kept.append((settings, connection))
            surplus = self._kept.pop(0)[1] if len(self._kept) > KEPT_MAX else None
        if surplus is not None:
            surplus.close()

    def close_all(self) -> None:
        """Close every connection that is kept."""
        with self._lock:
            kept, self._kept = self._kept, []
        for _, connection in kept:
            connection.close()
