"""Leases and runs of jobs in PostgreSQL.

Invariant: who leads is one row, and every act of a leader in this database locks that row in a way
that excludes only its being taken over (`FOR KEY SHARE` against `FOR UPDATE`; a renewal waits for
neither). So a leader that lost its lease, however late it notices, writes nothing. A leader that
hangs inside a transaction is cut off by the server, so that it cannot keep its successor waiting.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.base.errors import ConflictError
from appliance.domain.jobs import JobRun
from appliance.domain.schedule import LastRun, Outcome, is_lease_free
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres, Transaction

DETAIL_CHARACTERS_MAX: Final = 500
LEASE_LOST: Final = "LEASE_LOST"


class LeaseRow(Struct, frozen=True, kw_only=True):
    """Who leads, in which term, until when."""

    holder: str
    term: int
    expires_at: datetime


_LOOK: Final = """
SELECT holder, term, expire_time AS expires_at FROM job_leases WHERE name = $1
"""
_OFFER: Final = """
INSERT INTO job_leases (name, holder, term, expire_time) VALUES ($1, '', 0, $2)
ON CONFLICT (name) DO NOTHING
"""
_LOCK: Final = """
SELECT holder, term, expire_time AS expires_at FROM job_leases WHERE name = $1 FOR UPDATE
"""
_TAKE: Final = "UPDATE job_leases SET holder = $2, term = $3, expire_time = $4 WHERE name = $1"
_RENEW: Final = (
    "UPDATE job_leases SET expire_time = $4 WHERE name = $1 AND holder = $2 AND term = $3"
)
_FENCE: Final = """
SELECT 1 FROM job_leases WHERE name = $1 AND holder = $2 AND term = $3 FOR KEY SHARE
"""
_CUT_OFF: Final = "SELECT set_config('idle_in_transaction_session_timeout', $1, true)"
_BEGIN: Final = """
INSERT INTO job_runs (name, start_time, due_time, leader) VALUES ($1, $2, $3, $4)
ON CONFLICT (name, start_time) DO UPDATE
SET due_time = excluded.due_time, leader = excluded.leader, end_time = NULL, outcome = '',
    detail = ''
"""
_END: Final = """
UPDATE job_runs SET end_time = $3, outcome = $4, detail = $5 WHERE name = $1 AND start_time = $2
"""
_PRUNE: Final = """
DELETE FROM job_runs WHERE name = $1 AND start_time < (
    SELECT min(start_time) FROM (
        SELECT start_time FROM job_runs WHERE name = $1 ORDER BY start_time DESC LIMIT $2
    ) AS kept
)
"""
_ABANDON: Final = """
UPDATE job_runs SET end_time = $1, outcome = 'failed', detail = 'its leader was lost'
WHERE end_time IS NULL
"""
_LAST: Final = """
SELECT r.name, r.due_time AS due_at, r.outcome, r.end_time AS ended_at, (
    SELECT count(*) FROM job_runs AS f
    WHERE f.name = r.name AND f.outcome = 'failed' AND f.start_time > COALESCE(
        (SELECT max(o.start_time) FROM job_runs AS o WHERE o.name = r.name AND o.outcome = 'ok'),
        '-infinity'
    )
) AS failures
FROM job_runs AS r
WHERE r.name = ANY($1) AND r.start_time = (
    SELECT max(n.start_time) FROM job_runs AS n WHERE n.name = r.name
)
"""
_NEWEST: Final = """
SELECT DISTINCT ON (name) name, due_time AS due_at, start_time AS started_at,
    end_time AS ended_at, leader, outcome, detail
FROM job_runs WHERE name = ANY($1) ORDER BY name, start_time DESC
"""
_RUNS: Final = """
SELECT name, due_time AS due_at, start_time AS started_at, end_time AS ended_at, leader, outcome,
    detail
