"""Projects: making, changing, deleting and restoring them.

Invariant: a project never begins without a public key [services 3.4]; where no organisation is
named, the oldest one is meant, and the first project makes it. A deleted project is gone for
everybody at once, its keys too, and can be restored for 30 days; the scheduler purges it then
(decision 0019). Every act is in the audit log. What a name or zone may be stands at the end.
"""

import re
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    Resource,
    Violation,
)
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import OPERATOR, Actor
from appliance.services.audit import AuditLog
from appliance.services.keys import CreatedKey, make_key
from appliance.services.stores import Stores
from appliance.storage.postgres.pool import Transaction
from appliance.storage.postgres.project_admin import (
    DeletedRow,
    OrgProject,
    find_project_for,
    list_deleted,
    list_org_projects,
    lock_deleted,
    lock_is_admin,
    lock_project,
    mark_deleted,
    name_taken,
    rename_project,
    set_push_account,
    set_retention,
    set_timezone,
    unmark_deleted,
)
from appliance.storage.postgres.projects import (
    KeyKind,
    ProjectRow,
    add_key,
    add_project,
    ensure_default_org,
    find_project,
    list_projects,
)
from appliance.storage.streams.publish import KEYS_REVOKED_SUBJECT

NAME_CHARACTERS_MAX: Final = 150
DEFAULT_NAME: Final = "default"
RESTORE_DAYS: Final = 30
"""How long a deleted project can be restored; then the scheduler purges it."""
RETENTION_DAYS_MAX: Final = 36_500
PUSH_ACCOUNT_CHARACTERS_MAX: Final = 65_536
"""Somebody at the machine itself."""
_ZONE: Final = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_NOT_ZONES: Final = ("posix", "right/", "localtime", "Factory")
"""What some machines keep beside the zones; other machines do not know them."""
_EVERY_KEY: Final = b""


class CreatedProject(Struct, frozen=True, kw_only=True):
    """A fresh project and its public key."""

    id: str
    org_id: str
    display_name: str
    timezone: str
    public_key: CreatedKey


