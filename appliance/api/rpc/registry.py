"""Every service of the contract that is served, its boundary and its handlers.

Invariant: this list is explicit, so that the frozen binary has it, and complete. Services that are
defined but not served [services 11] are not here; their paths are unknown.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec
from connectrpc.codec import Codec
from connectrpc.compression import Compression
from connectrpc.interceptor import Interceptor
from connectrpc.server import ConnectASGIApplication
from protobuf import DescService

from appliance.api.call import Boundary
from appliance.api.codecs import batch_codecs, message_codecs
from appliance.api.interceptor import HandlerGuard
from appliance.api.limits import BoundedGzip, BoundedZstd
from appliance.api.ports import Principal, Services
from appliance.api.rpc.dashboard.customers import Customers
from appliance.api.rpc.dashboard.dashboards import Dashboards
from appliance.api.rpc.dashboard.email_providers import EmailProviders
from appliance.api.rpc.dashboard.orgs import Orgs
from appliance.api.rpc.dashboard.projects import Projects
from appliance.api.rpc.dashboard.usage import Usage
from appliance.api.rpc.own.alerts import Alerts
from appliance.api.rpc.own.annotations import Annotations
from appliance.api.rpc.own.cohorts import Cohorts
from appliance.api.rpc.own.queries import Queries
from appliance.api.rpc.public.auth import Auth
from appliance.api.rpc.public.dashboards import SharedDashboards
from appliance.api.rpc.sdk.events import Events
from appliance.api.rpc.sdk.profiles import NamedPersons
from appliance.api.rpc.shared.activity import Activity
from appliance.api.rpc.shared.insights import InsightAnswers
from appliance.api.rpc.shared.profiles import Profiles
from appliance.gen.appliance.alerts.v1 import alerts_connect
from appliance.gen.appliance.annotations.v1 import annotations_connect
from appliance.gen.appliance.cohorts.v1 import cohorts_connect
from appliance.gen.appliance.queries.v1 import queries_connect
from appliance.gen.dashboard.customers.v1 import customers_connect
from appliance.gen.dashboard.dashboards.v1 import dashboards_connect
from appliance.gen.dashboard.orgemailproviders.v1 import orgemailproviders_connect
from appliance.gen.dashboard.orgs.v1 import orgs_connect
from appliance.gen.dashboard.projects.v1 import projects_connect
from appliance.gen.dashboard.usage.v1 import usage_connect
from appliance.gen.public.auth.v1 import auth_connect
from appliance.gen.public.dashboards.v1 import dashboards_connect as shared_dashboards_connect
from appliance.gen.sdk.events.v1 import events_connect
from appliance.gen.sdk.profiles.v1 import profiles_connect as sdk_profiles_connect
from appliance.gen.shared.activity.v1 import activity_connect
from appliance.gen.shared.insights.v1 import insights_connect
from appliance.gen.shared.profiles.v1 import profiles_connect
from appliance.services.control import ControlPlane


class MountedService(msgspec.Struct, frozen=True, kw_only=True):
    """A service ready to be called: `methods` maps each method to whether it streams.

    `admit` raises what says why a request of this project is refused before its body is read.
    """

    name: str
    boundary: Boundary
    methods: dict[str, bool]
    application: ConnectASGIApplication[Any]  # the library's generic stands for any service
    admit: Callable[[Principal], None] | None = None


class _Handlers(Protocol):
    @staticmethod
    def desc() -> DescService: ...


class _Application(Protocol):
    def __call__(
        self,
        service: Any | AsyncGenerator[Any],  # each generated class has its own service type
        *,
        interceptors: Iterable[Interceptor] = (),  # pyright: ignore[reportUnknownParameterType] # the library leaves a type open
        read_max_bytes: int | None = ...,
        compressions: Iterable[Compression] | None = None,
        codecs: Iterable[Codec] | None = None,
    ) -> ConnectASGIApplication[Any]: ...


_CONTROL: Final[tuple[tuple[Boundary, Callable[[ControlPlane], _Handlers], _Application], ...]] = (
    (Boundary.PUBLIC, Auth, auth_connect.AuthServiceASGIApplication),
    (Boundary.DASHBOARD, Customers, customers_connect.CustomersServiceASGIApplication),
    (Boundary.DASHBOARD, Orgs, orgs_connect.OrgsServiceASGIApplication),
    (Boundary.DASHBOARD, Projects, projects_connect.ProjectsServiceASGIApplication),
    (
        Boundary.DASHBOARD,
        EmailProviders,
        orgemailproviders_connect.OrgEmailProvidersServiceASGIApplication,
    ),
    (Boundary.DASHBOARD, Usage, usage_connect.UsageServiceASGIApplication),
)


def mounted_services(services: Services, body_bytes_max: int) -> tuple[MountedService, ...]:
    """All services, wired to what does their work."""
    compressions = (BoundedGzip(body_bytes_max), BoundedZstd(body_bytes_max))
    messages = message_codecs()

    def mount(
        boundary: Boundary,
        handlers: _Handlers,
        application: _Application,
        codecs: list[Codec],
        *,
        admit: Callable[[Principal], None] | None = None,
    ) -> MountedService:
        description = handlers.desc()
        return MountedService(
            name=description.type_name,
            boundary=boundary,
            methods={
                method.name: method.method_kind == "server_streaming"
                for method in description.methods
            },
            application=application(
                handlers,
                interceptors=(HandlerGuard(services.control.access),),
                read_max_bytes=None,  # limits.py bounds bodies, with the code SDKs need
                compressions=compressions,
                codecs=codecs,
            ),
            admit=admit,
        )

    return (
        mount(
            Boundary.SDK,
            Events(services.ingest),
            events_connect.EventsServiceASGIApplication,
            batch_codecs(),
            admit=services.ingest.admit,
        ),
        mount(
            Boundary.SHARED,
            InsightAnswers(services.insights, services.discovery),
            insights_connect.InsightsServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.SHARED,
            Activity(services.activity, services.discovery),
            activity_connect.ActivityServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.SHARED,
            Cohorts(services.cohorts),
            cohorts_connect.CohortsServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.SHARED,
            Annotations(services.annotations),
            annotations_connect.AnnotationsServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.SHARED,
            Alerts(services.alerts),
            alerts_connect.AlertsServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.SHARED,
            Profiles(services.people, services.control.erasure),
            profiles_connect.ProfilesServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.DASHBOARD,
            Dashboards(services.dashboards.boards, services.dashboards.rendering),
            dashboards_connect.DashboardsServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.DASHBOARD,
            Queries(services.queries),
            queries_connect.QueriesServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.PUBLIC,
            SharedDashboards(services.dashboards.boards, services.dashboards.rendering),
            shared_dashboards_connect.SharedDashboardsServiceASGIApplication,
            messages,
        ),
        mount(
            Boundary.SDK,
            NamedPersons(services.identify),
            sdk_profiles_connect.ProfilesSDKServiceASGIApplication,
            messages,
        ),
        *(
            mount(boundary, handlers(services.control), application, messages)
            for boundary, handlers, application in _CONTROL
        ),
    )
