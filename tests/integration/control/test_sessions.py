"""Sessions: passwords, links, rotation, theft, lock-out [services 3.2-3.6, 5]."""

import asyncio
from collections.abc import AsyncGenerator

import bcrypt
import pytest

from appliance.config.model import DemoSettings, Settings
from appliance.config.secrets import Secret
from appliance.domain.access.roles import Role
from appliance.gen.dashboard.customers.v1.customers_pb import GetMeRequest, SetPasswordRequest
from appliance.gen.public.auth.v1.auth_pb import (
    CompleteMagicLinkRequest,
    DemoSignInRequest,
    RefreshSessionRequest,
    RequestMagicLinkRequest,
    SignInWithEmailRequest,
    SignOutRequest,
)
from appliance.services.accounts import OPERATOR
from appliance.storage.postgres.customers import lock_by_email, set_disabled
from appliance.storage.postgres.sessions import revoke_all_of
from tests.support.control import ControlStack, Refusal, control_stack
from tests.support.locks import waits_for_a_lock

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AUTH = "public.auth.v1.AuthService"
SIGN_IN = f"{AUTH}/SignInWithEmail"
REQUEST = f"{AUTH}/RequestMagicLink"
COMPLETE = f"{AUTH}/CompleteMagicLink"
REFRESH = f"{AUTH}/RefreshSession"
SIGN_OUT = f"{AUTH}/SignOut"
DEMO = f"{AUTH}/DemoSignIn"
GET_ME = "dashboard.customers.v1.CustomersService/GetMe"
SET_PASSWORD = "dashboard.customers.v1.CustomersService/SetPassword"
RIGHT = "correct horse"
FORMS = ["json", "proto"]


