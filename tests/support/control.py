"""The control plane as its callers see it: the real application on real stores, generated clients.

Invariant: `ControlStack.call` speaks through the generated Connect clients only, in JSON or in
binary form, and remembers what every method answered; the run prints that as a table.
"""

import re
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import msgspec
import pyqwest
from connectrpc.codec import proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError
from protobuf import Message
from pyqwest.testing import ASGITransport

from appliance.api.app import create_app
from appliance.base.ids import IdMaker
from appliance.base.units import Seconds
from appliance.config.endpoints import (
    ClickHouseEndpoint,
    Endpoints,
    PostgresEndpoint,
    resolve_endpoints,
)
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.domain.access.roles import Role
from appliance.gen.appliance.alerts.v1.alerts_connect import AlertsServiceClient
from appliance.gen.appliance.annotations.v1.annotations_connect import AnnotationsServiceClient
from appliance.gen.appliance.cohorts.v1.cohorts_connect import CohortsServiceClient
from appliance.gen.appliance.queries.v1.queries_connect import QueriesServiceClient
from appliance.gen.dashboard.customers.v1.customers_connect import CustomersServiceClient
from appliance.gen.dashboard.dashboards.v1.dashboards_connect import DashboardsServiceClient
from appliance.gen.dashboard.orgemailproviders.v1.orgemailproviders_connect import (
    OrgEmailProvidersServiceClient,
)
from appliance.gen.dashboard.orgs.v1.orgs_connect import OrgsServiceClient
from appliance.gen.dashboard.projects.v1.projects_connect import ProjectsServiceClient
from appliance.gen.dashboard.usage.v1.usage_connect import UsageServiceClient
from appliance.gen.google.rpc.error_details_pb import BadRequest, ErrorInfo, ResourceInfo
from appliance.gen.public.auth.v1.auth_connect import AuthServiceClient
from appliance.gen.public.dashboards.v1.dashboards_connect import SharedDashboardsServiceClient
from appliance.gen.shared.activity.v1.activity_connect import ActivityServiceClient
from appliance.gen.shared.insights.v1.insights_connect import InsightsServiceClient
from appliance.gen.shared.profiles.v1.profiles_connect import ProfilesServiceClient
from appliance.services.wiring import Services
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from appliance.storage.postgres.pool import Postgres
from tests.support.clocks import FixedClock

_Detail = TypeVar("_Detail", ErrorInfo, ResourceInfo, BadRequest)
ADDRESS: Final = "203.0.113.9"
CLIENTS: Final[dict[str, Any]] = {  # generated classes share no base that says so
    "public.auth.v1.AuthService": AuthServiceClient,
    "public.dashboards.v1.SharedDashboardsService": SharedDashboardsServiceClient,
    "dashboard.dashboards.v1.DashboardsService": DashboardsServiceClient,
    "dashboard.customers.v1.CustomersService": CustomersServiceClient,
    "dashboard.orgs.v1.OrgsService": OrgsServiceClient,
    "dashboard.projects.v1.ProjectsService": ProjectsServiceClient,
    "dashboard.orgemailproviders.v1.OrgEmailProvidersService": OrgEmailProvidersServiceClient,
    "dashboard.usage.v1.UsageService": UsageServiceClient,
    "shared.insights.v1.InsightsService": InsightsServiceClient,
    "shared.activity.v1.ActivityService": ActivityServiceClient,
    "shared.profiles.v1.ProfilesService": ProfilesServiceClient,
    "appliance.queries.v1.QueriesService": QueriesServiceClient,
    "appliance.cohorts.v1.CohortsService": CohortsServiceClient,
    "appliance.annotations.v1.AnnotationsService": AnnotationsServiceClient,
    "appliance.alerts.v1.AlertsService": AlertsServiceClient,
}
ANSWERS: Final[dict[str, dict[str, set[str]]]] = defaultdict(lambda: defaultdict(set))
"""Method, then outcome (`ok` or `code/REASON`), then the forms it was met in."""