FROM job_runs WHERE name = $1 ORDER BY start_time DESC LIMIT $2
"""


async def look_at_lease(database: Postgres, name: str) -> LeaseRow | None:
    """The lease as it stands; nobody led ever when None."""
    row = await database.row(_LOOK, name)
    return None if row is None else msgspec.convert(dict(row), LeaseRow)


async def take_lease(
    database: Postgres, name: str, *, holder: str, now: datetime, until: datetime
) -> LeaseRow | None:
    """Lead from now on, in a fresh term; None while somebody else does."""
    lease_seconds = (until - now).total_seconds()
    async with database.transaction() as transaction:
        await transaction.execute(_OFFER, name, now)
        row = await transaction.row(_LOCK, name)
        assert row is not None, "the row was offered above"
        found = msgspec.convert(dict(row), LeaseRow)
        if not is_lease_free(found.expires_at, now, lease_seconds=lease_seconds):
            return None
        taken = LeaseRow(holder=holder, term=found.term + 1, expires_at=until)
        await transaction.execute(_TAKE, name, taken.holder, taken.term, taken.expires_at)
    return taken


async def renew_lease(database: Postgres, name: str, lease: LeaseRow, *, until: datetime) -> bool:
    """Lead until then; False when the lease is somebody else's by now."""
    return await database.execute(_RENEW, name, lease.holder, lease.term, until) == "UPDATE 1"


async def release_lease(database: Postgres, name: str, lease: LeaseRow, *, now: datetime) -> None:
    """Let somebody else lead at once; nothing when somebody does already."""
    await renew_lease(database, name, lease, until=now)


async def require_lease(
    transaction: Transaction, name: str, lease: LeaseRow, *, idle_seconds_max: float
) -> None:
    """Bind a transaction to a lease; raises ConflictError `LEASE_LOST` when it is lost.

    Nobody takes the lease over before the transaction ends.
    """
    await transaction.execute(_CUT_OFF, str(int(idle_seconds_max * 1000)))
    if await transaction.row(_FENCE, name, lease.holder, lease.term) is None:
        raise lease_lost()


def lease_lost() -> ConflictError:
    """Somebody else leads."""
    return ConflictError(LEASE_LOST, "another process leads by now")


async def begin_run(
    transaction: Transaction, *, name: str, started_at: datetime, due_at: datetime, leader: str
) -> None:
    """Record that a run begins."""
    await transaction.execute(_BEGIN, name, started_at, due_at, leader)


async def end_run(
    transaction: Transaction,
    *,
    name: str,
    started_at: datetime,
    ended_at: datetime,
    outcome: Outcome,
    detail: str,
    keep: int,
) -> None:
    """Record how a run ended; the newest `keep` runs of the job stay."""
    text = detail[:DETAIL_CHARACTERS_MAX]
    await transaction.execute(_END, name, started_at, ended_at, outcome.value, text)
    await transaction.execute(_PRUNE, name, keep)


async def fail_abandoned(transaction: Transaction, *, now: datetime) -> None:
    """End every open run, so that it is made again; only whoever leads and runs nothing may."""
    await transaction.execute(_ABANDON, now)


async def load_last_runs(database: Postgres, names: Sequence[str]) -> dict[str, LastRun]:
    """The newest run of each job that ever ran."""
    return {
        str(row["name"]): LastRun(
            due_at=cast("datetime", row["due_at"]),
            outcome=Outcome(str(row["outcome"])),
            ended_at=cast("datetime | None", row["ended_at"]),
            failures=cast("int", row["failures"]),
        )
        for row in await database.rows(_LAST, list(names))
    }


async def list_runs(database: Postgres, name: str, *, limit: int) -> tuple[JobRun, ...]:
    """The newest runs of a job, newest first."""
    return tuple(_run(row) for row in await database.rows(_RUNS, name, limit))


async def list_newest_runs(database: Postgres, names: Sequence[str]) -> dict[str, JobRun]:
    """The newest run of each job that ever ran, by name."""
    return {str(row["name"]): _run(row) for row in await database.rows(_NEWEST, list(names))}


def count_of(tag: str) -> int:
    """The number of rows in a command tag, such as "DELETE 3"."""
    return int(tag.rpartition(" ")[2])


def _run(row: Record) -> JobRun:
    return msgspec.convert(dict(row), JobRun)
