"""Who asks, what they may see, and the loaders that ask the services once for many.

Invariant: one `Asker` lives as long as one request and is seen by its tasks only. Whatever a role
is needed for comes through a loader, so the number of statements does not grow with the number of
things asked about; no more than `QUESTIONS_AT_ONCE_MAX` questions of one request are at the event
store at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

from msgspec import Struct
from strawberry.dataloader import DataLoader

from appliance.api.call import Call
from appliance.api.ports import Services
from appliance.base.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from appliance.domain.access.callers import SignedIn
from appliance.domain.access.roles import Role
from appliance.services.dashboards.boards import Board
from appliance.storage.postgres.customers import CustomerRow
from appliance.storage.postgres.member_projects import MemberProject
from appliance.storage.postgres.orgs import OrgRow

QUESTIONS_AT_ONCE_MAX: Final = 4
LOADED_AT_ONCE_MAX: Final = 1000
"""Ids of one statement."""

_Found = TypeVar("_Found")


class Scope(Struct, frozen=True, kw_only=True):
    """A project somebody may read; `role` is None for one of its private keys."""

    project_id: str
    timezone: str
    role: Role | None
    org_id: str = ""
    display_name: str = ""


class Scoped(Protocol):
    """A node of the graph that belongs to a project."""

    @property
    def scope(self) -> Scope: ...


class Asker:
    """The caller of one request; `cost` is what the question was weighed as, `operation_name` which
    of its operations is meant.
    """

    def __init__(self, call: Call, services: Services) -> None:
        self.call = call
        self.services = services
        self.cost = 0
        self.operation_name: str | None = None
        self._slots = asyncio.Semaphore(QUESTIONS_AT_ONCE_MAX)
        control = services.control
        self._customers: DataLoader[str, CustomerRow] = _each(control.accounts.load)
        self._orgs: DataLoader[str, Sequence[OrgRow]] = _each(control.organisations.list_of)
        self._projects: DataLoader[str, MemberProject | None] = _many(self._find_projects)
        self._org_projects: DataLoader[str, Sequence[MemberProject] | None] = _many(
            self._find_org_projects
        )
        self._key_scopes: DataLoader[str, Scope] = _each(self._scope_of_key)
        self._boards: DataLoader[str, Sequence[Board] | None] = _many(
            services.dashboards.boards.list_of
        )

    @property
    def customer(self) -> SignedIn:
        """The signed-in customer; raises UnauthenticatedError for keys and strangers."""
        signed_in = self.call.signed_in
        if signed_in is None:
            raise UnauthenticatedError(
                "UNAUTHENTICATED", "somebody has to be signed in for this: send an access token"
            )
        return signed_in

    def require_person(self) -> None:
        """Return when a customer asks; raises UnauthenticatedError for keys and strangers."""
        _ = self.customer

    @property
    def is_key(self) -> bool:
        """Whether a private key asks."""
        return self.call.principal is not None and self.call.signed_in is None

    async def account(self) -> CustomerRow:
        """The customer's account."""
        return await self._customers.load(self.customer.customer_id)

    async def organisations(self) -> Sequence[OrgRow]:
        """The customer's organisations, oldest first."""
        return await self._orgs.load(self.customer.customer_id)

    async def organisation(self, org_id: str) -> OrgRow:
        """One of them; raises ForbiddenError (`ORG_NOT_A_MEMBER`), whether it exists or not."""
        found = next((one for one in await self.organisations() if one.id == org_id), None)
        if found is None:
            raise ForbiddenError("ORG_NOT_A_MEMBER", "you are not a member of this organisation")
        return found

    async def projects_of(self, org_id: str) -> Sequence[MemberProject]:
        """The projects of one of the customer's organisations, oldest first."""
        return await self._org_projects.load(org_id) or ()

    async def boards(self, project_id: str) -> Sequence[Board]:
        """The boards of a project, oldest first."""
        return await self._boards.load(project_id) or ()

    async def scope(self, project_id: str) -> Scope:
        """A project the caller may read.

        Raises NotFoundError (`PROJECT_NOT_FOUND`), whether there is none or it is somebody else's,
        and UnauthenticatedError for strangers.
        """
        if self.is_key:
            return await self._key_scopes.load(project_id)
        self.require_person()
        found = await self._projects.load(project_id)
        if found is None:
            raise _project_not_found()
        return scope_of(found)

    @asynccontextmanager
    async def slot(self):
        """One of the places at the event store."""
        async with self._slots:
            yield

    async def _scope_of_key(self, project_id: str) -> Scope:
        principal = self.call.caller
        if project_id != principal.project_id:
            raise _project_not_found()
        row = await self.services.control.projects.load_project(project_id)
        return Scope(
            project_id=project_id,
            timezone=principal.timezone,
            role=None,
            org_id=row.org_id,
            display_name=row.display_name,
        )

    async def _find_projects(self, ids: Sequence[str]) -> Mapping[str, MemberProject]:
        found = self.services.control.member_projects
        return await found.find(self.customer.customer_id, ids)

    async def _find_org_projects(self, ids: Sequence[str]) -> Mapping[str, Sequence[MemberProject]]:
        found = self.services.control.member_projects
        return await found.of_orgs(self.customer.customer_id, ids)


def scope_of(project: MemberProject) -> Scope:
    """A member's project as what its fields are asked with."""
    return Scope(
        project_id=project.id,
        timezone=project.timezone,
        role=project.role,
        org_id=project.org_id,
        display_name=project.display_name,
    )


def _many(
    ask: Callable[[Sequence[str]], Awaitable[Mapping[str, _Found]]],
) -> DataLoader[str, _Found | None]:
    """Asks once for all ids that are wanted at a time."""

    async def load(ids: list[str]) -> list[_Found | None]:
        found = await ask(ids)
        return [found.get(each) for each in ids]

    return DataLoader(load, max_batch_size=LOADED_AT_ONCE_MAX)


def _each(ask: Callable[[str], Awaitable[_Found]]) -> DataLoader[str, _Found]:
    """Asks once for each id, however often it is wanted."""

    async def load(ids: list[str]) -> list[_Found]:
        return [await ask(each) for each in ids]

    return DataLoader(load)


def _project_not_found() -> NotFoundError:
    return NotFoundError("PROJECT_NOT_FOUND", "there is no such project")
