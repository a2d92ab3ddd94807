"""Limits on guessing hold across restarts and origins, and closed sign-up tells nothing."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import msgspec
import pytest

from appliance.api.app import create_app
from appliance.base.errors import ExhaustedError
from appliance.config.model import DemoSettings, Settings
from appliance.config.people import EmailSettings, SessionSettings, SmtpSettings
from appliance.domain.access.lockout import LIMITS, Scope
from appliance.domain.access.roles import Role
from appliance.gen.public.auth.v1.auth_pb import (
    CompleteMagicLinkRequest,
    DemoSignInRequest,
    RequestMagicLinkRequest,
)
from appliance.gen.workers.email.v1.email_pb import EmailJob
from appliance.services.accounts import OPERATOR
from appliance.services.sign_in_guard import SignInGuard
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.mail import EMAIL_SUBJECT
from tests.support.control import ADDRESS, ControlStack, Refusal, control_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AUTH = "public.auth.v1.AuthService"
MAIL = EmailSettings(sender="Pug <pug@pug.test>", smtp=SmtpSettings(host="127.0.0.1", port=9))


def fresh_guard(control: ControlStack) -> tuple[SignInGuard, Postgres]:
    """What a process has that was just started."""
    database = Postgres(control.database._endpoint)
    return SignInGuard(database, control.clock), database


async def test_a_restart_forgives_nothing(control: ControlStack) -> None:
    guard, database = fresh_guard(control)
    for _ in range(LIMITS[Scope.ACCOUNT].attempts):
        await guard.admit_password("rex@pug.test", ADDRESS)
    await database.close()
    guard, database = fresh_guard(control)
    try:
        with pytest.raises(ExhaustedError):
            await guard.admit_password("REX@pug.test", "198.51.100.7")
        await guard.admit_password("ada@pug.test", ADDRESS)
        await guard.release("rex@pug.test")
        await guard.admit_password("rex@pug.test", ADDRESS)
    finally:
        await database.close()


async def test_an_origin_that_tries_many_accounts_waits(control: ControlStack) -> None:
    """Others do not wait for it, and its own successes do not count."""
    guard, database = fresh_guard(control)
    try:
        for number in range(LIMITS[Scope.ADDRESS].attempts):
            await guard.admit_password(f"n{number}@pug.test", ADDRESS)
            if number % 2:
                await guard.forgive(f"n{number}@pug.test", ADDRESS)
        for number in range(LIMITS[Scope.ADDRESS].attempts // 2):
            await guard.admit_password(f"m{number}@pug.test", ADDRESS)
        with pytest.raises(ExhaustedError):
            await guard.admit_password("last@pug.test", ADDRESS)
        await guard.admit_password("last@pug.test", "198.51.100.7")
        control.clock.advance(LIMITS[Scope.ADDRESS].window.total_seconds())
        await guard.admit_password("last@pug.test", ADDRESS)
    finally:
        await database.close()


@pytest.mark.parametrize("form", ["json", "proto"])
async def test_a_limit_says_when_to_come_back(control: ControlStack, form: str) -> None:
    """429 with Retry-After, whoever is asked about."""
    transport = httpx.ASGITransport(
        create_app(control.services, Settings(), clock=control.clock), client=(ADDRESS, 4711)
    )
    message = RequestMagicLinkRequest(email="nobody@pug.test")
    body = message.to_binary() if form == "proto" else b'{"email": "nobody@pug.test"}'
    async with httpx.AsyncClient(transport=transport, base_url="http://pug.test") as client:
        for _ in range(LIMITS[Scope.LINK_ACCOUNT].attempts + 1):
            answer = await client.post(
                f"/{AUTH}/RequestMagicLink",
                content=body,
                headers={"content-type": f"application/{form}"},
            )
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["code"] == "resource_exhausted"


@pytest.fixture
async def closed(engines: Settings) -> AsyncGenerator[ControlStack]:
    settings = Settings(
        data_dir=engines.data_dir,
        email=MAIL,
        sessions=SessionSettings(open_sign_up=False),
        demo=DemoSettings(enabled=True),
    )
    async with control_stack(engines, settings) as stack:
        yield stack


async def test_closed_sign_up_mails_only_whom_it_knows(closed: ControlStack) -> None:
    """The answers are the same; a link made for a stranger opens nothing."""
    await closed.make_person("known@pug.test")
    await closed.make_person("off@pug.test")
    await closed.services.accounts.set_enabled("off@pug.test", enabled=False, actor=OPERATOR)
    client = await closed.services.stores.streams.client()
    jobs = await client.subscribe(EMAIL_SUBJECT)
    for email in ("stranger@pug.test", "off@pug.test", "known@pug.test"):
        await closed.call(f"{AUTH}/RequestMagicLink", RequestMagicLinkRequest(email=email))
    await closed.services.control.magic_links.close()
    await client.flush()
    mailed = [EmailJob.from_binary((await jobs.next_msg()).data) for _ in range(jobs.pending_msgs)]
    assert [job.payload.value.email for job in mailed if job.payload] == ["known@pug.test"]
    link = await closed.services.control.magic_links.issue("stranger@pug.test")
    with pytest.raises(Refusal) as caught:
        await closed.call(
            f"{AUTH}/CompleteMagicLink", CompleteMagicLinkRequest(token=link.token.reveal())
        )
    assert (caught.value.code, caught.value.reason) == ("invalid_argument", "INVALID_TOKEN")


async def test_open_sign_up_mails_strangers(engines: Settings) -> None:
    """The control arm of the test above."""
    settings = msgspec.structs.replace(Settings(), data_dir=engines.data_dir, email=MAIL)
    async with control_stack(engines, settings) as stack:
        client = await stack.services.stores.streams.client()
        jobs = await client.subscribe(EMAIL_SUBJECT)
        await stack.call(f"{AUTH}/RequestMagicLink", RequestMagicLinkRequest(email="new@pug.test"))
        await stack.services.control.magic_links.close()
        await client.flush()
        assert jobs.pending_msgs == 1


async def test_visits_of_the_demo_are_limited_by_origin(closed: ControlStack) -> None:
    person = await closed.make_person("snoop@pug.sh")
    org = await closed.make_org()
    await closed.join(person, org, Role.VIEWER)
    await closed.make_project(org)
    accounts = closed.services.accounts
    visits = LIMITS[Scope.ADDRESS].attempts
    for _ in range(visits // 4):
        await asyncio.gather(*(accounts.demo_sign_in(ADDRESS) for _ in range(4)))
    for form in ("json", "proto"):
        with pytest.raises(Refusal) as caught:
            await closed.call(f"{AUTH}/DemoSignIn", DemoSignInRequest(), form=form)
        assert caught.value.code == "resource_exhausted"
    await accounts.demo_sign_in("198.51.100.7")
