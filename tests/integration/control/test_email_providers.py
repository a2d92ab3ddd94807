"""`OrgEmailProvidersService` through generated clients, every outcome [services 6.5]."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from protobuf import Message, Oneof

from appliance.base.errors import ApplianceError
from appliance.config.model import Settings
from appliance.config.people import EmailSettings, SmtpSecurity, SmtpSettings
from appliance.config.secrets import Secret
from appliance.domain.access.roles import Role
from appliance.gen.dashboard.orgemailproviders.v1.orgemailproviders_pb import (
    GetRequest,
    OrgEmailProviderKind,
    RemoveRequest,
    ResendConfig,
    SendTestRequest,
    SetRequest,
    SMTPConfig,
)
from appliance.services.mail.routes import MailRoutes
from tests.support.control import ControlStack, Person, Refusal, control_stack
from tests.support.mail_api import Reply, mail_api
from tests.support.smtp_server import Behaviour, SmtpServerProcess, smtp_server
from tests.support.vectors import Case, cases_of

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVICE = "dashboard.orgemailproviders.v1.OrgEmailProvidersService"
KEY = Secret(base64.b64encode(bytes(range(32))).decode())
FORMS = pytest.mark.parametrize("form", ["json", "proto"])


class Office:
    """An organisation with its administrator, in front of one application."""

    def __init__(self, control: ControlStack, admin: Person, org: str, form: str) -> None:
        self.control = control
        self.admin = admin
        self.org = org
        self.form = form

    async def call(self, method: str, message: Message, *, person: Person | None = None) -> Any:
        return await self.control.call(
            f"{SERVICE}/{method}", message, token=(person or self.admin).token, form=self.form
        )

    async def refused(
        self, method: str, message: Message, *, person: Person | None = None
    ) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.call(method, message, person=person)
        return caught.value

    def smtp(self, **changes: Any) -> SetRequest:
        given = {
            "host": "mail.example",
            "port": 587,
            "username": "pug",
            "password": "woof",
            "use_tls": True,
        } | changes
        return SetRequest(
            org_id=self.org,
            from_address="mail@bakery.example",
            reply_to="",
            config=Oneof("smtp", SMTPConfig(**given)),
        )

    def resend(self, key: str = "re_12345678901") -> SetRequest:
        return SetRequest(
            org_id=self.org,
            from_address="mail@bakery.example",
            reply_to="help@bakery.example",
            config=Oneof("resend", ResendConfig(api_key=key)),
        )

    def get(self) -> GetRequest:
        return GetRequest(org_id=self.org)

    def test(self, recipient: str | None = None) -> SendTestRequest:
        return SendTestRequest(org_id=self.org, recipient=recipient or self.admin.email)


class Offices:
    """Makes offices with mail settings of the test's choice, on running engines."""

    def __init__(self, engines: Settings) -> None:
        self._engines = engines
        self._stacks = []

    async def open(self, form: str = "proto", **email: Any) -> Office:
        settings = Settings(
            data_dir=self._engines.data_dir,
            email=msgspec.structs.replace(EmailSettings(), **email),
        )
        stack = control_stack(self._engines, settings)
        control = await stack.__aenter__()
        self._stacks.append(stack)
        org = await control.make_org("Bakery")
        return Office(control, await control.make_member(org_id=org), org, form)

    async def close(self) -> None:
        for stack in reversed(self._stacks):
            await stack.__aexit__(None, None, None)


@pytest.fixture
async def offices(engines: Settings) -> AsyncGenerator[Offices]:
    made = Offices(engines)
    yield made
    await made.close()


def relay(server: SmtpServerProcess) -> dict[str, Any]:
    """The operator's mail by this server."""
    smtp = SmtpSettings(host=server.host, port=server.port, security=SmtpSecurity.NONE)
    return {"sender": "pug@example.com", "smtp": smtp}


@FORMS
async def test_a_provider_is_set_shown_replaced_and_removed(offices: Offices, form: str):
    office = await offices.open(form, provider_secret_key=KEY)
    set_at = (await office.call("Set", office.smtp())).update_time
    shown = await office.call("Get", office.get())
    assert shown.kind is OrgEmailProviderKind.SMTP
    assert (shown.from_address, shown.reply_to) == ("mail@bakery.example", "")
    assert shown.redacted_secret == "smtp://pug:***@mail.example:587"
    assert shown.update_time == set_at
    await office.call("Set", office.resend())
    shown = await office.call("Get", office.get())
    assert shown.kind is OrgEmailProviderKind.RESEND
    assert shown.reply_to == "help@bakery.example"
    assert shown.redacted_secret == "re_12345***8901"
    await office.call("Remove", RemoveRequest(org_id=office.org))
    await office.call("Remove", RemoveRequest(org_id=office.org))
    gone = await office.refused("Get", office.get())
    assert (gone.code, gone.reason) == ("not_found", "EMAIL_PROVIDER_NOT_FOUND")
    assert gone.resource == ("email_provider", office.org)
    assert await office.control.audit_actions() == [
        "org.email_provider.set",
        "org.email_provider.set",
        "org.email_provider.remove",
    ]