class ProjectsService:
    """Use-cases about projects."""

    def __init__(self, stores: Stores, audit: AuditLog, *, clock: Clock, ids: IdMaker) -> None:
        self._database = stores.postgres
        self._publisher = stores.publisher
        self._audit = audit
        self._clock = clock
        self._ids = ids

    async def create_project(
        self,
        display_name: str,
        *,
        org_id: str | None = None,
        timezone: str = "",
        actor: Actor = OPERATOR,
    ) -> CreatedProject:
        """Make a project and its public key in one transaction.

        Raises ConflictError (`PROJECT_NAME_TAKEN`), InvalidInputError for a bad name or zone,
        NotFoundError (`ORG_NOT_FOUND`).
        """
        name, zone = check_name(display_name), check_timezone(timezone)
        async with self._database.transaction() as transaction:
            org = org_id or await ensure_default_org(
                transaction, fresh_id=self._ids.make(), display_name=DEFAULT_NAME
            )
            return await self.add(
                transaction, actor=actor, org_id=org, display_name=name, timezone=zone
            )

    async def create_for_admin(
        self, display_name: str, *, org_id: str, timezone: str, customer_id: str, actor: Actor
    ) -> CreatedProject:
        """Make a project for an administrator; an unknown zone is UTC [services 6.3].

        Raises ForbiddenError (`ORG_ADMIN_REQUIRED`) when they are none by the time it is made,
        ConflictError (`PROJECT_NAME_TAKEN`), InvalidInputError.
        """
        name, zone = check_name(display_name), known_timezone(timezone)
        async with self._database.transaction() as transaction:
            if not await lock_is_admin(transaction, org_id, customer_id):
                raise ForbiddenError(
                    "ORG_ADMIN_REQUIRED", "only administrators of an organisation make projects"
                )
            return await self.add(
                transaction, actor=actor, org_id=org_id, display_name=name, timezone=zone
            )

    async def add(
        self,
        transaction: Transaction,
        *,
        actor: Actor,
        org_id: str,
        display_name: str,
        timezone: str,
    ) -> CreatedProject:
        """Make a project with its public key as part of something larger; errors as above."""
        project_id = self._ids.make()
        key = make_key(self._ids, KeyKind.PUBLIC, "")
        try:
            await add_project(
                transaction,
                project_id=project_id,
                org_id=org_id,
                display_name=display_name,
                timezone=timezone,
            )
        except ConflictError as error:
            raise name_taken(display_name) from error
        except NotFoundError as error:
            raise NotFoundError(
                "ORG_NOT_FOUND",
                "there is no such organisation",
                resource=Resource(kind="org", name=org_id),
            ) from error
        await add_key(transaction, project_id=project_id, key=key.fresh)
        await self._audit.record(
            transaction,
            actor,
            "project.create",
            org_id=org_id,
            project_id=project_id,
            subject_kind="project",
            subject_id=project_id,
            details={"name": display_name, "timezone": timezone or "UTC", "key": key.id},
        )
        return CreatedProject(
            id=project_id,
            org_id=org_id,
            display_name=display_name,
            timezone=timezone,
            public_key=key,
        )

    async def list_projects(self) -> tuple[ProjectRow, ...]:
        """All projects, oldest first."""
        return await list_projects(self._database)

    async def list_deleted(self) -> tuple[DeletedRow, ...]:
        """Deleted projects that can be restored, earliest deletion first."""
        return await list_deleted(self._database, after=self._restorable_after())

    async def list_of_org(self, org_id: str, *, customer_id: str) -> tuple[OrgProject, ...]:
        """The projects of an organisation as a member may see them, oldest first."""
        return await list_org_projects(self._database, org_id, customer_id=customer_id)

    async def load_project(self, project_id: str) -> ProjectRow:
        """One project; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        project = await find_project(self._database, project_id)
        if project is None:
            raise project_not_found(project_id)
        return project

    async def load_for(self, project_id: str, *, customer_id: str) -> OrgProject:
        """One project as a member may see it; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        project = await find_project_for(self._database, project_id, customer_id=customer_id)
        if project is None:
            raise project_not_found(project_id)
        return project

    async def update_meta(
        self,
        project_id: str,
        *,
        display_name: str | None = None,
        timezone: str | None = None,
        actor: Actor = OPERATOR,
    ) -> None:
        """Change name, zone or both; None leaves as it is [services 6.3].

        Raises InvalidInputError (`INVALID_TIMEZONE`), ConflictError (`PROJECT_NAME_TAKEN`),
        NotFoundError (`PROJECT_NOT_FOUND`).
        """
        name = None if display_name is None else check_name(display_name)
        zone = None if timezone is None else check_timezone(timezone)
        async with self._database.transaction() as transaction:
            old = await self._lock(transaction, project_id)
            details: dict[str, str] = {}
            if name is not None and name != old.display_name:
                await rename_project(transaction, project_id, name)
                details |= {"name": name, "name_before": old.display_name}
            if zone is not None and zone != old.timezone:
                await set_timezone(transaction, project_id, zone)
                details |= {"timezone": zone or "UTC", "timezone_before": old.timezone or "UTC"}
            if details:
                await self._record(transaction, actor, "project.update", old, details)
        if "timezone" in details:
            await self._forget_keys()

    async def set_push_account(self, project_id: str, text: str, *, actor: Actor) -> None:
        """Store push credentials unchecked [services 6.3]; raises NotFoundError."""
        check_text(text, PUSH_ACCOUNT_CHARACTERS_MAX, field="fcm_service_json")
        async with self._database.transaction() as transaction:
            old = await self._lock(transaction, project_id)
            await set_push_account(transaction, project_id, text)
            details = {"is_set": "yes" if text else "no"}
            await self._record(transaction, actor, "project.push_account.update", old, details)

    async def set_retention(
        self, project_id: str, days: int | None, *, actor: Actor = OPERATOR
    ) -> None:
        """Keep events for so many days, None for ever; raises NotFoundError, InvalidInputError."""
        if days is not None and not 1 <= days <= RETENTION_DAYS_MAX:
            raise InvalidInputError(
                "INVALID_RETENTION", f"events are kept for 1 to {RETENTION_DAYS_MAX} days"
            )
        async with self._database.transaction() as transaction:
            old = await self._lock(transaction, project_id)
            await set_retention(transaction, project_id, days)
            details = {
                "days": str(days or "forever"),
                "days_before": str(old.retention_days or "forever"),
            }
            await self._record(transaction, actor, "project.retention.update", old, details)

    async def delete_project(self, project_id: str, *, actor: Actor = OPERATOR) -> None:
        """Take a project away with its keys; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        async with self._database.transaction() as transaction:
            old = await self._lock(transaction, project_id)
            await mark_deleted(transaction, project_id, self._clock.now())
            details = {"name": old.display_name}
            await self._record(transaction, actor, "project.delete", old, details)
        await self._forget_keys()

    async def restore_project(
        self, project_id: str, *, display_name: str | None = None, actor: Actor = OPERATOR
    ) -> str:
        """Bring a deleted project and its keys back; the name it has now.

        Raises NotFoundError (`PROJECT_NOT_FOUND`) when there is nothing to restore, ConflictError
        (`PROJECT_NAME_TAKEN`) when its name is used by now and no other is given.
        """
        chosen = None if display_name is None else check_name(display_name)
        async with self._database.transaction() as transaction:
            old = await lock_deleted(transaction, project_id, after=self._restorable_after())
            if old is None:
                raise project_not_found(project_id)
            name = chosen or old.display_name
            await unmark_deleted(transaction, project_id, name)
            details = {"name": name, "deleted_at": old.deleted_at.isoformat()}
            await self._record(transaction, actor, "project.restore", old, details)
        await self._forget_keys()
        return name

    def _restorable_after(self) -> datetime:
        return self._clock.now() - timedelta(days=RESTORE_DAYS)

    async def _lock(self, transaction: Transaction, project_id: str) -> ProjectRow:
        project = await lock_project(transaction, project_id)
        if project is None:
            raise project_not_found(project_id)
        return project

    async def _record(
        self,
        transaction: Transaction,
        actor: Actor,
        action: str,
        project: ProjectRow | DeletedRow,
        details: dict[str, str],
    ) -> None:
        await self._audit.record(
            transaction,
            actor,
            action,
            org_id=project.org_id,
            project_id=project.id,
            subject_kind="project",
            subject_id=project.id,
            details=details,
        )

    async def _forget_keys(self) -> None:
        """Have every process ask anew whose keys they know."""
        await self._publisher.announce(KEYS_REVOKED_SUBJECT, _EVERY_KEY)


def project_not_found(project_id: str) -> NotFoundError:
    """The error for a project that does not exist."""
    return NotFoundError(
        "PROJECT_NOT_FOUND",
        f"there is no project {project_id}",
        hint="see `pug-appliance project list`",
        resource=Resource(kind="project", name=project_id),
    )


def check_name(text: str) -> str:
    """A display name without outer blanks; raises InvalidInputError when it is empty or long."""
    name = text.strip()
    if not name:
        raise _bad_text("display_name", f"a name has 1 to {NAME_CHARACTERS_MAX} characters")
    return check_text(name, NAME_CHARACTERS_MAX)


def check_text(text: str, characters_max: int, *, field: str = "display_name") -> str:
    """A text the database can keep; raises InvalidInputError for a longer one or a NUL."""
    if len(text) > characters_max:
        raise _bad_text(field, f"a text of at most {characters_max} characters")
    if "\0" in text:
        raise _bad_text(field, "a text without the character NUL")
    return text


def _bad_text(field: str, description: str) -> InvalidInputError:
    return InvalidInputError(
        "INVALID_ARGUMENT",
        f"{field}: {description}",
        violations=(Violation(field=field, description=description),),
    )


def known_timezone(text: str) -> str:
    """An IANA zone as it is stored; UTC for an unknown one [services 3.10]."""
    try:
        return check_timezone(text)
    except InvalidInputError:
        return ""


def check_timezone(text: str) -> str:
    """An IANA zone as it is stored: empty for UTC; raises InvalidInputError for an unknown one."""
    if text in {"", "UTC"}:
        return ""
    if not _ZONE.fullmatch(text) or text.startswith(_NOT_ZONES):
        raise _unknown_zone(text)
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _unknown_zone(text) from error
    return text


def _unknown_zone(text: str) -> InvalidInputError:
    """The public dashboard places this error by the word `timezone` in it [services 6.3]."""
    return InvalidInputError(
        "INVALID_TIMEZONE", f"{text!r} is not a timezone", hint="write it like Europe/Vienna"
    )
