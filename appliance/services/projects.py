"""Projects: make one with its public key, list them.

Invariant: a project never exists without a public key [services 3.4]; where no organisation is
named, the oldest one is meant, and the first project makes it.
"""

import re
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from appliance.base.errors import ConflictError, InvalidInputError, NotFoundError, Resource
from appliance.base.ids import IdMaker
from appliance.services.keys import CreatedKey, make_key
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import (
    KeyKind,
    ProjectRow,
    add_key,
    add_project,
    ensure_default_org,
    find_project,
    list_projects,
)

NAME_CHARACTERS_MAX: Final = 150
DEFAULT_NAME: Final = "default"
_ZONE: Final = re.compile(r"[A-Za-z0-9_+/-]{1,64}")


class CreatedProject(Struct, frozen=True, kw_only=True):
    """A fresh project and its public key."""

    id: str
    org_id: str
    display_name: str
    timezone: str
    public_key: CreatedKey


class ProjectsService:
    """Use-cases about projects."""

    def __init__(self, database: Postgres, ids: IdMaker) -> None:
        self._database = database
        self._ids = ids

    async def create_project(
        self, display_name: str, *, org_id: str | None = None, timezone: str = ""
    ) -> CreatedProject:
        """Make a project and its public key in one transaction.

        Raises ConflictError (`PROJECT_NAME_TAKEN`), InvalidInputError for a bad name or zone,
        NotFoundError (`ORG_NOT_FOUND`).
        """
        name, zone = check_name(display_name), check_timezone(timezone)
        project_id = self._ids.make()
        key = make_key(self._ids, KeyKind.PUBLIC, "")
        async with self._database.transaction() as transaction:
            org = org_id or await ensure_default_org(
                transaction, fresh_id=self._ids.make(), display_name=DEFAULT_NAME
            )
            try:
                await add_project(
                    transaction,
                    project_id=project_id,
                    org_id=org,
                    display_name=name,
                    timezone=zone,
                )
            except ConflictError as error:
                raise ConflictError(
                    "PROJECT_NAME_TAKEN",
                    f"there is a project {name!r} already",
                    hint="choose another name",
                ) from error
            except NotFoundError as error:
                raise NotFoundError(
                    "ORG_NOT_FOUND",
                    "there is no such organisation",
                    resource=Resource(kind="org", name=org),
                ) from error
            await add_key(transaction, project_id=project_id, key=key.fresh)
        return CreatedProject(
            id=project_id, org_id=org, display_name=name, timezone=zone, public_key=key
        )

    async def list_projects(self) -> tuple[ProjectRow, ...]:
        """All projects, oldest first."""
        return await list_projects(self._database)

    async def load_project(self, project_id: str) -> ProjectRow:
        """One project; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        project = await find_project(self._database, project_id)
        if project is None:
            raise project_not_found(project_id)
        return project


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
    if not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise InvalidInputError(
            "INVALID_ARGUMENT", f"a name has 1 to {NAME_CHARACTERS_MAX} characters"
        )
    return name


def check_timezone(text: str) -> str:
    """An IANA zone as it is stored: empty for UTC; raises InvalidInputError for an unknown one."""
    if text in {"", "UTC"}:
        return ""
    if not _ZONE.fullmatch(text):
        raise _unknown_zone(text)
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _unknown_zone(text) from error
    return text


def _unknown_zone(text: str) -> InvalidInputError:
    return InvalidInputError(
        "INVALID_TIMEZONE", f"{text!r} is not a time zone", hint="write it like Europe/Vienna"
    )