class Refusal(Exception):  # noqa: N818 an answer like any other
    """What a refused call was told."""

    def __init__(self, error: ConnectError) -> None:
        info = _detail(error, ErrorInfo)
        resource = _detail(error, ResourceInfo)
        broken = _detail(error, BadRequest)
        self.code = error.code.value
        self.reason = info.reason if info is not None else ""
        self.resource = (
            (resource.resource_type, resource.resource_name) if resource is not None else None
        )
        self.fields = [each.field for each in broken.field_violations] if broken else []
        self.message = error.message
        super().__init__(f"{self.code}/{self.reason}: {self.message}")


def _detail(error: ConnectError, kind: type[_Detail]) -> _Detail | None:
    values = (detail.value(kind) for detail in error.details or ())
    return next((value for value in values if value is not None), None)


@contextmanager
def _noted(path: str, form: str) -> Generator[None]:
    try:
        yield
    except ConnectError as error:
        refusal = Refusal(error)
        ANSWERS[path][f"{refusal.code}/{refusal.reason}"].add(form)
        raise refusal from error
    ANSWERS[path]["ok"].add(form)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A customer and an access token of theirs."""

    id: str
    email: str
    token: str


class ControlStack:
    """One application on a database of its own."""

    def __init__(self, services: Services, settings: Settings, clock: FixedClock) -> None:
        self.services = services
        self.clock = clock
        self.database = services.stores.postgres
        self._ids = IdMaker(clock)
        self._http = pyqwest.Client(
            ASGITransport(create_app(services, settings, clock=clock), client=(ADDRESS, 4711))
        )

    async def call(
        self,
        path: str,
        message: Message,
        *,
        token: str | None = None,
        project: str | None = None,
        form: str = "proto",
        headers: dict[str, str] | None = None,
    ) -> Any:  # the answer's type follows from the path
        """Call `<package>.<Service>/<Method>`; raises Refusal."""
        method, sent = self._prepare(path, form, token, project, headers)
        with _noted(path, form):
            return await method(message, headers=sent)

    async def call_stream(
        self,
        path: str,
        message: Message,
        *,
        token: str | None = None,
        project: str | None = None,
        form: str = "proto",
        headers: dict[str, str] | None = None,
    ) -> list[Any]:
        """All messages of a method that streams them; raises Refusal."""
        method, sent = self._prepare(path, form, token, project, headers)
        with _noted(path, form):
            return [answer async for answer in method(message, headers=sent)]

    def _prepare(
        self,
        path: str,
        form: str,
        token: str | None,
        project: str | None,
        headers: dict[str, str] | None,
    ) -> tuple[Any, dict[str, str]]:
        service, _, method = path.partition("/")
        client = CLIENTS[service](
            "http://pug.test",
            http_client=self._http,
            codec=proto_json_codec() if form == "json" else proto_binary_codec(),
        )
        sent = dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if project is not None:
            sent["x-project-id"] = project
        return getattr(client, snake(method)), sent

    async def make_person(self, email: str | None = None) -> Person:
        """A customer without organisation or password."""
        customer_id = self._ids.make()
        address = email or f"{customer_id}@pug.test"
        await self.database.execute(
            "INSERT INTO customers (id, email, email_verify_time) VALUES ($1, $2, now())",
            customer_id,
            address,
        )
        token = self.services.control.tokens.issue(customer_id)
        return Person(id=customer_id, email=address, token=token)

    async def make_org(self, name: str = "Kennel") -> str:
        """An organisation nobody belongs to."""
        org_id = self._ids.make()
        await self.database.execute(
            "INSERT INTO orgs (id, display_name) VALUES ($1, $2)", org_id, name
        )
        return org_id

    async def join(self, person: Person, org_id: str, role: Role = Role.ADMIN) -> None:
        """Make a person a member."""
        await self.database.execute(
            "INSERT INTO org_members (org_id, customer_id, role) VALUES ($1, $2, $3)",
            org_id,
            person.id,
            role.stored,
        )

    async def make_member(self, role: Role = Role.ADMIN, org_id: str | None = None) -> Person:
        """A customer with this role, in a fresh organisation where none is named."""
        person = await self.make_person()
        await self.join(person, org_id or await self.make_org(), role)
        return person

    async def make_project(self, org_id: str, name: str = "Shop", timezone: str = "") -> str:
        """A project without keys."""
        project_id = self._ids.make()
        await self.database.execute(
            "INSERT INTO projects (id, org_id, display_name, reporting_timezone)"
            " VALUES ($1, $2, $3, $4)",
            project_id,
            org_id,
            name,
            timezone,
        )
        return project_id

    async def audit_actions(self) -> list[str]:
        """What the audit log says was done, oldest first."""
        rows = await self.database.rows("SELECT action FROM audit_entries ORDER BY create_time, id")
        return [str(row["action"]) for row in rows]


@asynccontextmanager
async def control_stack(
    engines: Settings,
    settings: Settings | None = None,
    clock: FixedClock | None = None,
    *,
    own_events: bool = False,
    events: ClickHouseEndpoint | None = None,
) -> AsyncGenerator[ControlStack]:
    """The application on an empty database of its own in running engines.

    `settings` are those of the appliance (mail, sign-in, ...); addresses come from `engines`.
    `own_events` adds an empty event store of its own, with all tables; `events` is one that has
    them and is shared, where projects keep tests apart.
    """
    found = resolve_endpoints(engines)
    if events is not None:
        found = msgspec.structs.replace(found, clickhouse=events)
    async with (
        own_schema(found) as relational,
        own_event_store(relational, own_events) as endpoints,
    ):
        await migrate_postgres(endpoints.postgres, lambda _name: None)
        await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
        clock = clock or FixedClock()
        chosen = settings or Settings(data_dir=engines.data_dir)
        services = Services(
            endpoints,
            name="pug-test",
            clock=clock,
            settings=chosen,
            signing_key=Secret(uuid.uuid4().hex * 2),
        )
        await services.open()
        try:
            yield ControlStack(services, chosen, clock)
        finally:
            await services.close()


@asynccontextmanager
async def own_schema(found: Endpoints) -> AsyncGenerator[Endpoints]:
    """The endpoints with a PostgreSQL schema nobody else uses."""
    name = f"t{uuid.uuid4().hex[:12]}"
    url = found.postgres.url.reveal()
    admin = Postgres(found.postgres)
    await admin.execute(f'CREATE SCHEMA "{name}"')  # type: ignore[arg-type] a name of ours
    try:
        yield msgspec.structs.replace(
            found,
            postgres=PostgresEndpoint(
                url=Secret(f"{url}?search_path={name}"), pool_size_max=8, external=False
            ),
        )
    finally:
        await admin.execute(f'DROP SCHEMA "{name}" CASCADE')  # type: ignore[arg-type] a name of ours
        await admin.close()


@asynccontextmanager
async def own_event_store(found: Endpoints, wanted: bool) -> AsyncGenerator[Endpoints]:
    """The endpoints with a ClickHouse database nobody else uses, where one is wanted."""
    if not wanted:
        yield found
        return
    database = f"t{uuid.uuid4().hex[:12]}"
    endpoint = msgspec.structs.replace(found.clickhouse, database=database)
    await migrate_clickhouse(endpoint, lambda _name: None)
    try:
        yield msgspec.structs.replace(found, clickhouse=endpoint)
    finally:
        admin = ClickHouse(endpoint)
        await admin.command("DROP DATABASE IF EXISTS {name:Identifier}", {"name": database})
        await admin.close()


def snake(name: str) -> str:
    """A method's name as Python's clients have it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def answer_table() -> list[str]:
    """What was met in this run: one `path outcome form` for each."""
    return [
        f"{path} {outcome} {form}"
        for path, outcomes in ANSWERS.items()
        for outcome, forms in outcomes.items()
        for form in forms
    ]
