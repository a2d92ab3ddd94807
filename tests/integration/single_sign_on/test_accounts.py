"""Whose account it is, and with which roles [services 3.8, 3.10; decision 0017]."""

import asyncio

import pytest

from appliance.config.model import Settings
from appliance.domain.access.roles import Role
from appliance.services.oidc.service import OidcService
from tests.support.openid import (
    RunningProvider,
    has_node,
)
from tests.support.single_sign_on import (
    FORMS,
    INVALID,
    board,
    code_for,
    complete,
    complete_with,
    customers,
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


async def test_many_first_sign_ins_at_once(engines: Settings, provider: RunningProvider) -> None:
    """One person in many tabs is one customer with one identity and one organisation."""
    async with board(engines, sign_on(provider.issuer)) as (stack, _):
        requests = [await code_for(provider.issuer) for _ in range(6)]
        sessions = await asyncio.gather(*(complete(stack, request) for request in requests))
        tokens = stack.services.control.tokens
        assert len({tokens.verify(session.token) for session in sessions}) == 1
        assert await customers(stack) == [("Mina@Pug.test", "Mina Mops", 1)]
        assert len(await stack.database.rows("SELECT 1 FROM orgs")) == 1
