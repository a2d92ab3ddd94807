"""The e-mail worker from the queue to a mail server: real queue, database and SMTP [workers 4]."""

import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from protobuf import Oneof

from appliance.base.ids import IdMaker
from appliance.base.tasks import poll
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.config.people import EmailSettings, SmtpSecurity, SmtpSettings
from appliance.config.secrets import Secret
from appliance.gen.workers.email.v1.email_pb import EmailJob, MagicLinkPayload
from appliance.services.mail.sealing import Sealer, SmtpConfig
from appliance.storage.migrate import migrate_postgres
from appliance.storage.postgres.email_providers import ProviderKind, save_provider
from tests.support.control import own_schema
from tests.support.mail_stage import WAIT_SECONDS, MailStage, open_mail_stage, relay_settings
from tests.support.smtp_server import Behaviour, SmtpServerProcess, smtp_server

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TOKEN = "0123456789abcdef-the-secret-itself"
KEY = Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
NOW = datetime(2026, 5, 10, 9, 30, tzinfo=UTC)
make_id = IdMaker().make


@pytest.fixture
async def stage(engines: Settings) -> AsyncGenerator[MailStage]:
    async with own_schema(resolve_endpoints(engines)) as endpoints:
        await migrate_postgres(endpoints.postgres, lambda _name: None)
        async with open_mail_stage(endpoints) as opened:
            yield opened


async def make_invitation(stage: MailStage, *, inviter: str | None = "Mina") -> tuple[str, str]:
    """A pending invitation; its id and that of the organisation."""
    org_id, invitation_id, inviter_id = make_id(), make_id(), None
    await stage.database.execute(
        "INSERT INTO orgs (id, display_name) VALUES ($1, 'Bakery')", org_id
    )
    if inviter is not None:
        inviter_id = make_id()
        await stage.database.execute(
            "INSERT INTO customers (id, display_name, email) VALUES ($1, $2, $3)",
            inviter_id,
            inviter,
            f"{inviter_id}@pug.test",
        )
    await stage.database.execute(
        "INSERT INTO org_invitations (id, org_id, email, inviter_id, token, expire_time)"
        " VALUES ($1, $2, 'ada@example.org', $3, $4, $5)",
        invitation_id,
        org_id,
        inviter_id,
        make_id(),
        NOW + timedelta(days=7),
    )
    return invitation_id, org_id


async def set_provider(
    stage: MailStage, org_id: str, server: SmtpServerProcess, key: Secret = KEY
) -> None:
    """Give the organisation a mail server of its own."""
    config = SmtpConfig(host=server.host, port=server.port)
    async with stage.database.transaction() as transaction:
        await save_provider(
            transaction,
            org_id,
            kind=ProviderKind.SMTP,
            from_address="mail@bakery.example",
            reply_to="",
            sealed=Sealer(key).seal(config),
            now=NOW,
        )


