"""Codes and ID tokens that dashboards bring [services 3.8, 5, 13]."""

import ssl
from pathlib import Path

import pytest

from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.gen.public.auth.v1.auth_pb import (
    CompleteOAuthSignInRequest,
    GetAuthConfigRequest,
    OAuthProvider,
)
from tests.support.authority import Authority, write_pem
from tests.support.control import ControlStack, Refusal
from tests.support.openid import (
    Client,
    RunningProvider,
    has_node,
    running_provider,
)
from tests.support.single_sign_on import (
    AUTH,
    BOARD_CALLBACK,
    CALLBACK,
    CLIENTS,
    FORMS,
    INVALID,
    board,
    code_for,
    complete,
    customers,
    documents_asked,
    id_token,
    redeem,
    refused,
    round_trip,
    sign_on,
    told,
    with_providers,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.skipif(not has_node(), reason="needs node and npm"),
]


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
