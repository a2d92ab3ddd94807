"""Reading the audit log, page by page in the order of time.

Invariant: a page is bounded and the next one begins where it ended (time, then id), so a log of any
length is read in constant memory, and an entry written meanwhile is met once or not at all.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres

PAGE_ROWS: Final = 500


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which entries: of instants from `since` up to before `until`; empty texts mean any."""

    since: datetime | None = None
    until: datetime | None = None
    org_id: str = ""
    project_id: str = ""
    action: str = ""


class AuditLine(Struct, frozen=True, kw_only=True):
    """One entry, as it is exported: one JSON object a line."""

    id: str
    at: datetime
    actor_kind: str
    actor_id: str
    actor_label: str
    address: str
    action: str
    org_id: str
    project_id: str
    subject_kind: str
    subject_id: str
    details: Mapping[str, str]


_PAGE: Final = """
SELECT id, create_time AS at, actor_kind, actor_id, actor_label, address, action, org_id,
    project_id, subject_kind, subject_id, details::text AS details
FROM audit_entries
WHERE (create_time, id) > ($1, $2) AND create_time < $3
  AND ($4 = '' OR org_id = $4) AND ($5 = '' OR project_id = $5)
  AND ($6 = '' OR action = $6 OR starts_with(action, $6 || '.'))
ORDER BY create_time, id LIMIT $7
"""
_NEWEST: Final = """
SELECT id, create_time AS at, actor_kind, actor_id, actor_label, address, action, org_id,
    project_id, subject_kind, subject_id, details::text AS details
FROM audit_entries
WHERE create_time >= $1 AND create_time < $2
  AND ($3 = '' OR org_id = $3) AND ($4 = '' OR project_id = $4)
  AND ($5 = '' OR action = $5 OR starts_with(action, $5 || '.'))
ORDER BY create_time DESC, id DESC LIMIT $6
"""
_FIRST: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_LAST: Final = datetime.fromisoformat("9999-01-01T00:00:00+00:00")


async def export_pages(
    database: Postgres, wanted: AuditFilter, *, page_rows: int = PAGE_ROWS
) -> AsyncIterator[tuple[AuditLine, ...]]:
    """Every entry, oldest first, a page at a time."""
    # Before the first id of the first instant: an empty id is smaller than any.
    after: tuple[datetime, str] = (wanted.since or _FIRST, "")
    until = wanted.until or _LAST
    while True:
        rows = await database.rows(
            _PAGE, *after, until, wanted.org_id, wanted.project_id, wanted.action, page_rows
        )
        if not rows:
            return
        page = tuple(map(_line, rows))
        yield page
        after = (page[-1].at, page[-1].id)


async def list_newest(
    database: Postgres, wanted: AuditFilter, *, limit: int
) -> tuple[AuditLine, ...]:
    """The newest entries, newest first."""
    rows = await database.rows(
        _NEWEST,
        wanted.since or _FIRST,
        wanted.until or _LAST,
        wanted.org_id,
        wanted.project_id,
        wanted.action,
        limit,
    )
    return tuple(map(_line, rows))


def _line(row: Record) -> AuditLine:
    values = dict(row)
    values["details"] = msgspec.json.decode(str(values["details"]), type=dict[str, str])
    return msgspec.convert(values, AuditLine)
