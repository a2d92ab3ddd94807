"""Annotations: made, listed by time, changed, removed (decision 0035).

Invariant: an annotation or board of another project does not exist; a project has a bounded number
of them. Removing and making are in the audit log.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from appliance.base.errors import ExhaustedError, InvalidInputError, NotFoundError, Resource
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor
from appliance.domain.annotations import (
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    PROJECT_ANNOTATIONS_MAX,
    TEXT_CHARACTERS_MAX,
    Annotation,
    AnnotationContent,
)
from appliance.domain.cursors import Cursor, decode_event_cursor, encode_event_cursor
from appliance.services.audit import AuditLog
from appliance.storage.postgres.annotations import (
    Place,
    add_annotation,
    count_annotations,
    delete_annotation,
    has_annotation,
    list_annotations,
    save_annotation,
)
from appliance.storage.postgres.pool import Postgres

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class AnnotationsPage(Struct, frozen=True, kw_only=True):
    """Some annotations; `next_token` is empty on the last page."""

    annotations: tuple[Annotation, ...]
    next_token: str


class AnnotationsService:
    """Use-cases about annotations."""

    def __init__(
        self,
        database: Postgres,
        audit: AuditLog,
        *,
        ids: IdMaker,
        annotations_max: int = PROJECT_ANNOTATIONS_MAX,
    ) -> None:
        self._database = database
        self._audit = audit.about("annotation")
        self._ids = ids
        self._annotations_max = annotations_max

    async def create(
        self, project_id: str, content: AnnotationContent, *, author_id: str | None, actor: Actor
    ) -> Annotation:
        """Make an annotation.

        Raises InvalidInputError for a blank text, NotFoundError (`DASHBOARD_NOT_FOUND`) and
        ExhaustedError (`ANNOTATIONS_EXHAUSTED`).
        """
        content = _checked(content)
        annotation_id = self._ids.make()
        async with self._database.transaction() as transaction:
            if await count_annotations(transaction, project_id) >= self._annotations_max:
                raise ExhaustedError(
                    "ANNOTATIONS_EXHAUSTED",
                    f"a project has at most {self._annotations_max} annotations",
                )
            made = await add_annotation(
                transaction, annotation_id, project_id, content, author_id=author_id
            )
            if made is None:
                raise _board_not_found(content)
            await self._audit.record(transaction, actor, "create", project_id, annotation_id)
        return made

    async def list_page(
        self,
        project_id: str,
        *,
        start_at: datetime,
        end_at: datetime,
        dashboard_id: str | None,
        page_size: int,
        page_token: str,
    ) -> AnnotationsPage:
        """A page of what touches a half-open range; raises InvalidInputError for a foreign token.

        With a board: those of the board and those of the whole project.
        """
        cursor = decode_event_cursor(page_token)
        limit = min(page_size or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
        found = await list_annotations(
            self._database,
            project_id,
            start_at=start_at,
            end_at=end_at,
            dashboard_id=dashboard_id,
            after=None if cursor is None else _place(cursor),
            limit=limit + 1,
        )
        page = found[:limit]
        token = encode_event_cursor(_cursor(page[-1])) if len(found) > limit else ""
        return AnnotationsPage(annotations=page, next_token=token)

    async def update(
        self, project_id: str, annotation_id: str, content: AnnotationContent
    ) -> Annotation:
        """Replace what is set on an annotation.

        Raises InvalidInputError, NotFoundError (`ANNOTATION_NOT_FOUND`, `DASHBOARD_NOT_FOUND`).
        """
        content = _checked(content)
        async with self._database.transaction() as transaction:
            saved = await save_annotation(transaction, annotation_id, project_id, content)
            if saved is not None:
                return saved
            if await has_annotation(transaction, annotation_id, project_id):
                raise _board_not_found(content)
        raise _not_found(annotation_id)

    async def delete(self, project_id: str, annotation_id: str, *, actor: Actor) -> None:
        """Remove an annotation; raises NotFoundError (`ANNOTATION_NOT_FOUND`)."""
        async with self._database.transaction() as transaction:
            if not await delete_annotation(transaction, annotation_id, project_id):
                raise _not_found(annotation_id)
            await self._audit.record(transaction, actor, "delete", project_id, annotation_id)


def _checked(content: AnnotationContent) -> AnnotationContent:
    text = content.text.strip()
    if not text or len(text) > TEXT_CHARACTERS_MAX:
        raise InvalidInputError(
            "INVALID_ARGUMENT", f"the text has 1 to {TEXT_CHARACTERS_MAX} characters"
        )
    return replace(content, text=text)


def _place(cursor: Cursor) -> Place:
    return Place(start_at=_EPOCH + cursor.micros * _MICROSECOND, id=cursor.id)


def _cursor(last: Annotation) -> Cursor:
    return Cursor(micros=(last.content.start_at - _EPOCH) // _MICROSECOND, id=last.id)


def _not_found(annotation_id: str) -> NotFoundError:
    return NotFoundError(
        "ANNOTATION_NOT_FOUND",
        "there is no such annotation",
        resource=Resource(kind="annotation", name=annotation_id),
    )


def _board_not_found(content: AnnotationContent) -> NotFoundError:
    return NotFoundError(
        "DASHBOARD_NOT_FOUND",
        "there is no such dashboard",
        resource=Resource(kind="dashboard", name=content.dashboard_id or ""),
    )
