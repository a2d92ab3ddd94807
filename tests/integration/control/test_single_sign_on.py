"""Single sign-on against a real OpenID provider [services 3.8, 5, 13; decision 0017]."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from appliance.api.app import create_app
from appliance.base.ids import random_token
from appliance.config.model import Settings
from appliance.config.oidc import OidcProviderSettings, OidcSettings
from appliance.config.secrets import Secret
from appliance.domain.access.roles import Role
from appliance.gen.public.auth.v1.auth_pb import (
    CompleteMagicLinkRequest,
    CompleteOAuthSignInRequest,
    CompleteOIDCSignInRequest,
    GetAuthConfigRequest,
    OAuthProvider,
)
from appliance.services.oidc.provider import Passage, challenge
from appliance.services.oidc.service import FLOWS_MAX, GOOGLE_ISSUER, OidcService
from tests.support.authority import Authority, write_pem
from tests.support.clocks import FixedClock
from tests.support.control import ADDRESS, ControlStack, Refusal, control_stack
from tests.support.openid import (
    FRONTEND,
    SECRET,
    Client,
    RunningProvider,
    has_node,
    running_provider,
    signed_in_at,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.skipif(not has_node(), reason="needs node and npm"),
]

AUTH: Final = "public.auth.v1.AuthService"
API: Final = "https://pug.test"
CALLBACK: Final = f"{API}/auth/oidc/sso/callback"
BOARD_CALLBACK: Final = f"{FRONTEND}/oauth/callback"
CLIENTS: Final = (
    Client(client_id="pug", redirect_uris=(CALLBACK, BOARD_CALLBACK)),
    Client(client_id="other", redirect_uris=(BOARD_CALLBACK,)),
)
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


@pytest.fixture(scope="module")
async def shared_provider() -> AsyncGenerator[RunningProvider]:
    async with running_provider(*CLIENTS) as running:
        yield running


@pytest.fixture
async def provider(shared_provider: RunningProvider) -> RunningProvider:
    """A provider that knows Mina; it is the same for all tests, its counts go on."""
    await shared_provider.add_account(
        "mina", email="Mina@Pug.test", email_verified=True, name="Mina Mops"
    )
    return shared_provider


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


INVALID: Final = "unauthenticated/OAUTH_CREDENTIAL_INVALID"


@FORMS
async def test_a_browser_goes_and_comes_back_signed_in(
    engines: Settings, provider: RunningProvider, form: str
) -> None:
    """The session arrives by a link that holds once; neither state nor code holds twice."""
    async with board(engines, sign_on(provider.issuer)) as (stack, browser):
        answer, back = await round_trip(browser, "mina")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        session = await redeem(stack, answer, form)
        customer = stack.services.control.tokens.verify(session.token)
        assert customer is not None
        assert await customers(stack) == [("Mina@Pug.test", "Mina Mops", 1)]
        with pytest.raises(Refusal, match="INVALID_TOKEN"):
            await redeem(stack, answer)
        assert told(await browser.get(f"{CALLBACK}?{urlencode(back)}"))["error"] == "access_denied"

        again, _ = await round_trip(browser, "mina")
        second = await redeem(stack, again)
        assert stack.services.control.tokens.verify(second.token) == customer
        actions = await stack.audit_actions()
        assert actions.count("customer.identity.link") == 1
        rows = await stack.database.rows("SELECT 1 FROM oidc_flows")
        assert not rows


async def test_the_link_lives_for_a_minute(engines: Settings, provider: RunningProvider) -> None:
    async with board(engines, sign_on(provider.issuer)) as (stack, browser):
        answer, _ = await round_trip(browser, "mina")
        stack.clock.advance(61)
        with pytest.raises(Refusal, match="INVALID_TOKEN"):
            await redeem(stack, answer)


async def test_a_flow_belongs_to_its_browser_and_time(
    engines: Settings, provider: RunningProvider
) -> None:
    """A stolen answer is worth nothing elsewhere, and takes the flow with it."""
    async with board(engines, sign_on(provider.issuer)) as (stack, browser):
        back = await signed_in_at(await departure(browser), "mina", until=CALLBACK)
        cookies = dict(browser.cookies)
        assert [name for name in cookies if name.startswith("__Host-pug-oidc-")]
        browser.cookies.clear()
        assert told(await browser.get(f"{CALLBACK}?{urlencode(back)}"))["error"] == "access_denied"
        for name, value in cookies.items():
            browser.cookies.set(name, value)
        assert told(await browser.get(f"{CALLBACK}?{urlencode(back)}"))["error"] == "access_denied"

        late = await signed_in_at(await departure(browser), "mina", until=CALLBACK)
        stack.clock.advance(601)
        assert told(await browser.get(f"{CALLBACK}?{urlencode(late)}"))["error"] == "access_denied"
        assert await customers(stack) == []


async def test_two_tabs_do_not_disturb_each_other(
    engines: Settings, provider: RunningProvider
) -> None:
    async with board(engines, sign_on(provider.issuer)) as (stack, browser):
        first, second = await departure(browser), await departure(browser)
        for url in (second, first):
            back = await signed_in_at(url, "mina", until=CALLBACK)
            await redeem(stack, await browser.get(f"{CALLBACK}?{urlencode(back)}"))


async def test_what_a_browser_may_meet(engines: Settings, provider: RunningProvider) -> None:
    """A person who says no, a forged answer, an unknown provider, another method."""
    async with board(engines, sign_on(provider.issuer)) as (_, browser):
        answer, back = await round_trip(browser, "nobody")
        assert back["error"] == "access_denied"
        assert told(answer)["error"] == "access_denied"
        forged = await signed_in_at(await departure(browser), "mina", until=CALLBACK)
        forged["iss"] = "https://evil.test"
        forged_answer = await browser.get(f"{CALLBACK}?{urlencode(forged)}")
        assert told(forged_answer)["error"] == "access_denied"
        assert (await browser.get("/auth/oidc/nothing/authorize")).status_code == 400
        assert (await browser.get("/auth/oidc/sso/other")).status_code == 404
        assert (await browser.get("/auth/oidc/sso")).status_code == 404
        assert (await browser.get("/auth/oidc/sso/authorize?" + "a" * 20_000)).status_code == 400
        assert (await browser.head("/auth/oidc/sso/callback")).status_code == 405
        assert (await browser.post("/auth/oidc/sso/callback")).status_code == 405


@FORMS
async def test_the_dashboard_brings_a_code(
    engines: Settings, provider: RunningProvider, form: str
) -> None:
    """CompleteOIDCSignIn signs up with the time zone, and a code holds once."""
    async with board(engines, sign_on(provider.issuer)) as (stack, _):
        config = await stack.call(f"{AUTH}/GetAuthConfig", GetAuthConfigRequest(), form=form)
        (offered,) = config.providers
        assert (offered.id, offered.display_name, offered.client_id, offered.issuer_url) == (
            "sso",
            "Single sign-on",
            "pug",
            provider.issuer,
        )
        assert list(offered.scopes) == ["openid", "email", "profile"]

        discovery, keys = await documents_asked(provider)
        request = await code_for(provider.issuer)
        request.timezone = "Europe/Berlin"
        session = await complete(stack, request, form)
        assert stack.services.control.tokens.verify(session.token)
        rows = await stack.database.rows("SELECT reporting_timezone FROM projects")
        assert [row["reporting_timezone"] for row in rows] == ["Europe/Berlin"]
        assert await refused(stack, request, form) == INVALID
        assert await documents_asked(provider) == (discovery + 1, keys + 1)


@FORMS
async def test_an_answer_to_another_question_does_not_count(
    engines: Settings, provider: RunningProvider, form: str
) -> None:
    """Wrong nonce, verifier, redirect address, audience, or another client's code."""
    async with board(engines, sign_on(provider.issuer)) as (stack, _):
        for name, value in (
            ("nonce", "m" * 32),
            ("code_verifier", "w" * 64),
            ("redirect_uri", CALLBACK),
            ("code", "invented"),
        ):
            request = await code_for(provider.issuer)
            setattr(request, name, value)
            assert await refused(stack, request, form) == INVALID, name
        assert (
            await refused(stack, await code_for(provider.issuer, client="other"), form) == INVALID
        )
        unknown = await code_for(provider.issuer)
        unknown.provider_id = "nothing"
        disabled = "invalid_argument/OAUTH_PROVIDER_DISABLED"
        assert await refused(stack, unknown, form) == disabled
        assert await customers(stack) == []


