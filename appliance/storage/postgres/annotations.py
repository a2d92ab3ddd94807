"""Annotations in PostgreSQL (decision 0035).

Invariant: every statement names the project, so an annotation or a board of another project does
not exist.
"""

from datetime import datetime
from typing import Final, cast

from msgspec import Struct

from appliance.domain.annotations import Annotation, AnnotationContent
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.jobs import count_of
from appliance.storage.postgres.pool import Postgres, Transaction

_ADD: Final = """
INSERT INTO annotations (id, project_id, dashboard_id, text, start_time, end_time, author_id)
SELECT $1::text, $2::text, $3::text, $4::text, $5::timestamptz, $6::timestamptz, $7::text
WHERE $3::text IS NULL
   OR EXISTS (SELECT 1 FROM dashboards WHERE id = $3::text AND project_id = $2::text)
RETURNING id, dashboard_id, text, start_time, end_time, author_id, create_time, update_time
"""
_SAVE: Final = """
UPDATE annotations SET dashboard_id = $3::text, text = $4, start_time = $5, end_time = $6
WHERE id = $1 AND project_id = $2::text
  AND ($3::text IS NULL
    OR EXISTS (SELECT 1 FROM dashboards WHERE id = $3::text AND project_id = $2::text))
RETURNING id, dashboard_id, text, start_time, end_time, author_id, create_time, update_time
"""
_EXISTS: Final = "SELECT 1 FROM annotations WHERE id = $1 AND project_id = $2"
_DELETE: Final = "DELETE FROM annotations WHERE id = $1 AND project_id = $2"
_COUNT: Final = "SELECT count(*) AS kept FROM annotations WHERE project_id = $1"
_LOCK: Final = "SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE"
_LIST: Final = """
SELECT id, dashboard_id, text, start_time, end_time, author_id, create_time, update_time
FROM annotations
WHERE project_id = $1 AND start_time < $3 AND (start_time >= $2 OR end_time > $2)
  AND ($4::text IS NULL OR dashboard_id IS NULL OR dashboard_id = $4)
  AND ($5::timestamptz IS NULL OR (start_time, id) > ($5, $6))
ORDER BY start_time, id LIMIT $7
"""


class Place(Struct, frozen=True, kw_only=True):
    """After which annotation a page begins."""

    start_at: datetime
    id: str


async def add_annotation(
    transaction: Transaction,
    annotation_id: str,
    project_id: str,
    content: AnnotationContent,
    *,
    author_id: str | None,
) -> Annotation | None:
    """Keep an annotation; None when its board is not the project's."""
    row = await transaction.row(_ADD, annotation_id, project_id, *_values(content), author_id)
    return None if row is None else _annotation(row)


async def save_annotation(
    transaction: Transaction, annotation_id: str, project_id: str, content: AnnotationContent
) -> Annotation | None:
    """Replace what is set; None when it, or its board, is not the project's."""
    row = await transaction.row(_SAVE, annotation_id, project_id, *_values(content))
    return None if row is None else _annotation(row)


async def has_annotation(transaction: Transaction, annotation_id: str, project_id: str) -> bool:
    """Whether the project has it."""
    return await transaction.row(_EXISTS, annotation_id, project_id) is not None


async def delete_annotation(transaction: Transaction, annotation_id: str, project_id: str) -> bool:
    """Remove an annotation; False when there was none."""
    return count_of(await transaction.execute(_DELETE, annotation_id, project_id)) == 1


async def count_annotations(transaction: Transaction, project_id: str) -> int:
    """How many a project has; nobody adds one before the transaction ends."""
    await transaction.row(_LOCK, project_id)
    row = await transaction.row(_COUNT, project_id)
    assert row is not None
    return cast("int", row["kept"])


async def list_annotations(
    database: Postgres,
    project_id: str,
    *,
    start_at: datetime,
    end_at: datetime,
    dashboard_id: str | None,
    after: Place | None,
    limit: int,
) -> tuple[Annotation, ...]:
    """A page of what touches a half-open range, by its beginning."""
    rows = await database.rows(
        _LIST,
        project_id,
        start_at,
        end_at,
        dashboard_id,
        after.start_at if after is not None else None,
        after.id if after is not None else None,
        limit,
    )
    return tuple(map(_annotation, rows))


def _values(content: AnnotationContent) -> tuple[object, ...]:
    return content.dashboard_id, content.text, content.start_at, content.end_at


def _annotation(row: Record) -> Annotation:
    return Annotation(
        id=str(row["id"]),
        content=AnnotationContent(
            text=str(row["text"]),
            start_at=cast("datetime", row["start_time"]),
            end_at=cast("datetime | None", row["end_time"]),
            dashboard_id=cast("str | None", row["dashboard_id"]),
        ),
        author_id=cast("str | None", row["author_id"]),
        created_at=cast("datetime", row["create_time"]),
        updated_at=cast("datetime", row["update_time"]),
    )
