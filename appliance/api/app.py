"""The whole HTTP face as one Litestar application.

Invariant: nothing here knows a store; starting it never fails because one is down, it answers
`unavailable` and `/readyz` 503 until it is back. Paths nobody serves are refused as Connect JSON
too, because SDKs repeat what they cannot read [sdk-protocol 4]. Next: `gateway.py`, the way of a
call, and `frame.py`, what stands around it.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from litestar import Litestar, Request, Response
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler
from litestar.plugins import PluginProtocol
from litestar.types import HTTPScope, Receive, Send

from appliance.api import health, metrics, web
from appliance.api.address import TrustedProxies
from appliance.api.call import Boundary
from appliance.api.compat.doors import CompatDoors
from appliance.api.cors import CorsPolicy
from appliance.api.frame import SAFETY_HEADERS, Frame, door, made_safe, send_whole
from appliance.api.gateway import Gateway
from appliance.api.graphql.door import GraphQLDoor
from appliance.api.limits import BodyBudget
from appliance.api.live import LivePage
from appliance.api.mcp.endpoint import McpEndpoint
from appliance.api.mcp.inner import InnerCalls
from appliance.api.mcp.rates import CallRates
from appliance.api.mcp.surface import checked_surface
from appliance.api.mcp.tools import Tools
from appliance.api.oidc import SignInPages
from appliance.api.ports import Services
from appliance.api.protocols import Answer, refusal
from appliance.api.query import QueryDoor
from appliance.api.rpc.registry import MountedService, mounted_services
from appliance.base.clock import Clock, SystemClock
from appliance.base.ids import IdMaker
from appliance.config.model import Settings

_RPC_PATH: Final = re.compile(r"/[a-z]+(?:\.[a-z0-9]+)+\.[A-Z]\w*/\w+")
_SDK_PREFIX: Final = "/sdk."

_Request = Request[object, object, State]

_log = structlog.get_logger()


def create_app(
    services: Services,
    settings: Settings,
    *,
    clock: Clock | None = None,
    ids: IdMaker | None = None,
) -> Litestar:
    """The application for these services; they are opened and closed with it."""
    time = clock or SystemClock()
    cors = CorsPolicy(settings.api.cors_origins)
    network = settings.network
    proxies = TrustedProxies(network.trusted_proxies, cdn_headers=network.cdn_headers)
    bodies = BodyBudget(max(settings.api.bodies_bytes_max, 2 * settings.api.body_bytes_max))
    frame = Frame(proxies=proxies, bodies=bodies, clock=time, ids=ids or IdMaker(time))
    gateway = Gateway(
        keys=services.keys,
        access=services.control.access,
        cors=cors,
        body_bytes_max=settings.api.body_bytes_max,
        frame=frame,
    )

    async def numbers() -> Answer:
        counts = {
            **services.ingest.counts,
            **services.identify.counts,
            **services.compat.counts,
            **services.insights.counts,
            **services.live.counts,
            **services.control.mail.queue.counts,
            **services.control.erasure.counts,
        }
        return metrics.exposition(counts, services.disk(), await services.figures())

    mounted = mounted_services(services, settings.api.body_bytes_max)
    handlers = [_mount(gateway, service) for service in mounted]
    handlers += [
        _page("/health", _given(health.alive)),
        _page("/healthz", _given(health.alive)),
        _page("/readyz", lambda: health.readiness(services.readiness)),
        _page("/metrics", numbers),
    ]
    doors = CompatDoors(
        services.compat,
        services.ingest,
        keys=services.keys,
        body_bytes_max=settings.api.body_bytes_max,
        clock=time,
        frame=frame,
    )
    handlers += doors.handlers()
    tools = Tools(checked_surface().offers, InnerCalls(gateway, mounted), CallRates(time))
    agents = McpEndpoint(tools, keys=services.keys, access=services.control.access, frame=frame)
    handlers.append(agents.handler())
    questions = GraphQLDoor(
        services,
        body_bytes_max=settings.api.body_bytes_max,
        development=settings.api.development,
        frame=frame,
    )
    handlers.append(questions.handler())
    experts = QueryDoor(
        services.queries.sql,
        keys=services.keys,
        access=services.control.access,
        cors=cors,
        frame=frame,
    )
    handlers.append(experts.handler())
    handlers.append(SignInPages(services.control.oidc, frame).handler())
    live = LivePage(
        services.live,
        keys=services.keys,
        access=services.control.access,
        cors=cors,
        clock=time,
        frame=frame,
    )
    handlers.append(live.handler())
    if settings.api.dashboard:
        handlers += [_page(path, _fixed(answer)) for path, answer in web.pages().items()]

    def refuse(request: _Request, error: HTTPException) -> Response[bytes]:
        return _unknown_path(request, error, cors)

    return _Plain(
        route_handlers=handlers,
        on_startup=[services.open],
        on_shutdown=[services.close],
        exception_handlers={HTTPException: refuse, Exception: _broken},
        openapi_config=None,
        logging_config=None,
    )


class _Plain(Litestar):
    """Litestar without what it adds for libraries that it finds.

    The faces for agents need pydantic and OpenTelemetry, but not before the first agent comes: 8 MB
    and a tenth of a second of every start. `tests/unit/api/mcp/test_loading.py` fails when Litestar
    finds another way.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return plugins

    @staticmethod
    def _patch_opentelemetry_middleware(config: AppConfig) -> AppConfig:
        return config


def _mount(gateway: Gateway, service: MountedService) -> ASGIRouteHandler:
    async def serve(scope: HTTPScope, receive: Receive, send: Send) -> None:
        await gateway.serve(service, scope["path"].strip("/"), scope, receive, send)

    return door(f"/{service.name}", serve, with_below=True)


def _page(path: str, ask: Callable[[], Awaitable[Answer]]) -> ASGIRouteHandler:
    async def serve(scope: HTTPScope, receive: Receive, send: Send) -> None:  # noqa: ARG001 the shape of ASGI
        await send_whole(send, made_safe(await ask()), has_body=scope["method"] != "HEAD")

    return door(path, serve)


def _fixed(answer: Answer) -> Callable[[], Awaitable[Answer]]:
    async def ask() -> Answer:
        return answer

    return ask


def _given(answer: Callable[[], Answer]) -> Callable[[], Awaitable[Answer]]:
    async def ask() -> Answer:
        return answer()

    return ask


def _broken(_request: _Request, error: Exception) -> Response[bytes]:
    _log.error("page_broke", exc_info=error)
    answer = refusal(
        ConnectError(Code.INTERNAL, "something went wrong on our side"), content_type=""
    )
    return Response(content=answer.body, status_code=answer.status, media_type="application/json")


def _unknown_path(request: _Request, error: HTTPException, cors: CorsPolicy) -> Response[bytes]:
    path = request.scope["path"]
    code = Code.UNIMPLEMENTED if _RPC_PATH.fullmatch(path) else Code.NOT_FOUND
    _log.info("request_unserved", status=error.status_code, code=code.value)
    answer = refusal(
        ConnectError(code, "nothing is served here"), content_type="", status=error.status_code
    )
    headers = [*answer.headers, *SAFETY_HEADERS]
    if path.startswith(_SDK_PREFIX):
        headers += cors.answer_headers(Boundary.SDK, request.headers.get("origin"))
    return Response(
        content=answer.body,
        status_code=answer.status,
        headers={name.decode(): value.decode("latin-1") for name, value in headers},
    )
