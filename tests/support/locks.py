"""Waiting until one session of PostgreSQL waits for another: the gate of tests about races."""

from appliance.base.tasks import poll
from appliance.storage.postgres.pool import Postgres


async def waits_for_a_lock(database: Postgres, *, sessions: int = 1) -> None:
    """Return when so many sessions wait for locks that others hold."""

    async def waiting() -> bool | None:
        rows = await database.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return len(rows) >= sessions or None

    assert await poll(waiting, every_seconds=0.02, timeout_seconds=10)
