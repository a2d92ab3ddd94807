"""Counters of attempts, in PostgreSQL, so that they survive restarts and hold for all processes."""

from datetime import datetime
from typing import Final, cast

from appliance.storage.postgres.pool import Postgres

_COUNT: Final = """
INSERT INTO sign_in_guards AS g (scope, subject_hash, failures, window_start)
VALUES ($1, $2, 1, $3)
ON CONFLICT (scope, subject_hash) DO UPDATE SET
    failures = CASE WHEN g.window_start <= $4 THEN 1 ELSE LEAST(g.failures + 1, 1000000) END,
    window_start = CASE WHEN g.window_start <= $4 THEN $3 ELSE g.window_start END
RETURNING failures
"""
_FORGET: Final = "DELETE FROM sign_in_guards WHERE scope = $1 AND subject_hash = $2"
_TAKE_BACK: Final = """
UPDATE sign_in_guards SET failures = failures - 1
WHERE scope = $1 AND subject_hash = $2 AND failures > 0
"""


async def count_attempt(
    database: Postgres, scope: str, subject_hash: str, *, now: datetime, oldest: datetime
) -> int:
    """Count one more attempt and return how many the window has; windows begun by `oldest` end."""
    async with database.transaction() as transaction:
        row = await transaction.row(_COUNT, scope, subject_hash, now, oldest)
    assert row is not None
    return cast("int", row["failures"])


async def forget_attempts(database: Postgres, scope: str, subject_hash: str) -> None:
    """Begin to count anew."""
    await database.execute(_FORGET, scope, subject_hash)


async def take_back_attempt(database: Postgres, scope: str, subject_hash: str) -> None:
    """One attempt was none."""
    await database.execute(_TAKE_BACK, scope, subject_hash)
