"""Customers, providers, organisations and projects in the graph.

Invariant: whatever asks a service stands behind a `Guarded` with its own name; everything else is
read from what the node already holds. A field that may be refused may be null, so one refusal does
not take its neighbours away.
"""

from enum import Enum

import strawberry
from strawberry import Info

from appliance.api.graphql.answers import InsightAnswer
from appliance.api.graphql.asker import Asker, Scope, scope_of
from appliance.api.graphql.boards import Dashboard, Tile, insights_of
from appliance.api.graphql.guard import Guarded
from appliance.api.graphql.limits import PAGE_DEFAULT
from appliance.api.graphql.pages import Connection, connect_list
from appliance.api.graphql.people import (
    Event,
    Profile,
    list_events,
    list_profiles,
    profile_node,
)
from appliance.api.graphql.questions import (
    EventFilter,
    FilterGroup,
    InsightQuery,
    LogicalOperator,
    PropertyFilter,
    TimeRange,
    message_of,
    range_fields,
)
from appliance.base.errors import NotFoundError
from appliance.domain.access.roles import Role
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.gen.shared.profiles.v1.profiles_pb import GetByExternalIdRequest, GetRequest
from appliance.storage.postgres.member_projects import MemberProject
from appliance.storage.postgres.orgs import OrgRow


@strawberry.enum(description="What a member may do.")
class OrganizationRole(Enum):
    """As in the contract."""

    ADMIN = Role.ADMIN
    MEMBER = Role.MEMBER
    VIEWER = Role.VIEWER


@strawberry.type(description="The signed-in customer.")
class Customer:
    """One's own account."""

    id: strawberry.ID
    email: str
    email_verified: bool


@strawberry.type(description="Somebody by whose word one can sign in.")
class OidcProvider:
    """A provider of the settings."""

    id: strawberry.ID
    display_name: str
    client_id: str
    issuer_url: str
    scopes: list[str]


