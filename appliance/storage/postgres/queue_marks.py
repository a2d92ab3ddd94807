"""How far a stream is worked off, as this database remembers it.

Invariant: a mark is older than everything else in the same copy of the database: what it covers was
in every store before it was written. Who writes and reads it is `services/replay.py`.
"""

from typing import Final

import msgspec

from appliance.domain.people.erasure import StreamMark
from appliance.storage.postgres.pool import Postgres

_LOAD: Final = "SELECT life, sequence FROM queue_marks WHERE name = $1"
_SAVE: Final = """
INSERT INTO queue_marks (name, life, sequence) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET life = $2, sequence = $3, update_time = now()
"""
_RAISE: Final = """
SELECT setval('profile_versions', GREATEST($1::bigint, last_value))
FROM profile_versions WHERE last_value < $1
"""


async def load_mark(database: Postgres, name: str) -> StreamMark | None:
    """The mark of this name."""
    row = await database.row(_LOAD, name)
    return None if row is None else msgspec.convert(dict(row), StreamMark)


async def save_mark(database: Postgres, name: str, mark: StreamMark) -> None:
    """Move the mark of this name."""
    await database.execute(_SAVE, name, mark.life, mark.sequence)


async def raise_versions(database: Postgres, above: int) -> bool:
    """Let the next version of a profile be greater than `above`; whether it was not."""
    return await database.row(_RAISE, above) is not None
