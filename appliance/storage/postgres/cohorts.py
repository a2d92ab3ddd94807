"""Cohorts in PostgreSQL: rules as ProtoJSON that nobody here looks into, or a list of ids.

Invariant: every statement names the project. Whoever changes rules holds the project's cohorts, so
two changes cannot make a circle together.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.jobs import count_of
from appliance.storage.postgres.pool import Postgres, Transaction


class CohortRow(Struct, frozen=True, kw_only=True):
    """A stored cohort; `rules` is None for a list, `ids` the length of the list."""

    id: str
    project_id: str
    display_name: str
    description: str
    rules: str | None
    ids: int
    create_time: datetime
    update_time: datetime


class CohortUser(Struct, frozen=True, kw_only=True):
    """A tile or an alert whose question names a cohort; `board` is the name of the tile's board."""

    id: str
    display_name: str
    board: str | None


_ROW: Final = """
SELECT c.id, c.project_id, c.display_name, c.description, c.rules::text AS rules,
    (SELECT count(*) FROM cohort_ids AS i WHERE i.cohort_id = c.id) AS ids,
    c.create_time, c.update_time
FROM cohorts AS c
"""
_FIND: Final = _ROW + "WHERE c.project_id = $1 AND c.id = $2"
_LIST: Final = _ROW + "WHERE c.project_id = $1 ORDER BY lower(c.display_name), c.id LIMIT $2"
_LOAD: Final = """
SELECT c.id, c.rules::text AS rules,
    CASE WHEN c.rules IS NULL THEN
        (SELECT coalesce(array_agg(i.distinct_id ORDER BY i.distinct_id), '{}')
         FROM cohort_ids AS i WHERE i.cohort_id = c.id)
    END AS ids
FROM cohorts AS c
WHERE c.project_id = $1 AND c.id = ANY($2::text[])
"""
_COUNT_IDS: Final = """
SELECT count(*) AS n FROM (
    SELECT 1 FROM cohort_ids WHERE project_id = $1 AND cohort_id = ANY($2::text[]) LIMIT $3
) AS listed
"""
_RULES: Final = """
SELECT id, rules::text AS rules FROM cohorts WHERE project_id = $1 ORDER BY id
"""
_HOLD: Final = _RULES + "FOR NO KEY UPDATE"
_ADD: Final = """
INSERT INTO cohorts (id, project_id, display_name, description, rules)
VALUES ($1, $2, $3, $4, $5::text::jsonb)
"""
_SAVE: Final = """
UPDATE cohorts SET display_name = $3, description = $4, rules = $5::text::jsonb
WHERE project_id = $1 AND id = $2
"""
_TOUCH: Final = """
UPDATE cohorts SET update_time = clock_timestamp() WHERE project_id = $1 AND id = $2
"""
_DELETE: Final = "DELETE FROM cohorts WHERE project_id = $1 AND id = $2"
_ADD_IDS: Final = """
INSERT INTO cohort_ids (cohort_id, project_id, distinct_id)
SELECT $2, $1, given FROM unnest($3::text[]) AS given ON CONFLICT DO NOTHING
"""
_REMOVE_IDS: Final = """
DELETE FROM cohort_ids WHERE project_id = $1 AND cohort_id = $2 AND distinct_id = ANY($3::text[])
"""
_USER: Final = """
SELECT id, display_name, board FROM (
    SELECT t.id, t.display_name, d.display_name AS board, t.create_time, t.insight_query AS question
    FROM dashboard_tiles AS t JOIN dashboards AS d ON d.id = t.dashboard_id
    WHERE d.project_id = $1
    UNION ALL
    SELECT id, display_name, NULL, create_time, question FROM alerts WHERE project_id = $1
) AS asking
WHERE jsonb_path_exists(
    question,
    '$.**.filters[*] ? (@.property == "$cohort" && (@.value == $id || @.values[*] == $id))',
    jsonb_build_object('id', $2::text)
)
ORDER BY create_time, id LIMIT 1
"""


async def list_cohorts(database: Postgres, project_id: str, *, limit: int) -> tuple[CohortRow, ...]:
    """The cohorts of a project by name."""
    return tuple(map(_row, await database.rows(_LIST, project_id, limit)))


async def find_cohort(
    store: Postgres | Transaction, project_id: str, cohort_id: str
) -> CohortRow | None:
    """A cohort of a project."""
    row = await store.row(_FIND, project_id, cohort_id)
    return None if row is None else _row(row)


async def count_listed(
    database: Postgres, project_id: str, cohort_ids: Sequence[str], *, limit: int
) -> int:
    """How many ids the lists among these cohorts have together; not counted beyond the limit."""
    row = await database.row(_COUNT_IDS, project_id, list(cohort_ids), limit)
    assert row is not None
    return cast("int", row["n"])


async def load_contents(
    database: Postgres, project_id: str, cohort_ids: Sequence[str]
) -> dict[str, str | tuple[str, ...]]:
    """Rules or listed ids of these cohorts; those of other projects are left out."""
    found = await database.rows(_LOAD, project_id, list(cohort_ids))
    return {
        cast("str", row["id"]): tuple(cast("list[str]", row["ids"]))
        if row["rules"] is None
        else cast("str", row["rules"])
        for row in found
    }


async def hold_rules(transaction: Transaction, project_id: str) -> dict[str, str | None]:
    """The rules of every cohort of a project, None for a list; nobody changes one meanwhile."""
    found = await transaction.rows(_HOLD, project_id)
    return {cast("str", row["id"]): cast("str | None", row["rules"]) for row in found}


async def add_cohort(
    transaction: Transaction,
    cohort_id: str,
    project_id: str,
    *,
    display_name: str,
    description: str,
    rules: str | None,
) -> None:
    """Store a cohort; raises ConflictError when the name is taken."""
    await transaction.execute(_ADD, cohort_id, project_id, display_name, description, rules)


async def save_cohort(
    transaction: Transaction,
    project_id: str,
    cohort_id: str,
    *,
    display_name: str,
    description: str,
    rules: str | None,
) -> None:
    """Replace name, description and rules; raises ConflictError when the name is taken."""
    await transaction.execute(_SAVE, project_id, cohort_id, display_name, description, rules)


async def touch_cohort(transaction: Transaction, project_id: str, cohort_id: str) -> bool:
    """Move the time of its last change and hold it; False when there is none."""
    return count_of(await transaction.execute(_TOUCH, project_id, cohort_id)) == 1


async def delete_cohort(transaction: Transaction, project_id: str, cohort_id: str) -> None:
    """Remove a cohort with its list."""
    await transaction.execute(_DELETE, project_id, cohort_id)


async def add_ids(
    transaction: Transaction, project_id: str, cohort_id: str, ids: Sequence[str]
) -> None:
    """Put ids on a list; one that is there already stays."""
    await transaction.execute(_ADD_IDS, project_id, cohort_id, list(ids))


async def remove_ids(
    transaction: Transaction, project_id: str, cohort_id: str, ids: Sequence[str]
) -> None:
    """Take ids off a list; one that is not there is fine."""
    await transaction.execute(_REMOVE_IDS, project_id, cohort_id, list(ids))


async def find_user(transaction: Transaction, project_id: str, cohort_id: str) -> CohortUser | None:
    """The oldest tile or alert of the project whose question names a cohort."""
    row = await transaction.row(_USER, project_id, cohort_id)
    return None if row is None else msgspec.convert(dict(row), CohortUser)


def _row(row: Record) -> CohortRow:
    return msgspec.convert(dict(row), CohortRow)
