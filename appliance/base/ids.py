"""Identifiers and randomness, in one place so that tests can seed them.

Invariant: sortable ids are 20 characters of `0-9a-v`, ordered by the second of their making
[services 3.9]. Secrets come from the operating system only.
"""

import itertools
import os
import secrets
import uuid
from typing import Final, Protocol

from appliance.base.clock import Clock, SystemClock

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_ID_BYTES: Final = 12
_ID_CHARACTERS: Final = 20
_COUNTER_VALUES: Final = 1 << 24


class Randomness(Protocol):
    """Where unpredictable bytes come from."""

    def token_bytes(self, count: int) -> bytes:
        """`count` unpredictable bytes."""
        ...


class SystemRandomness:
    """The randomness of the operating system."""

    def token_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)


class IdMaker:
    """Makes 20-character ids that sort by the second of their making [services 3.9]."""

    def __init__(self, clock: Clock | None = None, randomness: Randomness | None = None) -> None:
        self._clock = clock or SystemClock()
        chosen = randomness or SystemRandomness()
        self._machine = chosen.token_bytes(3)
        self._counter = itertools.count(int.from_bytes(chosen.token_bytes(3), "big"))

    def make(self) -> str:
        """A fresh id; unique in this process, unique across processes by chance of 2^-24."""
        seconds = int(self._clock.now().timestamp()) & 0xFFFFFFFF
        count = next(self._counter) % _COUNTER_VALUES
        raw = (
            seconds.to_bytes(4, "big")
            + self._machine
            + (os.getpid() & 0xFFFF).to_bytes(2, "big")
            + count.to_bytes(3, "big")
        )
        return _encode(raw)


def _encode(raw: bytes) -> str:
    assert len(raw) == _ID_BYTES
    number = int.from_bytes(raw, "big") << 4
    return "".join(
        _ALPHABET[(number >> shift) & 31] for shift in range(5 * (_ID_CHARACTERS - 1), -1, -5)
    )


def random_uuid() -> str:
    """A random UUID in canonical dashed form."""
    return str(uuid.uuid4())  # noqa: TID251 the one home of random UUIDs


def random_token(byte_count: int) -> str:
    """`byte_count` unpredictable bytes as lower-case hexadecimal text."""
    return secrets.token_hex(byte_count)


def make_api_key(*, private: bool) -> str:
    """A fresh API key: prefix and 20 hexadecimal characters [services 3.4]."""
    return ("prv_" if private else "pub_") + secrets.token_hex(10)
