"""Sessions: a connection that outlives one request, with its temporary tables and settings.

Invariant: one request at a time uses a session, a second one is told SESSION_IS_LOCKED; a session
that nobody used for its time is closed; their number is bounded.
"""

import threading
from typing import Final

from appliance.base.clock import Clock
from appliance.clickhouse_http.engine import Connection, Engine
from appliance.clickhouse_http.errors import Codes, EngineError

SESSIONS_MAX: Final = 2000
"""Idle sessions cost memory; the oldest idle one is closed beyond this number."""


class Session:
    """One named connection and what its statements left behind."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.connection = connection
        self.database = "default"
        self.customised = False
        self.busy = True
        self.expires_at = 0.0


class Sessions:
    """All sessions of the process."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def take(self, name: str, *, must_exist: bool) -> Session:
        """Use a session alone; raises EngineError 372 or 373."""
        with self._lock:
            self._close_expired()
            session = self._sessions.get(name)
            if session is None:
                if must_exist:
                    raise EngineError(Codes.SESSION_NOT_FOUND, f"Session {name} not found")
                self._make_room()
                session = Session(name, self._engine.connect())
                self._sessions[name] = session
                return session
            if session.busy:
                raise EngineError(
                    Codes.SESSION_IS_LOCKED, f"Session {name} is locked by a concurrent client"
                )
            session.busy = True
            return session

    def give_back(self, session: Session, *, seconds: int, close: bool) -> None:
        """End the use of a session and let it live `seconds` more."""
        with self._lock:
            session.busy = False
            session.expires_at = self._clock.monotonic_seconds() + seconds
            if close:
                del self._sessions[session.name]
                session.connection.close()

    def close_all(self) -> None:
        """Close every session that no request uses."""
        with self._lock:
            for session in list(self._sessions.values()):
                if not session.busy:
                    del self._sessions[session.name]
                    session.connection.close()

    def _close_expired(self) -> None:
        now = self._clock.monotonic_seconds()
        for name, session in list(self._sessions.items()):
            if not session.busy and session.expires_at < now:
                del self._sessions[name]
                session.connection.close()

    def _make_room(self) -> None:
        if len(self._sessions) < SESSIONS_MAX:
            return
        idle = [session for session in self._sessions.values() if not session.busy]
        if not idle:
            raise EngineError(Codes.TOO_MANY_SIMULTANEOUS_QUERIES, "Too many sessions")
        oldest = min(idle, key=lambda session: session.expires_at)
        del self._sessions[oldest.name]
        oldest.connection.close()
