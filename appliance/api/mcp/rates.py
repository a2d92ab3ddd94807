"""How often one key may call tools, and how many calls it may have in work.

Invariant: known are at most `KEYS_MAX` keys, by their digest, the longest unused goes first unless
it has calls in work; an agent in a loop is refused before its calls reach a store, and other keys
do not notice [mcp 12 #4].
"""

from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import ExhaustedError
from appliance.domain.ingest.allowance import Bucket

CALLS_PER_SECOND: Final = 5
"""In the long run; a key that was quiet may make those of ten seconds at once."""
CALLS_IN_WORK_MAX: Final = 8
KEYS_MAX: Final = 4096
_REASON: Final = "RESOURCE_EXHAUSTED"
_BUSY_SECONDS: Final = 1.0


class _Usage:
    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.in_work = 0


class CallRates:
    """The limits of every key; one of them a process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._usages: OrderedDict[bytes, _Usage] = OrderedDict()

    @contextmanager
    def admitted(self, key: str) -> Generator[None]:
        """Count a call for as long as it runs; raises ExhaustedError when it may not."""
        now = self._clock.monotonic_seconds()
        usage = self._usage(key, now)
        wait = usage.bucket.wait_seconds(now)
        if wait > 0:
            raise ExhaustedError(
                _REASON,
                f"this key may call {CALLS_PER_SECOND} tools a second; wait, then go on",
                retry_seconds=wait,
            )
        if usage.in_work >= CALLS_IN_WORK_MAX:
            raise ExhaustedError(
                _REASON,
                f"this key has {CALLS_IN_WORK_MAX} calls in work; wait for one to end",
                retry_seconds=_BUSY_SECONDS,
            )
        usage.bucket.take(1, now)
        usage.in_work += 1
        try:
            yield
        finally:
            usage.in_work -= 1

    def _usage(self, key: str, now: float) -> _Usage:
        name = sha256(key.encode()).digest()
        usage = self._usages.get(name)
        if usage is None:
            usage = self._usages[name] = _Usage(Bucket(CALLS_PER_SECOND, now))
            self._forget()
        self._usages.move_to_end(name)
        return usage

    def _forget(self) -> None:
        while len(self._usages) > KEYS_MAX:
            name = next((name for name, usage in self._usages.items() if not usage.in_work), None)
            if name is None:
                return
            del self._usages[name]
