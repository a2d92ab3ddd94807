"""Dead letters: list, show, replay.

Invariant: replaying a healthy letter is safe at any time, because the event store counts an event
once; one that is still poison comes back as a dead letter.
"""

from typing import Final

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.storage.streams.deadletters import DeadLetters, DeadLetterSummary

STREAMS: Final = ("events", "profiles", "misc", "compliance")


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One dead letter with its payload; events' payloads are text, others may be bytes."""

    summary: DeadLetterSummary
    payload: bytes


class ReplayReport(Struct, frozen=True, kw_only=True):
    """What was published again."""

    sequences: tuple[int, ...]


class DeadLettersService:
    """Use-cases about dead letters."""

    def __init__(self, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters

    async def list_letters(self, stream: str = "events") -> tuple[DeadLetterSummary, ...]:
        """The dead letters of a stream, oldest first, at most a thousand."""
        _check_stream(stream)
        return tuple([summary async for summary in self._dead_letters.summaries(stream)])

    async def load_letter(self, stream: str, sequence: int) -> DeadLetter:
        """One dead letter; raises NotFoundError (`DEAD_LETTER_NOT_FOUND`)."""
        _check_stream(stream)
        summary, payload = await self._dead_letters.load(stream, sequence)
        return DeadLetter(summary=summary, payload=payload)

    async def replay(self, stream: str, sequences: tuple[int, ...] | None) -> ReplayReport:
        """Publish these dead letters (None: all of them) where they came from."""
        _check_stream(stream)
        if sequences is None:
            sequences = tuple(
                [summary.sequence async for summary in self._dead_letters.summaries(stream)]
            )
        for sequence in sequences:
            await self._dead_letters.replay(stream, sequence)
        return ReplayReport(sequences=sequences)


def _check_stream(stream: str) -> None:
    if stream not in STREAMS:
        raise InvalidInputError(
            "INVALID_ARGUMENT",
            f"there is no stream {stream!r}",
            hint=f"one of {', '.join(STREAMS)}",
        )
