"""Small values in NATS: read, made only if absent, replaced only if unchanged.

Invariant: every write says what it expects to find, so two processes never overwrite each other
unseen. Buckets are made by `nats migrate`: `ledger` lies on disk; `cookieless` lies in memory only,
because the salts in it must never reach a disk or a backup [ingestion 4.6].
"""

from typing import Final, cast

import msgspec
from nats.js.api import Header
from nats.js.errors import NotFoundError

from appliance.base.errors import ConflictError
from appliance.storage.streams.connection import REQUEST_SECONDS_MAX, Streams
from appliance.storage.streams.errors import stream_errors

LEDGER_BUCKET: Final = "ledger"
COOKIELESS_BUCKET: Final = "cookieless"
_OPERATION_HEADER: Final = "KV-Operation"
_ATTEMPTS_MAX: Final = 8
_STREAM_MISSING: Final = 10059


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A value and the revision that a replacement must name."""

    value: bytes
    revision: int


class Bucket:
    """One key-value bucket."""

    def __init__(self, streams: Streams, name: str) -> None:
        self._streams = streams
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def load(self, key: str) -> Entry | None:
        """The value of `key`, or None; raises UnavailableError when the queue does not answer."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            try:
                # not a direct read: only the leader's answer is certain to be the newest
                message = await jetstream.get_last_msg(self._stream, self._prefix + key)
            except NotFoundError as error:
                if error.err_code == _STREAM_MISSING:
                    raise
                return None
        headers = cast("dict[str, str]", message.headers or {})
        if _OPERATION_HEADER in headers:
            return None
        assert message.seq is not None
        return Entry(value=message.data or b"", revision=message.seq)

    async def create(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None
    ) -> Entry | None:
        """Store `value` only if `key` has none; returns None, or the entry that stands there.

        Set-if-absent and read-back in one call, as cookieless sessions need it [ingestion 4.5].
        """
        for _ in range(_ATTEMPTS_MAX):
            try:
                await self.replace(key, value, expected=0, ttl_seconds=ttl_seconds)
            except ConflictError:
                standing = await self.load(key)
                if standing is not None:
                    return standing
            else:
                return None
        raise ConflictError("ABORTED", "the value keeps changing")

    async def replace(
        self, key: str, value: bytes, *, expected: int, ttl_seconds: int | None = None
    ) -> int:
        """Store `value` if the newest revision is `expected` (0: none); returns the revision.

        Raises ConflictError when somebody else wrote meanwhile.
        """
        jetstream = await self._streams.jetstream()
        with stream_errors():
            answer = await jetstream.publish(
                self._prefix + key,
                value,
                timeout=REQUEST_SECONDS_MAX,
                headers={Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(expected)},
                msg_ttl=ttl_seconds,
            )
        return answer.seq

    async def put(self, key: str, value: bytes, *, ttl_seconds: int | None = None) -> int:
        """Store `value` whatever stands there; returns the revision."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            answer = await jetstream.publish(
                self._prefix + key, value, timeout=REQUEST_SECONDS_MAX, msg_ttl=ttl_seconds
            )
        return answer.seq