async def test_clocks_may_differ_a_little(engines: Settings, provider: RunningProvider) -> None:
    """A provider whose clock is 30 s ahead is believed, one 120 s ahead is not."""
    async with board(engines, sign_on(provider.issuer)) as (stack, _):
        stack.clock.advance(-30)
        await complete(stack, await code_for(provider.issuer))
        stack.clock.advance(-90)
        assert await refused(stack, await code_for(provider.issuer)) == INVALID


async def test_rotated_keys_are_fetched_once(engines: Settings, provider: RunningProvider) -> None:
    async with board(engines, sign_on(provider.issuer)) as (stack, _):
        await complete(stack, await code_for(provider.issuer))
        discovery, keys = await documents_asked(provider)
        await provider.rotate()
        assert await refused(stack, await code_for(provider.issuer)) == INVALID  # asked just now
        assert await documents_asked(provider) == (discovery, keys)
        stack.clock.advance(11)
        await complete(stack, await code_for(provider.issuer))
        await complete(stack, await code_for(provider.issuer))
        assert await documents_asked(provider) == (discovery, keys + 1)


@FORMS
async def test_only_verified_addresses_count(
    engines: Settings, provider: RunningProvider, form: str
) -> None:
    """Nobody becomes somebody else by an address that the provider did not check."""
    async with board(engines, sign_on(provider.issuer)) as (stack, browser):
        victim = await stack.make_member()
        broken = "invalid_argument/INVALID_ARGUMENT"
        for claims in (
            {"email": victim.email, "email_verified": False},
            {"email": victim.email},
            {"email": "", "email_verified": True},
            {"email_verified": True},
        ):
            await provider.add_account("thief", **claims)
            assert await refused(stack, await code_for(provider.issuer, "thief"), form) == broken
        answer, _ = await round_trip(browser, "thief")
        assert told(answer)["error"] == "access_denied"
        assert await customers(stack) == [(victim.email, "", 0)]

        await provider.add_account("thief", email=victim.email.upper(), email_verified="true")
        session = await complete(stack, await code_for(provider.issuer, "thief"), form)
        assert stack.services.control.tokens.verify(session.token) == victim.id
        await provider.add_account("thief", email="married@pug.test", email_verified=True)
        session = await complete(stack, await code_for(provider.issuer, "thief"), form)
        assert stack.services.control.tokens.verify(session.token) == victim.id


