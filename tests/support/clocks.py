"""Clocks and randomness that tests control."""

from datetime import UTC, datetime, timedelta


class FixedClock:
    """Stands still until told to move; wall and monotonic time move together."""

    def __init__(self, now: datetime = datetime(2026, 5, 10, 9, 30, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic_seconds(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both times forward."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


class SeededRandomness:
    """Bytes that are the same in every run."""

    def __init__(self, seed: int = 1) -> None:
        self._next = seed

    def token_bytes(self, count: int) -> bytes:
        self._next += 1
        return self._next.to_bytes(count, "big")