async def refused(control: ControlStack, path: str, message: object, **how: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await control.call(path, message, **how)  # type: ignore[arg-type]
    return caught.value


async def make_user(control: ControlStack, email: str = "Rex@pug.test") -> str:
    made = await control.services.accounts.create_user(email, Secret(RIGHT), role=Role.ADMIN)
    return made.id


async def sign_in(control: ControlStack, email: str = "rex@pug.test", form: str = "proto"):
    return await control.call(
        SIGN_IN, SignInWithEmailRequest(email=email, password=RIGHT), form=form
    )


async def link_of(control: ControlStack, email: str) -> str:
    issued = await control.services.control.magic_links.issue(email)
    return issued.token.reveal()


async def living_tokens(control: ControlStack) -> int:
    row = await control.database.row(
        "SELECT count(*)::int AS living FROM refresh_tokens WHERE revoke_time IS NULL"
    )
    assert row is not None
    return int(str(row["living"]))


@pytest.mark.parametrize("form", FORMS)
async def test_a_password_opens_a_session(control: ControlStack, form: str) -> None:
    """Whatever the case of the address; the token is for the customer."""
    customer_id = await make_user(control)
    session = await sign_in(control, "REX@PUG.test", form)
    me = await control.call(GET_ME, GetMeRequest(), token=session.token, form=form)
    assert (me.customer_id, me.email, me.email_verified) == (customer_id, "Rex@pug.test", True)
    assert len(session.refresh_token) == 64
    assert await control.audit_actions() == ["customer.create", "session.sign_in"]


@pytest.mark.parametrize("form", FORMS)
async def test_refusals_look_alike_and_cost_alike(control: ControlStack, form: str) -> None:
    """Unknown address, no password, wrong password, disabled: one answer, one check each."""
    await make_user(control)
    await make_user(control, "off@pug.test")
    await control.services.accounts.set_enabled("off@pug.test", enabled=False, actor=OPERATOR)
    await control.make_person("linked@pug.test")
    passwords = control.services.control.passwords
    told = set()
    for email, password in (
        ("nobody@pug.test", RIGHT),
        ("linked@pug.test", RIGHT),
        ("rex@pug.test", "wrong one"),
        ("off@pug.test", RIGHT),
    ):
        before = passwords.checks
        refusal = await refused(
            control, SIGN_IN, SignInWithEmailRequest(email=email, password=password), form=form
        )
        told.add((refusal.code, refusal.reason, refusal.message))
        assert passwords.checks == before + 1
    assert len(told) == 1
    assert next(iter(told))[:2] == ("unauthenticated", "INVALID_CREDENTIALS")


@pytest.mark.parametrize("form", FORMS)
async def test_guessing_is_locked_out_for_known_and_unknown_alike(
    control: ControlStack, form: str
) -> None:
    """After ten tries even the right password waits, also in another process; then it works."""
    await make_user(control)
    for email in ("rex@pug.test", "nobody@pug.test"):
        for _ in range(10):
            wrong = SignInWithEmailRequest(email=email, password="wrong one")
            assert (await refused(control, SIGN_IN, wrong)).code == "unauthenticated"
        right = SignInWithEmailRequest(email=email.upper(), password=RIGHT)
        locked = await refused(control, SIGN_IN, right, form=form)
        assert (locked.code, locked.reason) == ("resource_exhausted", "RESOURCE_EXHAUSTED")
    control.clock.advance(15 * 60 + 1)
    assert (await sign_in(control)).token


async def test_guesses_at_the_same_moment_do_not_outrun_the_limit(control: ControlStack) -> None:
    await make_user(control)
    wrong = SignInWithEmailRequest(email="rex@pug.test", password="wrong one")
    answers = await asyncio.gather(*(refused(control, SIGN_IN, wrong) for _ in range(30)))
    assert sum(each.code == "unauthenticated" for each in answers) == 10


async def test_success_forgives_what_the_account_counted(control: ControlStack) -> None:
    await make_user(control)
    wrong = SignInWithEmailRequest(email="rex@pug.test", password="wrong one")
    for _ in range(3):
        for _ in range(9):
            await refused(control, SIGN_IN, wrong)
        assert (await sign_in(control)).token


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
async def test_hashes_of_the_original_are_accepted(control: ControlStack, prefix: str) -> None:
    """bcrypt in each of its spellings, so that accounts can be imported."""
    person = await control.make_person("old@pug.test")
    hashed = bcrypt.hashpw(RIGHT.encode(), bcrypt.gensalt(4)).decode()
    await control.database.execute(
        "UPDATE customers SET password_hash = $2 WHERE id = $1",
        person.id,
        f"${prefix}${hashed.split('$', 2)[2]}",
    )
    assert (await sign_in(control, "old@pug.test")).token


@pytest.mark.parametrize("form", FORMS)
async def test_a_refresh_token_rotates(control: ControlStack, form: str) -> None:
    await make_user(control)
    session = await sign_in(control)
    for _ in range(3):
        session = await control.call(
            REFRESH, RefreshSessionRequest(refresh_token=session.refresh_token), form=form
        )
        await control.call(GET_ME, GetMeRequest(), token=session.token)
    control.clock.advance(91 * 86400)
    refusal = await refused(
        control, REFRESH, RefreshSessionRequest(refresh_token=session.refresh_token), form=form
    )
    assert (refusal.code, refusal.reason) == ("unauthenticated", "INVALID_TOKEN")


async def test_a_stolen_token_used_twice_ends_the_family(control: ControlStack) -> None:
    """Thief and owner both lose; other sessions of the person live on."""
    await make_user(control)
    other = await sign_in(control)
    stolen = (await sign_in(control)).refresh_token
    owners = await control.call(REFRESH, RefreshSessionRequest(refresh_token=stolen))
    thief = await refused(control, REFRESH, RefreshSessionRequest(refresh_token=stolen))
    assert thief.reason == "INVALID_TOKEN"
    owner = await refused(
        control, REFRESH, RefreshSessionRequest(refresh_token=owners.refresh_token)
    )
    assert (owner.reason, owner.message) == (thief.reason, thief.message)
    assert (
        await control.call(REFRESH, RefreshSessionRequest(refresh_token=other.refresh_token))
    ).token
    assert "session.reuse" in await control.audit_actions()


async def test_two_refreshes_at_once_leave_no_living_token(control: ControlStack) -> None:
    """[services 3.3] grace period: none. Whoever comes second ends what the first was given."""
    await make_user(control)
    for _ in range(10):
        token = (await sign_in(control)).refresh_token

        async def use(token: str = token) -> str | None:
            try:
                answer = await control.call(REFRESH, RefreshSessionRequest(refresh_token=token))
            except Refusal:
                return None
            return answer.refresh_token

        successors = [each for each in await asyncio.gather(use(), use()) if each is not None]
        assert len(successors) == 1
        refusal = await refused(
            control, REFRESH, RefreshSessionRequest(refresh_token=successors[0])
        )
        assert refusal.reason == "INVALID_TOKEN"


@pytest.mark.parametrize("form", FORMS)
async def test_sign_out_ends_the_family_and_knows_no_errors(
    control: ControlStack, form: str
) -> None:
    await make_user(control)
    session = await sign_in(control)
    for token in (session.refresh_token, session.refresh_token, "", "f" * 64, "x" * 5000):
        await control.call(SIGN_OUT, SignOutRequest(refresh_token=token), form=form)
    refusal = await refused(
        control, REFRESH, RefreshSessionRequest(refresh_token=session.refresh_token)
    )
    assert refusal.reason == "INVALID_TOKEN"


async def test_a_disabled_person_is_out_at_once(control: ControlStack) -> None:
    await make_user(control)
    session = await sign_in(control)
    await control.services.accounts.set_enabled("rex@pug.test", enabled=False, actor=OPERATOR)
    assert (await refused(control, GET_ME, GetMeRequest(), token=session.token)).code == (
        "unauthenticated"
    )
    refusal = await refused(
        control, REFRESH, RefreshSessionRequest(refresh_token=session.refresh_token)
    )
    assert refusal.reason == "INVALID_TOKEN"
    await control.services.accounts.set_enabled("rex@pug.test", enabled=True, actor=OPERATOR)
    assert (await sign_in(control)).token


@pytest.mark.parametrize("way_in", ["refresh", "password"])
async def test_nobody_slips_in_while_they_are_disabled(control: ControlStack, way_in: str) -> None:
    """Whoever is on the way in when the account is disabled has no session when it is enabled."""
    await make_user(control)
    session = await sign_in(control)
    async with control.database.transaction() as transaction:
        person = await lock_by_email(transaction, "rex@pug.test")
        assert person is not None
        use = RefreshSessionRequest(refresh_token=session.refresh_token)
        entering = asyncio.gather(
            control.call(REFRESH, use) if way_in == "refresh" else sign_in(control),
            return_exceptions=True,
        )
        await waits_for_a_lock(control.database)
        await set_disabled(transaction, person.id, control.clock.now())
        await revoke_all_of(transaction, person.id, control.clock.now())
    (outcome,) = await entering
    assert isinstance(outcome, Refusal)
    assert outcome.code == "unauthenticated"
    assert await living_tokens(control) == 0


async def test_disabling_ends_what_a_rotation_under_way_makes(control: ControlStack) -> None:
    await make_user(control)
    accounts = control.services.accounts
    for _ in range(5):
        token = (await sign_in(control)).refresh_token
        await asyncio.gather(
            control.call(REFRESH, RefreshSessionRequest(refresh_token=token)),
            accounts.set_enabled("rex@pug.test", enabled=False, actor=OPERATOR),
            return_exceptions=True,
        )
        assert await living_tokens(control) == 0
        await accounts.set_enabled("rex@pug.test", enabled=True, actor=OPERATOR)


@pytest.mark.parametrize("form", FORMS)
async def test_a_link_makes_a_customer_with_what_they_need(
    control: ControlStack, form: str
) -> None:
    """[services 3.10]: organisation and project `default` in the zone asked for, one public key."""
    token = await link_of(control, "new@pug.test")
    session = await control.call(
        COMPLETE, CompleteMagicLinkRequest(token=token, timezone="Europe/Vienna"), form=form
    )
    me = await control.call(GET_ME, GetMeRequest(), token=session.token, form=form)
    assert me.email_verified
    row = await control.database.row(
        "SELECT o.display_name AS org, p.display_name AS project, p.reporting_timezone AS zone,"
        " m.role, k.kind FROM org_members AS m JOIN orgs AS o ON o.id = m.org_id"
        " JOIN projects AS p ON p.org_id = o.id JOIN api_keys AS k ON k.project_id = p.id"
        " WHERE m.customer_id = $1",
        me.customer_id,
    )
    assert row is not None
    assert dict(row) == {
        "org": "default",
        "project": "default",
        "zone": "Europe/Vienna",
        "role": "ORG_ROLE_ADMIN",
        "kind": "public",
    }


@pytest.mark.parametrize("zone", ["", "UTC", "Nowhere/City"])
async def test_an_unknown_zone_is_utc(control: ControlStack, zone: str) -> None:
    token = await link_of(control, "new@pug.test")
    await control.call(COMPLETE, CompleteMagicLinkRequest(token=token, timezone=zone))
    row = await control.database.row("SELECT reporting_timezone AS zone FROM projects")
    assert row is not None
    assert row["zone"] == ""


@pytest.mark.parametrize("form", FORMS)
async def test_a_link_holds_once_and_for_fifteen_minutes(control: ControlStack, form: str) -> None:
    used = await link_of(control, "rex@pug.test")
    await control.call(COMPLETE, CompleteMagicLinkRequest(token=used))
    older = await link_of(control, "Rex@pug.test")
    newest = await link_of(control, "rex@pug.test")
    for token in (used, older, "f" * 64, "x" * 5000):
        refusal = await refused(control, COMPLETE, CompleteMagicLinkRequest(token=token), form=form)
        assert (refusal.code, refusal.reason) == ("invalid_argument", "INVALID_TOKEN")
    control.clock.advance(15 * 60)
    assert (
        await refused(control, COMPLETE, CompleteMagicLinkRequest(token=newest))
    ).reason == "INVALID_TOKEN"


async def test_a_link_opened_twice_at_once_lets_one_in(control: ControlStack) -> None:
    token = await link_of(control, "new@pug.test")

    async def open_it() -> bool:
        try:
            await control.call(COMPLETE, CompleteMagicLinkRequest(token=token))
        except Refusal:
            return False
        return True

    assert sorted(await asyncio.gather(open_it(), open_it(), open_it())) == [False, False, True]
    row = await control.database.row("SELECT count(*)::int AS orgs FROM orgs")
    assert row is not None
    assert row["orgs"] == 1


async def test_links_asked_for_at_once_leave_one(control: ControlStack) -> None:
    links = await asyncio.gather(*(link_of(control, "rex@pug.test") for _ in range(6)))
    opened = 0
    for link in links:
        try:
            await control.call(COMPLETE, CompleteMagicLinkRequest(token=link))
        except Refusal:
            continue
        opened += 1
    assert opened == 1


@pytest.mark.parametrize("form", FORMS)
async def test_asking_for_a_link_tells_nothing(control: ControlStack, form: str) -> None:
    """The answer is empty, known address or not; too many are refused, known or not."""
    await make_user(control)
    for email in ("rex@pug.test", "nobody@pug.test"):
        for _ in range(5):
            await control.call(REQUEST, RequestMagicLinkRequest(email=email), form=form)
        refusal = await refused(control, REQUEST, RequestMagicLinkRequest(email=email), form=form)
        assert refusal.code == "resource_exhausted"


@pytest.mark.parametrize("form", FORMS)
async def test_a_password_is_set_without_the_old_one(control: ControlStack, form: str) -> None:
    """[services 3.5]: sessions live on."""
    await make_user(control)
    session = await sign_in(control)
    await control.call(
        SET_PASSWORD,
        SetPasswordRequest(password="another horse"),
        token=session.token,
        form=form,
    )
    await control.call(GET_ME, GetMeRequest(), token=session.token)
    again = SignInWithEmailRequest(email="rex@pug.test", password="another horse")
    assert (await control.call(SIGN_IN, again)).token
    for password in ("short", "x" * 73):
        refusal = await refused(
            control,
            SET_PASSWORD,
            SetPasswordRequest(password=password),
            token=session.token,
            form=form,
        )
        assert (refusal.code, refusal.fields) == ("invalid_argument", ["password"])
    for path, message in (
        (SET_PASSWORD, SetPasswordRequest(password=RIGHT)),
        (GET_ME, GetMeRequest()),
    ):
        assert (await refused(control, path, message, form=form)).code == "unauthenticated"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        (SIGN_IN, SignInWithEmailRequest(email="no address", password="x")),
        (REQUEST, RequestMagicLinkRequest(email="no address")),
        (COMPLETE, CompleteMagicLinkRequest()),
        (REFRESH, RefreshSessionRequest()),
    ],
)
async def test_schema_rules(control: ControlStack, path: str, message: object, form: str) -> None:
    refusal = await refused(control, path, message, form=form)
    assert (refusal.code, refusal.reason) == ("invalid_argument", "INVALID_ARGUMENT")
    assert refusal.fields