async def test_domains_and_the_disabled_stay_outside(
    engines: Settings, provider: RunningProvider
) -> None:
    settings = sign_on(provider.issuer, allowed_domains=("PUG.test",))
    async with board(engines, settings) as (stack, _):
        await provider.add_account("eve", email="eve@pug.test.evil.test", email_verified=True)
        assert await refused(stack, await code_for(provider.issuer, "eve")) == INVALID
        session = await complete(stack, await code_for(provider.issuer))
        customer = stack.services.control.tokens.verify(session.token)
        await stack.database.execute(
            "UPDATE customers SET disable_time = now() WHERE id = $1", customer
        )
        assert await refused(stack, await code_for(provider.issuer)) == INVALID


async def test_groups_decide_roles(engines: Settings, provider: RunningProvider) -> None:
    """The highest role counts, follows the provider, and never takes the last administrator."""
    async with board(engines) as (stack, _):
        oldest = await stack.make_org("Oldest")
        stack.clock.advance(1)
        named = await stack.make_org("Named")
        await stack.database.execute(
            "UPDATE orgs SET create_time = create_time + interval '1 hour' WHERE id = $1", named
        )
        settings = sign_on(
            provider.issuer,
            scopes=("openid", "email", "groups"),
            role_claim="groups",
            role_mapping={
                "admins": "admin",
                "staff": "viewer",
                "guests": f"member@{named}",
                "gone": "admin@zzzzzzzzzzzzzzzzzzzz",
            },
        )
        control = stack.services.control
        control.oidc = with_providers(stack, settings)
        scope = "openid email groups"

        async def sign_in_as(*groups: str) -> str:
            await provider.add_account(
                "mina", email="mina@pug.test", email_verified=True, groups=list(groups)
            )
            service: OidcService = control.oidc
            request = await code_for(provider.issuer, scope=scope)
            session = await complete_with(service, request)
            return str(control.tokens.verify(session.access.reveal()))

        async def roles(customer: str) -> dict[str, str]:
            rows = await stack.database.rows(
                "SELECT org_id, role FROM org_members WHERE customer_id = $1", customer
            )
            return {str(row["org_id"]): str(row["role"]) for row in rows}

        for groups in ((), ("strangers",), ("gone",)):
            with pytest.raises(Exception, match="administrator"):
                await sign_in_as(*groups)
        assert await customers(stack) == []
        mina = await sign_in_as("staff", "admins", "guests", "strangers")
        assert await roles(mina) == {oldest: Role.ADMIN.stored, named: Role.MEMBER.stored}
        await sign_in_as("staff", "guests")
        assert (await roles(mina))[oldest] == Role.ADMIN.stored  # the last one
        await stack.make_member(Role.ADMIN, oldest)
        await sign_in_as("staff")
        assert await roles(mina) == {oldest: Role.VIEWER.stored, named: Role.MEMBER.stored}
        actions = await stack.audit_actions()
        assert actions.count("org.member.join") == 2
        assert actions.count("org.member.role") == 1
        rows = await stack.database.rows("SELECT 1 FROM projects")
        assert not rows  # nobody with a role got an organisation of their own


