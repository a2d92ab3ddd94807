"""Answers that were just given, for whoever asks the same before anything was stored.

Invariant: an answer is given again only for the same project, the same complete question (defaults
filled in, zone of the project) and the same version of the stored data, and never after
`KEPT_SECONDS` [insights 21.4]. The bytes kept are bounded as a whole; the oldest use goes first.
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.domain.insights.spec import InsightSpec

KEPT_SECONDS: Final = 60.0
KEPT_BYTES_MAX: Final = 16 * 1024 * 1024
ANSWER_BYTES_MAX: Final = 1024 * 1024
"""A longer answer is not kept: it would push out many others."""

ENTRY_BYTES: Final = 512
"""What keeping one answer takes beside its bytes, roughly."""

_DIGEST_BYTES: Final = 32


class Asked(Struct, frozen=True, kw_only=True):
    """One question, as the key of its answer."""

    project_id: str
    question: bytes
    data_version: int


class _Kept(Struct, frozen=True):
    answer: bytes
    until: float


def name_question(project_id: str, spec: InsightSpec, data_version: int) -> Asked:
    """The key of a question about the data of one version."""
    encoded = msgspec.msgpack.encode(spec)
    digest = blake2b(encoded, digest_size=_DIGEST_BYTES).digest()
    return Asked(project_id=project_id, question=digest, data_version=data_version)


class KeptAnswers:
    """A small memory of answers, in their wire form."""

    def __init__(self, clock: Clock, *, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._clock = clock
        self._bytes_max = bytes_max
        self._kept: OrderedDict[Asked, _Kept] = OrderedDict()
        self.bytes_held = 0

    def find(self, asked: Asked) -> bytes | None:
        """The answer given to this question within the last minute, if it is still here."""
        kept = self._kept.get(asked)
        if kept is None:
            return None
        if self._clock.monotonic_seconds() >= kept.until:
            self._drop(asked)
            return None
        self._kept.move_to_end(asked)
        return kept.answer

    def keep(self, asked: Asked, answer: bytes) -> None:
        """Remember an answer; one that is too long is not remembered."""
        if len(answer) > ANSWER_BYTES_MAX:
            return
        if asked in self._kept:
            self._drop(asked)
        until = self._clock.monotonic_seconds() + KEPT_SECONDS
        self._kept[asked] = _Kept(answer, until)
        self.bytes_held += len(answer) + ENTRY_BYTES
        while self.bytes_held > self._bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, asked: Asked) -> None:
        self.bytes_held -= len(self._kept.pop(asked).answer) + ENTRY_BYTES
