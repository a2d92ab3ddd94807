"""The graph: its root fields and the schema that is made of them.

Invariant: reading only; there are no mutations and no subscriptions. Importing this module costs
13 MB and a second, so `door.py` does it in a thread when the first question comes.
"""

import strawberry
from graphql import ASTValidationRule, GraphQLError, NoSchemaIntrospectionCustomRule
from strawberry import Info
from strawberry.extensions import AddValidationRules, SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext

from appliance.api.graphql.asker import Asker
from appliance.api.graphql.guard import Guarded
from appliance.api.graphql.limits import PAGE_DEFAULT
from appliance.api.graphql.nodes import (
    Customer,
    OidcProvider,
    Organization,
    Project,
    list_projects,
)
from appliance.api.graphql.pages import Connection, connect_list
from appliance.api.graphql.scalars import SCALARS


@strawberry.type
class Query:
    """Where every question begins."""

    @strawberry.field(extensions=[Guarded("Query.me")], description="Who is signed in.")
    async def me(self, info: Info[Asker, None]) -> Customer | None:
        found = await info.context.account()
        return Customer(
            id=strawberry.ID(found.id), email=found.email, email_verified=found.verified
        )

    @strawberry.field(
        extensions=[Guarded("Query.oidcProviders")],
        description="By whose word one can sign in; needs no credential.",
    )
    async def oidc_providers(self, info: Info[Asker, None]) -> list[OidcProvider] | None:
        return [
            OidcProvider(
                id=strawberry.ID(one.slug),
                display_name=one.name,
                client_id=one.client_id,
                issuer_url=one.issuer_url,
                scopes=list(one.scopes),
            )
            for one in info.context.services.control.oidc.offered()
        ]

    @strawberry.field(
        extensions=[Guarded("Query.organizations")],
        description="The organisations of the signed-in customer, oldest first.",
    )
    async def organizations(
        self, info: Info[Asker, None], first: int = PAGE_DEFAULT, after: str | None = None
    ) -> Connection[Organization] | None:
        return connect_list(
            await info.context.organisations(),
            first=first,
            after=after,
            name=lambda row: row.id,
            node=lambda row: Organization(row=row),
        )

    @strawberry.field(extensions=[Guarded("Query.organization")])
    async def organization(
        self,
        info: Info[Asker, None],
        id: strawberry.ID,  # noqa: A002 the name on the wire
    ) -> Organization | None:
        return Organization(row=await info.context.organisation(id))

    @strawberry.field(
        extensions=[Guarded("Query.projects")],
        description="The projects of an organisation, oldest first.",
    )
    async def projects(
        self,
        info: Info[Asker, None],
        organization_id: strawberry.ID,
        first: int = PAGE_DEFAULT,
        after: str | None = None,
    ) -> Connection[Project] | None:
        return await list_projects(info.context, organization_id, first=first, after=after)

    @strawberry.field(
        extensions=[Guarded("Query.project")],
        description="A project; with a private key, the one the key belongs to.",
    )
    async def project(
        self,
        info: Info[Asker, None],
        id: strawberry.ID,  # noqa: A002 the name on the wire
    ) -> Project | None:
        return Project(scope=await info.context.scope(id))


class Graph(strawberry.Schema):
    """The schema, whose errors are logged by `run.py` and nowhere else."""

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Nothing: the library would write traces with texts of callers."""


def build_schema(*, development: bool, extensions: list[type[SchemaExtension]]) -> Graph:
    """The graph; only in development it tells its own shape."""
    hidden: list[type[ASTValidationRule]] = [] if development else [NoSchemaIntrospectionCustomRule]
    return Graph(
        query=Query,
        extensions=[*extensions, lambda: AddValidationRules(hidden)],
        config=StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=not development),
    )