def with_providers(
    stack: ControlStack, *providers: OidcProviderSettings, **google: str
) -> OidcService:
    """The service of a running application for other providers."""
    control = stack.services.control
    return OidcService(
        stack.database,
        OidcSettings(providers=providers),
        google_client_id=google.get("client_id", ""),
        google_issuer=google.get("issuer", GOOGLE_ISSUER),
        links=control.links,
        linking=control.oidc._linking,
        sessions=control.sessions,
        clock=stack.clock,
        ids=stack._ids,
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


async def test_claims_that_only_userinfo_tells(engines: Settings) -> None:
    """A provider that keeps the address out of the ID token, asked with a public client, in EC."""
    client = Client(
        client_id="pug",
        redirect_uris=(BOARD_CALLBACK,),
        client_secret=None,
        token_endpoint_auth_method="none",
        id_token_signed_response_alg="ES256",
    )
    async with running_provider(client, claims_in_id_token=False) as provider:
        await provider.add_account("mina", email="mina@pug.test", email_verified=True)
        settings = sign_on(provider.issuer, client_secret=None)
        async with board(engines, settings) as (stack, _):
            await complete(stack, await code_for(provider.issuer))
            assert await customers(stack) == [("mina@pug.test", "", 1)]


@FORMS
async def test_a_private_authority_and_a_provider_that_goes_away(
    engines: Settings, tmp_path: Path, form: str
) -> None:
    """Without its authority a provider is `unavailable`, and so it is when it is gone."""
    authority = Authority()
    chain = authority.issue(["localhost"])
    tls = write_pem(tmp_path, chain, authority.intermediate, key=authority.key)
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(Authority.pem(authority.root))
    trust = ssl.create_default_context(cafile=ca_file)
    async with running_provider(*CLIENTS, tls=tls) as provider:
        await provider.add_account("mina", email="mina@pug.test", email_verified=True)
        settings = sign_on(provider.issuer)
        request = await code_for(provider.issuer, trust=trust)
        async with board(engines, settings) as (stack, browser):
            assert await refused(stack, request, form) == "unavailable/UNAVAILABLE"
            answer = await browser.get("/auth/oidc/sso/authorize")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        async with board(engines, settings, ca_file=ca_file) as (stack, browser):
            await complete(stack, request, form)
            answer, _ = await round_trip(browser, "mina", trust)
            await redeem(stack, answer)
    async with board(engines, settings, ca_file=ca_file) as (stack, browser):
        assert await refused(stack, request, form) == "unavailable/UNAVAILABLE"
        page = await browser.get("/auth/oidc/sso/authorize", headers={"accept": "text/html"})
        assert told(page)["error"] == "temporarily_unavailable"
        await stack.call(f"{AUTH}/GetAuthConfig", GetAuthConfigRequest(), form=form)


async def test_many_first_sign_ins_at_once(engines: Settings, provider: RunningProvider) -> None:
    """One person in many tabs is one customer with one identity and one organisation."""
    async with board(engines, sign_on(provider.issuer)) as (stack, _):
        requests = [await code_for(provider.issuer) for _ in range(6)]
        sessions = await asyncio.gather(*(complete(stack, request) for request in requests))
        tokens = stack.services.control.tokens
        assert len({tokens.verify(session.token) for session in sessions}) == 1
        assert await customers(stack) == [("Mina@Pug.test", "Mina Mops", 1)]
        assert len(await stack.database.rows("SELECT 1 FROM orgs")) == 1


async def test_flows_are_bounded(engines: Settings, provider: RunningProvider) -> None:
    """Who begins sign-ins without end fills no disk; what is over makes room."""
    async with board(engines, sign_on(provider.issuer)) as (stack, browser):
        await stack.database.execute(
            "INSERT INTO oidc_flows SELECT encode(sha256(n::text::bytea), 'hex'), $1, 'sso', 'n',"
            " 'v', '', $2 FROM generate_series(1, $3) AS n",
            "0" * 64,
            stack.clock.now() + timedelta(minutes=5),
            FLOWS_MAX,
        )
        answer = await browser.get("/auth/oidc/sso/authorize")
        assert (answer.status_code, answer.json()["code"]) == (429, "resource_exhausted")
        stack.clock.advance(301)
        await departure(browser)


async def test_a_wrong_secret_is_our_trouble_not_the_persons(
    engines: Settings, provider: RunningProvider
) -> None:
    settings = sign_on(provider.issuer, client_secret=Secret("wrong"))
    async with board(engines, settings) as (stack, _):
        assert await refused(stack, await code_for(provider.issuer)) == "unavailable/UNAVAILABLE"


@FORMS
async def test_google(engines: Settings, provider: RunningProvider, form: str) -> None:
    """An ID token for this client signs in; another's, an old one and forged ones do not."""
    async with board(engines) as (first, _):
        stack = first

        async def outcome(credential: str) -> str:
            request = CompleteOAuthSignInRequest(
                provider=OAuthProvider.GOOGLE, credential=credential
            )
            try:
                await stack.call(f"{AUTH}/CompleteOAuthSignIn", request, form=form)
            except Refusal as refusal:
                return f"{refusal.code}/{refusal.reason}"
            return "ok"

        assert await outcome("x.y.z") == "invalid_argument/OAUTH_PROVIDER_DISABLED"
        # The same services with another issuer in Google's place, behind a face of their own.
        stack.services.control.oidc = with_providers(stack, client_id="pug", issuer=provider.issuer)
        stack = ControlStack(stack.services, Settings(data_dir=engines.data_dir), stack.clock)
        own = await id_token(provider.issuer, "pug")
        foreign = await id_token(provider.issuer, "other")
        head, body, signature = own.split(".")
        none = "eyJhbGciOiJub25lIn0"
        assert await outcome("not a token") == INVALID
        assert await outcome(foreign) == INVALID
        assert await outcome(f"{none}.{body}.") == INVALID
        assert await outcome(f"{head}.{foreign.split('.')[1]}.{signature}") == INVALID
        assert await outcome(own) == "ok"
        assert await outcome(own) == "ok"  # Google's button has no nonce of ours
        rows = await stack.database.rows("SELECT provider FROM customer_identities")
        assert [row["provider"] for row in rows] == ["google"]
        await provider.add_account("mina", email="mina@pug.test", email_verified=False)
        unverified = await id_token(provider.issuer, "pug")
        assert await outcome(unverified) == "invalid_argument/INVALID_ARGUMENT"
        stack.clock.advance(3600 + 61)  # the ID token lives for an hour
        assert await outcome(own) == INVALID


async def id_token(issuer: str, client: str) -> str:
    """An ID token as Google's button hands it to a page."""
    request = await code_for(issuer, client=client)
    async with httpx.AsyncClient(trust_env=False) as http:
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
