"""What PostgreSQL stores about a person, as JSON for whoever may see it all.

Invariant: every row that names the person, deleted ones too; a table that an erasure empties is
here, so what can be taken away can also be shown.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, LiteralString

from appliance.storage.postgres.pool import Postgres

_ROWS: Final[tuple[LiteralString, ...]] = (
    """
SELECT (jsonb_build_object('record', 'profile') || to_jsonb(p) - 'project_id')::text AS line
FROM profiles AS p WHERE project_id = $1 AND id = ANY($2::text[]) ORDER BY id
""",
    """
SELECT (jsonb_build_object('record', 'device') || to_jsonb(d) - 'project_id')::text AS line
FROM profile_devices AS d WHERE project_id = $1 AND profile_id = ANY($2::text[]) ORDER BY device_id
""",
    """
SELECT (jsonb_build_object('record', 'listed', 'cohort', c.display_name) || to_jsonb(l)
    - 'project_id')::text AS line
FROM cohort_ids AS l JOIN cohorts AS c ON c.id = l.cohort_id
WHERE l.project_id = $1 AND l.distinct_id = ANY($2::text[]) ORDER BY l.cohort_id, l.distinct_id
""",
    """
SELECT (jsonb_build_object('record', 'request') || to_jsonb(r)
    - '{project_id,queue_marks,requested_by}'::text[])::text AS line
FROM compliance_requests AS r
WHERE project_id = $1 AND (profile_id = ANY($2::text[]) OR external_id = ANY($2::text[]))
ORDER BY request_time, id
""",
)


async def list_person_rows(
    database: Postgres, project_id: str, ids: Sequence[str]
) -> AsyncGenerator[bytes]:
    """One line of JSON for each profile, device and request of these ids."""
    for statement in _ROWS:
        for row in await database.rows(statement, project_id, list(ids)):
            yield str(row["line"]).encode()