@strawberry.type(description="A project: whose events and people are asked about.")
class Project:
    """A project the caller may read; for a private key, the key's."""

    scope: strawberry.Private[Scope]

    @strawberry.field
    def id(self) -> strawberry.ID:
        return strawberry.ID(self.scope.project_id)

    @strawberry.field
    def organization_id(self) -> strawberry.ID:
        return strawberry.ID(self.scope.org_id)

    @strawberry.field
    def display_name(self) -> str:
        return self.scope.display_name

    @strawberry.field(description="An IANA zone; empty means UTC.")
    def reporting_timezone(self) -> str:
        return self.scope.timezone

    @strawberry.field(extensions=[Guarded("Project.dashboards")])
    async def dashboards(
        self, info: Info[Asker, None], first: int = PAGE_DEFAULT, after: str | None = None
    ) -> Connection[Dashboard] | None:
        return connect_list(
            await self._boards(info.context),
            first=first,
            after=after,
            name=lambda one: one.board.row.id,
            node=lambda one: one,
        )

    @strawberry.field(extensions=[Guarded("Project.dashboard")])
    async def dashboard(self, info: Info[Asker, None], id: strawberry.ID) -> Dashboard | None:  # noqa: A002 the name on the wire
        for one in await self._boards(info.context):
            if one.board.row.id == id:
                return one
        raise NotFoundError("DASHBOARD_NOT_FOUND", "there is no such dashboard")

    @strawberry.field(
        extensions=[Guarded("Project.insights")],
        description="The saved insights: the tiles of all boards that ask something.",
    )
    async def insights(
        self, info: Info[Asker, None], first: int = PAGE_DEFAULT, after: str | None = None
    ) -> Connection[Tile] | None:
        return connect_list(
            insights_of(self.scope, await self._boards(info.context)),
            first=first,
            after=after,
            name=lambda tile: tile.row.id,
            node=lambda tile: tile,
        )

    @strawberry.field(
        extensions=[Guarded("Project.insight")], description="Asks an insight that is not saved."
    )
    async def insight(self, info: Info[Asker, None], query: InsightQuery) -> InsightAnswer | None:
        request = message_of(
            QueryRequest,
            {
                "spec": query.spec,
                "timeRange": range_fields(query.time_range),
                "granularity": query.granularity.value,
            },
        )
        async with info.context.slot():
            answer = await info.context.services.insights.query(self.scope, request)
        return InsightAnswer(message=answer)

    @strawberry.field(
        extensions=[Guarded("Project.profiles")], description="The people, newest first."
    )
    async def profiles(
        self,
        info: Info[Asker, None],
        first: int = PAGE_DEFAULT,
        after: str | None = None,
        filter_groups: list[FilterGroup] | None = None,
        filter_groups_operator: LogicalOperator | None = None,
    ) -> Connection[Profile] | None:
        return await list_profiles(
            info.context,
            self.scope.project_id,
            first=first,
            after=after,
            filter_groups=filter_groups,
            operator=filter_groups_operator,
        )

    @strawberry.field(
        extensions=[Guarded("Project.profile")],
        description="A person by profile id, alias or derived id.",
    )
    async def profile(self, info: Info[Asker, None], id: strawberry.ID) -> Profile | None:  # noqa: A002 the name on the wire
        request = message_of(GetRequest, {"id": str(id)})
        async with info.context.slot():
            found = await info.context.services.people.get(self.scope.project_id, request.id)
        return profile_node(found)

    @strawberry.field(
        extensions=[Guarded("Project.profileByExternalId")],
        description="A person by the name the product gave them.",
    )
    async def profile_by_external_id(
        self, info: Info[Asker, None], external_id: str
    ) -> Profile | None:
        request = message_of(GetByExternalIdRequest, {"externalId": external_id})
        async with info.context.slot():
            found = await info.context.services.people.get_by_external_id(
                self.scope.project_id, request.external_id
            )
        return profile_node(found)

    @strawberry.field(
        extensions=[Guarded("Project.events")], description="What happened, newest first."
    )
    async def events(
        self,
        info: Info[Asker, None],
        first: int = PAGE_DEFAULT,
        after: str | None = None,
        distinct_id: str | None = None,
        session_id: str | None = None,
        time_range: TimeRange | None = None,
        events: list[EventFilter] | None = None,
        property_filters: list[PropertyFilter] | None = None,
    ) -> Connection[Event] | None:
        return await list_events(
            info.context,
            self.scope.project_id,
            first=first,
            after=after,
            distinct_id=distinct_id,
            session_id=session_id,
            time_range=time_range,
            events=events,
            property_filters=property_filters,
        )

    async def _boards(self, asker: Asker) -> list[Dashboard]:
        found = await asker.boards(self.scope.project_id)
        return [Dashboard(scope=self.scope, board=board) for board in found]


@strawberry.type(description="An organisation the customer belongs to.")
class Organization:
    """A membership."""

    row: strawberry.Private[OrgRow]

    @strawberry.field
    def id(self) -> strawberry.ID:
        return strawberry.ID(self.row.id)

    @strawberry.field
    def display_name(self) -> str:
        return self.row.display_name

    @strawberry.field(description="What the caller may do in it.")
    def role(self) -> OrganizationRole:
        return OrganizationRole(self.row.role)

    @strawberry.field(extensions=[Guarded("Organization.projects")])
    async def projects(
        self, info: Info[Asker, None], first: int = PAGE_DEFAULT, after: str | None = None
    ) -> Connection[Project] | None:
        return await list_projects(info.context, self.row.id, first=first, after=after)


async def list_projects(
    asker: Asker, org_id: str, *, first: int, after: str | None
) -> Connection[Project]:
    """One page of the projects of an organisation, oldest first."""
    return connect_list(
        await asker.projects_of(org_id), first=first, after=after, name=_id_of, node=_project
    )


def _id_of(project: MemberProject) -> str:
    return project.id


def _project(project: MemberProject) -> Project:
    return Project(scope=scope_of(project))
