"""A store for salts and sessions in memory, with failures on demand."""

from collections.abc import Callable

from msgspec import Struct

from appliance.base.errors import ConflictError, UnavailableError


class StoredValue(Struct, frozen=True):
    """A value and its revision."""

    value: bytes
    revision: int


class MemoryStore:
    """Behaves like `storage.streams.kv.Bucket`; `fail_reads` and `fail_writes` cut it off.

    `before_write` runs once before the next write: somebody else getting in between.
    """

    def __init__(self) -> None:
        self.entries: dict[str, StoredValue] = {}
        self.ttls: dict[str, int | None] = {}
        self.calls = 0
        self.fail_reads = False
        self.fail_writes = False
        self.before_write: Callable[[], None] | None = None
        self._revision = 0

    def plant(self, key: str, value: bytes) -> None:
        """Store a value from outside."""
        self._revision += 1
        self.entries[key] = StoredValue(value, self._revision)

    async def load(self, key: str) -> StoredValue | None:
        self.calls += 1
        if self.fail_reads:
            raise UnavailableError("UNAVAILABLE", "the store does not answer")
        return self.entries.get(key)

    async def create(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None
    ) -> StoredValue | None:
        try:
            await self.replace(key, value, expected=0, ttl_seconds=ttl_seconds)
        except ConflictError:
            return self.entries[key]
        return None

    async def replace(
        self, key: str, value: bytes, *, expected: int, ttl_seconds: int | None = None
    ) -> int:
        self.calls += 1
        if self.before_write is not None:
            intrude, self.before_write = self.before_write, None
            intrude()
        if self.fail_writes:
            raise UnavailableError("UNAVAILABLE", "the store does not answer")
        standing = self.entries.get(key)
        if (standing.revision if standing else 0) != expected:
            raise ConflictError("ABORTED", "somebody else wrote meanwhile")
        self.plant(key, value)
        self.ttls[key] = ttl_seconds
        return self._revision