async def test_credentials_are_sealed_in_the_database(offices: Offices):
    office = await offices.open(provider_secret_key=KEY)
    await office.call("Set", office.smtp())
    row = await office.control.database.row("SELECT * FROM org_email_providers")
    assert row is not None
    assert b"woof" not in bytes(row["encrypted_config"])  # type: ignore[arg-type]
    audit = await office.control.database.rows("SELECT details FROM audit_entries")
    assert "woof" not in repr([dict(one) for one in audit])


@FORMS
async def test_without_a_key_the_feature_is_off(offices: Offices, form: str):
    """Removing works all the same [services 6.5]."""
    office = await offices.open(form)
    missing = ("failed_precondition", "EMAIL_PROVIDER_ENCRYPTION_KEY_MISSING")
    refused = await office.refused("Set", office.smtp())
    assert (refused.code, refused.reason) == missing
    assert (await office.refused("Get", office.get())).reason == "EMAIL_PROVIDER_NOT_FOUND"
    await _store(office, b"x" * 60)
    refused = await office.refused("Get", office.get())
    assert (refused.code, refused.reason) == missing
    refused = await office.refused("SendTest", office.test())
    assert (refused.code, refused.reason) == (
        "failed_precondition",
        "EMAIL_TEST_SEND_UNAVAILABLE",
    )
    await office.call("Remove", RemoveRequest(org_id=office.org))
    assert (await office.refused("Get", office.get())).reason == "EMAIL_PROVIDER_NOT_FOUND"


@FORMS
async def test_a_lost_key_is_told(offices: Offices, form: str):
    office = await offices.open(form, provider_secret_key=KEY)
    await _store(office, b"x" * 60)
    refused = await office.refused("Get", office.get())
    assert (refused.code, refused.reason) == (
        "failed_precondition",
        "EMAIL_PROVIDER_SECRET_DECRYPT_FAILED",
    )
    answer = await office.call("SendTest", office.test())
    assert not answer.success
    assert "decrypted" in answer.error_message


@FORMS
@pytest.mark.parametrize(
    "changes",
    [
        {"host": "mail.example/path"},
        {"host": "two words"},
        {"from_address": "a" * 250 + "@b.test"},
        {"api_key": "re key"},
    ],
)
async def test_what_the_schema_does_not_see(offices: Offices, form: str, changes: dict[str, str]):
    office = await offices.open(form, provider_secret_key=KEY)
    if "api_key" in changes:
        request = office.resend(changes["api_key"])
    elif "host" in changes:
        request = office.smtp(**changes)
    else:
        request = office.smtp()
        request.from_address = changes["from_address"]
    refused = await office.refused("Set", request)
    assert refused.code == "invalid_argument"
    assert refused.reason in {"INVALID_EMAIL_PROVIDER_CONFIG", "INVALID_ARGUMENT"}


@FORMS
@pytest.mark.parametrize("method", ["Get", "Set", "Remove", "SendTest"])
async def test_administrators_only(offices: Offices, form: str, method: str):
    office = await offices.open(form, provider_secret_key=KEY)
    messages: dict[str, Message] = {
        "Get": office.get(),
        "Set": office.smtp(),
        "Remove": RemoveRequest(org_id=office.org),
        "SendTest": office.test(),
    }
    for role in (Role.VIEWER, Role.MEMBER):
        person = await office.control.make_member(role, office.org)
        refused = await office.refused(method, messages[method], person=person)
        assert (refused.code, refused.reason) == ("permission_denied", "ORG_ROLE_FORBIDDEN")
    stranger = await office.control.make_person()
    refused = await office.refused(method, messages[method], person=stranger)
    assert (refused.code, refused.reason) == ("permission_denied", "ORG_NOT_A_MEMBER")


@FORMS
async def test_strangers_and_broken_requests(offices: Offices, form: str):
    office = await offices.open(form, provider_secret_key=KEY)
    broken: dict[str, Message] = {
        "Get": GetRequest(org_id=""),
        "Set": SetRequest(org_id=office.org, from_address="nobody"),
        "Remove": RemoveRequest(org_id=""),
        "SendTest": SendTestRequest(org_id=office.org, recipient="nobody"),
    }
    for method, message in broken.items():
        refused = await office.refused(method, message)
        assert (refused.code, refused.reason) == ("invalid_argument", "INVALID_ARGUMENT")
        nobody = Person(id="", email="", token="")
        refused = await office.refused(method, message, person=nobody)
        assert (refused.code, refused.reason) == ("unauthenticated", "UNAUTHENTICATED")