async def dead(stage: MailStage) -> str:
    """Wait for the one dead letter; its reason."""

    async def found() -> str | None:
        letters = await stage.letters()
        return letters[0].reason if letters else None

    reason = await poll(found, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
    assert reason is not None
    await stage.until_empty()
    return reason


def told(captured: pytest.CaptureFixture[str]) -> str:
    """Everything that was logged."""
    out = captured.readouterr()
    return out.out + out.err


async def test_a_sign_in_link_arrives_and_leaves_no_trace(
    stage: MailStage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    with smtp_server(tmp_path) as server:
        email = relay_settings(server)
        assert await stage.queue(email).magic_link("ada@example.org", TOKEN, "dispatch-1")
        assert TOKEN.encode() in await stage.stored_bytes()
        async with stage.worker(email):
            await stage.until_empty()
        (mail,) = server.mails()
    assert f"https://pug.test/magic-link?token={TOKEN}" in mail.text.splitlines()
    assert mail.message["X-Idempotency-Key"] == "dispatch-1"
    assert TOKEN.encode() not in await stage.stored_bytes()
    assert TOKEN not in told(capfd)


@pytest.mark.parametrize("inviter", ["Mina", None])
async def test_an_invitation_names_organisation_and_inviter(
    stage: MailStage, tmp_path: Path, inviter: str | None
):
    invitation, _ = await make_invitation(stage, inviter=inviter)
    with smtp_server(tmp_path) as server:
        email = relay_settings(server)
        await stage.queue(email).invite("ada@example.org", invitation, TOKEN, make_id())
        async with stage.worker(email):
            await stage.until_empty()
        (mail,) = server.mails()
    assert "Bakery" in mail.text
    assert ("Mina" in mail.text) == (inviter is not None)
    assert mail.message["From"] == "Pug <pug@example.com>"


async def test_a_revoked_invitation_is_not_sent(
    stage: MailStage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    with smtp_server(tmp_path) as server:
        email = relay_settings(server)
        await stage.queue(email).invite("ada@example.org", make_id(), TOKEN, "dispatch-3")
        async with stage.worker(email):
            assert "revoked" in await dead(stage)
        assert server.mails() == []
    assert TOKEN.encode() not in await stage.stored_bytes()
    assert TOKEN not in told(capfd)


async def test_a_refused_mail_is_a_dead_letter_without_token(
    stage: MailStage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Even when the server repeats what it was sent."""
    refusing = Behaviour(data_reply=f"550 I will not carry {TOKEN}")
    with smtp_server(tmp_path, refusing) as server:
        email = relay_settings(server)
        await stage.queue(email).magic_link("ada@example.org", TOKEN, "dispatch-4")
        async with stage.worker(email) as state:
            reason = await dead(stage)
    assert "550" in reason
    assert sum(state.dead_letters.values()) == 1
    (letter,) = await stage.letters()
    assert letter.headers["dispatch_id"] == "dispatch-4"
    assert TOKEN.encode() not in await stage.stored_bytes()
    assert TOKEN not in told(capfd)
    # Replaying it sends nothing: it is refused at once.
    await stage.dead_letters.replay("misc", letter.sequence)
    async with stage.worker(email):
        assert "magic_link.token" in await dead(stage)


async def test_greylisting_delays_a_mail_and_keeps_its_key(stage: MailStage, tmp_path: Path):
    greylisting = Behaviour(rcpt_reply="451 4.7.1 come back later", once=True)
    with smtp_server(tmp_path, greylisting) as server:
        email = relay_settings(server)
        await stage.queue(email).magic_link("ada@example.org", TOKEN, "dispatch-5")
        async with stage.worker(email):
            await stage.until_empty()
        (mail,) = server.mails()
    assert mail.message["X-Idempotency-Key"] == "dispatch-5"
    assert await stage.letters() == []


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xff" + TOKEN.encode(),
        EmailJob(
            payload=Oneof("magic_link", MagicLinkPayload(email="a@b.test", token=TOKEN)),
            dispatch_id=" ",
        ).to_binary(),
    ],
)
async def test_what_cannot_be_read_or_keyed_is_a_dead_letter(
    stage: MailStage, tmp_path: Path, payload: bytes
):
    with smtp_server(tmp_path) as server:
        await stage.publish(payload)
        async with stage.worker(relay_settings(server)):
            await dead(stage)
        assert server.mails() == []
    assert TOKEN.encode() not in await stage.stored_bytes()


async def test_an_organisation_sends_invitations_in_its_own_name(stage: MailStage, tmp_path: Path):
    """And sign-in links stay the operator's [workers 4.3]."""
    invitation, org = await make_invitation(stage)
    with smtp_server(tmp_path / "own") as own, smtp_server(tmp_path / "operator") as operator:
        email = msgspec.structs.replace(
            relay_settings(operator), provider_secret_key=KEY, reply_to="help@example.com"
        )
        queue = stage.queue(email)
        async with stage.worker(email):
            await queue.invite("ada@example.org", invitation, TOKEN, "before")
            await stage.until_empty()
            await set_provider(stage, org, own)
            await queue.invite("ada@example.org", invitation, TOKEN, "after")
            await queue.magic_link("ada@example.org", TOKEN, "link")
            await stage.until_empty()
        (theirs,) = own.mails()
        keys = [one.message["X-Idempotency-Key"] for one in operator.mails()]
    assert theirs.message["From"] == "mail@bakery.example"
    assert theirs.message["Reply-To"] == "help@example.com"
    assert theirs.message["X-Idempotency-Key"] == "after"
    assert sorted(keys) == ["before", "link"]


async def test_only_organisations_have_mail(stage: MailStage, tmp_path: Path):
    """Without the operator's provider, links are not even queued."""
    invitation, org = await make_invitation(stage)
    email = EmailSettings(provider_secret_key=KEY, dashboard_base_url="https://pug.test")
    queue = stage.queue(email)
    assert not await queue.magic_link("ada@example.org", TOKEN, "link")
    with smtp_server(tmp_path) as own:
        await set_provider(stage, org, own)
        await queue.invite("ada@example.org", invitation, TOKEN, "own")
        async with stage.worker(email):
            await stage.until_empty()
        assert len(own.mails()) == 1
    assert TOKEN.encode() not in await stage.stored_bytes()


async def test_credentials_that_do_not_open_end_the_mail(stage: MailStage, tmp_path: Path):
    """It is not sent in the operator's name instead."""
    invitation, org = await make_invitation(stage)
    with smtp_server(tmp_path) as server:
        email = msgspec.structs.replace(relay_settings(server), provider_secret_key=KEY)
        other = Secret("//////////////////////////////////////////8=")
        await set_provider(stage, org, server, other)
        await stage.queue(email).invite("ada@example.org", invitation, TOKEN, "sealed")
        async with stage.worker(email):
            assert "decrypted" in await dead(stage)
        assert server.mails() == []


@pytest.mark.parametrize(("part", "changed"), [(r":\d+/", ":1/"), (r":[^:@/]+@", ":wrong@")])
async def test_a_database_that_is_down_or_refuses_us_delays_an_invitation(
    stage: MailStage, tmp_path: Path, part: str, changed: str
):
    """Away or with another password, and back: the mail arrives later."""
    invitation, _ = await make_invitation(stage)
    with smtp_server(tmp_path) as server:
        email = relay_settings(server)
        url = stage.endpoints.postgres.url.reveal()
        gone = msgspec.structs.replace(
            stage.endpoints.postgres, url=Secret(re.sub(part, changed, url))
        )
        assert gone.url.reveal() != url
        cut_off = MailStage(msgspec.structs.replace(stage.endpoints, postgres=gone), stage.streams)
        await stage.queue(email).invite("ada@example.org", invitation, TOKEN, make_id())
        async with cut_off.worker(email):
            await _delivered_again(stage)
        async with stage.worker(email):
            await stage.until_empty()
        (mail,) = server.mails()
    assert "Bakery" in mail.text
    assert await stage.letters() == []


async def test_without_any_mail_nothing_is_queued(stage: MailStage):
    queue = stage.queue(EmailSettings())
    assert not await queue.magic_link("ada@example.org", TOKEN, "d")
    assert not await queue.invite("ada@example.org", "i", TOKEN, "d")
    assert await stage.waiting() == 0


async def test_a_failing_publish_is_counted_and_fails_nobody(stage: MailStage):
    email = EmailSettings(
        sender="pug@example.com",
        smtp=SmtpSettings(host="127.0.0.1", security=SmtpSecurity.NONE),
    )
    queue = stage.queue(email)
    jetstream = await stage.streams.jetstream()
    config = (await jetstream.stream_info("misc")).config
    await jetstream.update_stream(config, subjects=["misc.nothing"])
    try:
        assert not await queue.magic_link("ada@example.org", TOKEN, "d")
        assert dict(queue.counts) == {("emails.publish_failure_total", "magic_link"): 1}
    finally:
        await jetstream.update_stream(config, subjects=["misc.>"])


async def _delivered_again(stage: MailStage) -> None:
    """Wait until a message was tried and put back."""

    async def redelivered() -> bool | None:
        jetstream = await stage.streams.jetstream()
        told = await jetstream.consumer_info("misc", "misc-email-processor")
        return bool(told.num_redelivered) or None

    assert await poll(redelivered, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