@pytest.fixture
async def demo(engines: Settings) -> AsyncGenerator[ControlStack]:
    settings = Settings(data_dir=engines.data_dir, demo=DemoSettings(enabled=True))
    async with control_stack(engines, settings) as stack:
        yield stack


@pytest.mark.parametrize("form", FORMS)
async def test_the_demo_is_for_viewers_only(demo: ControlStack, form: str) -> None:
    """[services 5]: not seeded, no project, or more than a viewer: unavailable."""
    assert (await refused(demo, DEMO, DemoSignInRequest(), form=form)).code == "unavailable"
    person = await demo.make_person("snoop@pug.sh")
    org = await demo.make_org()
    await demo.join(person, org, Role.VIEWER)
    assert (await refused(demo, DEMO, DemoSignInRequest())).code == "unavailable"
    project = await demo.make_project(org)
    session = await demo.call(DEMO, DemoSignInRequest(), form=form)
    assert session.project_id == project
    assert (await demo.call(GET_ME, GetMeRequest(), token=session.token)).email == "snoop@pug.sh"
    await demo.database.execute("UPDATE org_members SET role = 'ORG_ROLE_ADMIN'")
    assert (await refused(demo, DEMO, DemoSignInRequest())).code == "unavailable"


async def test_the_demo_is_off_unless_switched_on(control: ControlStack) -> None:
    person = await control.make_person("snoop@pug.sh")
    org = await control.make_org()
    await control.join(person, org, Role.VIEWER)
    await control.make_project(org)
    assert (await refused(control, DEMO, DemoSignInRequest())).code == "unavailable"