@FORMS
async def test_a_test_goes_to_oneself_only(offices: Offices, tmp_path: Path, form: str):
    with smtp_server(tmp_path) as server:
        office = await offices.open(form, provider_secret_key=KEY, **relay(server))
        refused = await office.refused("SendTest", office.test("somebody@else.test"))
        assert (refused.code, refused.reason) == (
            "permission_denied",
            "EMAIL_TEST_RECIPIENT_MISMATCH",
        )
        assert (await office.call("SendTest", office.test(office.admin.email.upper()))).success
        assert (await office.call("SendTest", office.test())).success
        mails = server.mails()
    assert len({one.message["X-Idempotency-Key"] for one in mails}) == 2
    assert "pug@example.com" in mails[0].text


@FORMS
async def test_a_test_uses_the_provider_in_effect(offices: Offices, tmp_path: Path, form: str):
    with smtp_server(tmp_path / "a") as operator, smtp_server(tmp_path / "b") as own:
        office = await offices.open(form, provider_secret_key=KEY, **relay(operator))
        await office.call("Set", office.smtp(host=own.host, port=own.port, use_tls=False))
        answer = await office.call("SendTest", office.test())
        # a user name is given that this server does not know
        assert not answer.success
        assert "535" in answer.error_message
        assert "woof" not in answer.error_message
        assert operator.mails() == []


@FORMS
async def test_a_provider_that_takes_the_test(offices: Offices, tmp_path: Path, form: str):
    behaviour = Behaviour(user="pug", password="woof")
    with smtp_server(tmp_path, behaviour) as own:
        office = await offices.open(form, provider_secret_key=KEY)
        await office.call("Set", office.smtp(host=own.host, port=own.port, use_tls=False))
        answer = await office.call("SendTest", office.test())
        assert answer.success, answer.error_message
        (mail,) = own.mails()
    assert (mail.sender, mail.user) == ("mail@bakery.example", "pug")
    assert "Bakery" in mail.text


@FORMS
async def test_a_refusing_provider_is_an_answer(offices: Offices, form: str):
    reply = Reply(status=403, body=b'{"name": "invalid_api_key", "message": "no such key"}')
    with mail_api(reply) as api:
        office = await offices.open(form, provider_secret_key=KEY, resend_url=api.url)
        await office.call("Set", office.resend())
        answer = await office.call("SendTest", office.test())
    assert not answer.success
    assert "no such key" in answer.error_message


@FORMS
async def test_without_any_provider_the_test_says_what_to_set(offices: Offices, form: str):
    office = await offices.open(form, provider_secret_key=KEY)
    answer = await office.call("SendTest", office.test())
    assert not answer.success
    assert "email.provider" in answer.error_message


@pytest.mark.parametrize(
    "case",
    [one for one in cases_of("email_disposition") if one.values[0]["provider"] == "tenant"],
)
async def test_email_disposition_of_organisations(offices: Offices, tmp_path: Path, case: Case):
    """The vectors' cases of an organisation's own provider; there is no cache to be unreachable."""
    with smtp_server(tmp_path) as server:
        email = relay(server) | {"provider_secret_key": KEY}
        office = await offices.open(**email)
        situation = case["situation"]
        if "decrypted" in situation:
            await _store(office, b"x" * 60)
        elif "unknown kind" in situation:
            await office.call("Set", office.smtp())
            await office.control.database.execute(
                "ALTER TABLE org_email_providers DROP CONSTRAINT org_email_providers_kind_check"
            )
            await office.control.database.execute(
                "UPDATE org_email_providers SET kind = 'ORG_EMAIL_PROVIDER_KIND_PIGEON'"
            )
        settings = msgspec.structs.replace(EmailSettings(), **email)
        routes = MailRoutes(settings, office.control.database, office.control.clock)
        assert await outcome(routes, office.org) == case["outcome"].partition(" ")[0]


async def outcome(routes: MailRoutes, org: str) -> str:
    """What becomes of a mail of this organisation, in the vectors' words."""
    try:
        route = await routes.of_org(org)
    except ApplianceError as error:
        return "transient" if error.transient else "permanent"
    return "own" if route.own else "sent"


async def test_two_administrators_at_once_leave_one_whole_provider(offices: Offices):
    office = await offices.open(provider_secret_key=KEY)
    await asyncio.gather(
        *(office.call("Set", office.smtp(host=f"mail{n}.example", port=1000 + n)) for n in range(8))
    )
    shown = await office.call("Get", office.get())
    host, _, port = shown.redacted_secret.rpartition("@")[2].partition(":")
    assert host == f"mail{int(port) - 1000}.example"


async def _store(office: Office, sealed: bytes) -> None:
    await office.control.database.execute(
        "INSERT INTO org_email_providers (org_id, kind, from_address, encrypted_config)"
        " VALUES ($1, 'ORG_EMAIL_PROVIDER_KIND_SMTP', 'a@b.test', $2)",
        office.org,
        sealed,
    )
