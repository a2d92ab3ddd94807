"""The application with sign-in providers, and the two ways to them: a browser's and a dashboard's.

Invariant: the provider is a real one (`openid.py`); the application is the real one, on a database
of its own, and its wall clock is the machine's, by which the provider goes.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from appliance.api.app import create_app
from appliance.base.ids import IdMaker, random_token
from appliance.config.model import Settings
from appliance.config.oidc import OidcProviderSettings, OidcSettings
from appliance.config.secrets import Secret
from appliance.gen.public.auth.v1.auth_pb import (
    CompleteMagicLinkRequest,
    CompleteOIDCSignInRequest,
)
from appliance.services.oidc.linking import Linking
from appliance.services.oidc.provider import Passage, challenge
from appliance.services.oidc.service import GOOGLE_ISSUER, OidcService
from tests.support.clocks import FixedClock
from tests.support.control import ADDRESS, ControlStack, Refusal, control_stack
from tests.support.openid import (
    FRONTEND,
    SECRET,
    Client,
    RunningProvider,
    signed_in_at,
)

AUTH: Final = "public.auth.v1.AuthService"
API: Final = "https://pug.test"
CALLBACK: Final = f"{API}/auth/oidc/sso/callback"
BOARD_CALLBACK: Final = f"{FRONTEND}/oauth/callback"
CLIENTS: Final = (
    Client(client_id="pug", redirect_uris=(CALLBACK, BOARD_CALLBACK)),
    Client(client_id="other", redirect_uris=(BOARD_CALLBACK,)),
)
INVALID: Final = "unauthenticated/OAUTH_CREDENTIAL_INVALID"
FORMS = pytest.mark.parametrize("form", ["json", "proto"])


class OffsetClock(FixedClock):
    """The machine's wall clock, by which the provider goes, and what `advance` adds to it.

    Monotonic time stands still all the same, so that no test depends on how long it takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._offset = timedelta()

    def now(self) -> datetime:
        return datetime.now(tz=UTC) + self._offset

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._offset += timedelta(seconds=seconds)


def sign_on(issuer: str, **changes: Any) -> OidcProviderSettings:
    chosen: dict[str, Any] = {
        "name": "Single sign-on",
        "slug": "sso",
        "issuer_url": issuer,
        "client_id": "pug",
        "client_secret": Secret(SECRET),
    }
    return OidcProviderSettings(**(chosen | changes))


@asynccontextmanager
async def board(
    engines: Settings, *providers: OidcProviderSettings, ca_file: Path | None = None
) -> AsyncGenerator[tuple[ControlStack, httpx.AsyncClient]]:
    """The application with these providers, and a browser in front of it."""
    settings = Settings(
        data_dir=engines.data_dir,
        oidc=OidcSettings(
            providers=providers, base_url=API, frontend_url=FRONTEND, ca_file=ca_file
        ),
    )
    clock = OffsetClock()
    async with control_stack(engines, settings, clock) as stack:
        app = create_app(stack.services, settings, clock=clock)
        transport = httpx.ASGITransport(app, client=(ADDRESS, 4711))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=API) as browser:
            yield stack, browser


async def documents_asked(provider: RunningProvider) -> tuple[int, int]:
    """How often the discovery document and the keys were fetched so far."""
    return (
        await provider.asked("/.well-known/openid-configuration"),
        await provider.asked("/jwks"),
    )


async def departure(browser: httpx.AsyncClient, **query: str) -> str:
    answer = await browser.get("/auth/oidc/sso/authorize", params=query)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def round_trip(
    browser: httpx.AsyncClient, account: str, trust: Any = None
) -> tuple[httpx.Response, dict[str, str]]:
    """A browser's whole way; the last redirect and what the provider sent back."""
    back = await signed_in_at(await departure(browser), account, until=CALLBACK, trust=trust)
    return await browser.get(f"{CALLBACK}?{urlencode(back)}"), back


def told(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(f"{FRONTEND}/oauth/callback?"), location
    return dict(parse_qsl(urlsplit(location).query))


async def redeem(stack: ControlStack, answer: httpx.Response, form: str = "proto") -> Any:
    location = answer.headers["location"]
    assert location.startswith(f"{FRONTEND}/magic-link?token="), location
    (token,) = dict(parse_qsl(urlsplit(location).query)).values()
    return await stack.call(
        f"{AUTH}/CompleteMagicLink", CompleteMagicLinkRequest(token=token), form=form
    )


async def code_for(
    issuer: str,
    account: str = "mina",
    *,
    client: str = "pug",
    nonce: str = "n" * 32,
    verifier: str = "v" * 64,
    scope: str = "openid email profile",
    trust: Any = None,
) -> CompleteOIDCSignInRequest:
    """What a dashboard that asked the provider itself brings to CompleteOIDCSignIn."""
    question = urlencode(
        {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": BOARD_CALLBACK,
            "scope": scope,
            "state": random_token(16),
            "nonce": nonce,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
    )
    back = await signed_in_at(
        f"{issuer}/auth?{question}", account, until=BOARD_CALLBACK, trust=trust
    )
    return CompleteOIDCSignInRequest(
        provider_id="sso",
        code=back["code"],
        code_verifier=verifier,
        redirect_uri=BOARD_CALLBACK,
        nonce=nonce,
    )


async def complete(
    stack: ControlStack, request: CompleteOIDCSignInRequest, form: str = "proto"
) -> Any:
    return await stack.call(f"{AUTH}/CompleteOIDCSignIn", request, form=form)


async def refused(
    stack: ControlStack, request: CompleteOIDCSignInRequest, form: str = "proto"
) -> str:
    with pytest.raises(Refusal) as caught:
        await complete(stack, request, form)
    return f"{caught.value.code}/{caught.value.reason}"


async def customers(stack: ControlStack) -> list[tuple[str, str, int]]:
    """Address, name and number of identities of everybody."""
    rows = await stack.database.rows(
        "SELECT c.email, c.display_name, count(i.id)::int AS known FROM customers AS c"
        " LEFT JOIN customer_identities AS i ON i.customer_id = c.id GROUP BY c.id ORDER BY c.email"
    )
    return [(str(row["email"]), str(row["display_name"]), int(str(row["known"]))) for row in rows]


def with_providers(
    stack: ControlStack, *providers: OidcProviderSettings, **google: str
) -> OidcService:
    """The service of a running application for other providers."""
    control, ids = stack.services.control, IdMaker(stack.clock)
    return OidcService(
        stack.database,
        OidcSettings(providers=providers),
        google_client_id=google.get("client_id", ""),
        google_issuer=google.get("issuer", GOOGLE_ISSUER),
        links=control.links,
        linking=Linking(control.provisioning, clock=stack.clock, ids=ids, audit=control.audit),
        sessions=control.sessions,
        clock=stack.clock,
        ids=ids,
    )


async def complete_with(service: OidcService, request: CompleteOIDCSignInRequest) -> Any:
    return await service.complete(
        request.provider_id,
        request.code,
        Passage(
            redirect_uri=request.redirect_uri, nonce=request.nonce, verifier=request.code_verifier
        ),
        timezone="",
        address=ADDRESS,
    )


async def id_token(issuer: str, client: str) -> str:
    """An ID token as Google's button hands it to a page."""
    request = await code_for(issuer, client=client)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(
            f"{issuer}/token",
            auth=(client, SECRET.replace(" ", "+").replace("%", "%25")),
            data={
                "grant_type": "authorization_code",
                "code": request.code,
                "redirect_uri": request.redirect_uri,
                "code_verifier": request.code_verifier,
            },
        )
    return str(json.loads(answer.content)["id_token"])
