"""Single sign-on as a browser meets it [issue 4; decision 0017]."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest

from appliance.config.model import Settings
from appliance.services.oidc.service import FLOWS_MAX
from tests.support.control import Refusal
from tests.support.openid import (
    RunningProvider,
    has_node,
    signed_in_at,
)
from tests.support.single_sign_on import (
    CALLBACK,
    FORMS,
    board,
    customers,
    departure,
    redeem,
    round_trip,
    sign_on,
    told,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.skipif(not has_node(), reason="needs node and npm"),
]


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
