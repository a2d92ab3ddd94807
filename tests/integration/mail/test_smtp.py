"""Mail by SMTP against a real server process, good and bad ones."""

import asyncio
from pathlib import Path

import pytest

from appliance.base.clock import SystemClock
from appliance.base.errors import ApplianceError, MisconfiguredError, UnavailableError, UnmetError
from appliance.config.people import SmtpSecurity
from appliance.config.secrets import Secret
from appliance.domain.mail.letters import Letterhead, magic_link_letter
from appliance.services.mail.carriers import Mail
from appliance.services.mail.smtp import SmtpCarrier, SmtpServer
from appliance.services.trust import client_context
from tests.support.authority import Authority, write_pem
from tests.support.smtp_server import Behaviour, SmtpServerProcess, smtp_server

pytestmark = pytest.mark.anyio

LINK = "https://pug.test/magic-link?token=top-secret"


def make_mail(**changes: str) -> Mail:
    """A sign-in mail."""
    given = {
        "sender": "Pug <pug@example.com>",
        "reply_to": "help@example.com",
        "recipient": "ada@example.org",
        "key": "dispatch-1",
    } | changes
    return Mail(letter=magic_link_letter(Letterhead(), link=LINK), **given)


def carrier_of(
    server: SmtpServerProcess,
    security: SmtpSecurity = SmtpSecurity.NONE,
    *,
    ca_file: Path | None = None,
    host: str = "127.0.0.1",
    user: str = "",
    password: str = "",
    seconds_max: float = 20,
) -> SmtpCarrier:
    """Our side of the conversation."""
    place = SmtpServer(
        host=host,
        port=server.port,
        security=security,
        user=user,
        password=Secret(password) if password else None,
    )
    return SmtpCarrier(place, client_context(ca_file), SystemClock(), seconds_max=seconds_max)


@pytest.fixture
def authority(tmp_path: Path) -> tuple[str, str, Path]:
    """Certificate and key of a server, and the file of its private authority."""
    made = Authority()
    chain = (made.issue(["127.0.0.1", "localhost"]), made.intermediate)
    certificate, key = write_pem(tmp_path, *chain, key=made.key)
    root = tmp_path / "root.pem"
    root.write_bytes(made.pem(made.root))
    return str(certificate), str(key), root


async def failure(carrier: SmtpCarrier, mail: Mail | None = None) -> ApplianceError:
    """The error that sending ends with; it never tells the link."""
    with pytest.raises(ApplianceError) as caught:
        await carrier.send(mail or make_mail())
    assert "top-secret" not in str(caught.value)
    return caught.value


async def test_a_relay_without_sign_in_takes_text_and_html(tmp_path: Path):
    with smtp_server(tmp_path) as server:
        receipt = await carrier_of(server).send(make_mail())
        (taken,) = server.mails()
    message = taken.message
    assert (taken.sender, taken.recipients) == ("pug@example.com", ["ada@example.org"])
    assert message["From"] == "Pug <pug@example.com>"
    assert message["Reply-To"] == "help@example.com"
    assert message["X-Idempotency-Key"] == "dispatch-1"
    assert message["Message-ID"] == "<dispatch-1@example.com>"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert LINK in taken.text.splitlines()
    assert f'href="{LINK}"' in taken.html
    assert not taken.encrypted
    assert receipt.message_id == "taken as 4711"


async def test_starttls_is_used_and_checked(tmp_path: Path, authority: tuple[str, str, Path]):
    certificate, key, root = authority
    behaviour = Behaviour(security="starttls", certificate=certificate, key=key)
    with smtp_server(tmp_path / "s", behaviour) as server:
        strange = await failure(carrier_of(server, SmtpSecurity.STARTTLS))
        assert isinstance(strange, UnavailableError)
        assert "certificate is not trusted" in str(strange)
        await carrier_of(server, SmtpSecurity.STARTTLS, ca_file=root).send(make_mail())
        (taken,) = server.mails()
    assert taken.encrypted


async def test_tls_from_the_first_byte(tmp_path: Path, authority: tuple[str, str, Path]):
    certificate, key, root = authority
    behaviour = Behaviour(security="tls", certificate=certificate, key=key)
    with smtp_server(tmp_path / "s", behaviour) as server:
        strange = await failure(carrier_of(server, SmtpSecurity.TLS))
        assert "certificate is not trusted" in str(strange)
        await carrier_of(server, SmtpSecurity.TLS, ca_file=root, host="localhost").send(make_mail())
        (taken,) = server.mails()
    assert taken.encrypted


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path):
    made = Authority()
    certificate, key = write_pem(
        tmp_path, made.issue(["mail.example"]), made.intermediate, key=made.key
    )
    root = tmp_path / "root.pem"
    root.write_bytes(made.pem(made.root))
    behaviour = Behaviour(security="tls", certificate=str(certificate), key=str(key))
    with smtp_server(tmp_path / "s", behaviour) as server:
        error = await failure(carrier_of(server, SmtpSecurity.TLS, ca_file=root))
        assert "not trusted" in str(error)
        assert server.mails() == []


async def test_wanted_encryption_is_never_given_up(tmp_path: Path):
    """A server that takes the offer away gets nothing."""
    with smtp_server(tmp_path) as server:
        error = await failure(carrier_of(server, SmtpSecurity.STARTTLS))
        assert isinstance(error, UnmetError)
        assert server.mails() == []


@pytest.mark.parametrize("secured", [True, False])
async def test_sign_in(tmp_path: Path, authority: tuple[str, str, Path], *, secured: bool):
    certificate, key, root = authority
    behaviour = Behaviour(
        security="starttls" if secured else "none",
        certificate=certificate,
        key=key,
        user="pug",
        password="woof woof",
    )
    security = SmtpSecurity.STARTTLS if secured else SmtpSecurity.NONE
    with smtp_server(tmp_path / "s", behaviour) as server:
        wrong = carrier_of(server, security, ca_file=root, user="pug", password="miaow")
        refusal = await failure(wrong)
        assert isinstance(refusal, UnmetError)
        assert "535" in str(refusal)
        assert "miaow" not in str(refusal)
        nobody = await failure(carrier_of(server, security, ca_file=root))
        assert isinstance(nobody, UnmetError)
        good = carrier_of(server, security, ca_file=root, user="pug", password="woof woof")
        await good.send(make_mail())
        (taken,) = server.mails()
    assert (taken.user, taken.encrypted) == ("pug", secured)


async def test_a_server_without_sign_in_refuses_nobody_silently(tmp_path: Path):
    """A configured user that cannot be used is told, not left out."""
    with smtp_server(tmp_path) as server:
        error = await failure(carrier_of(server, user="pug", password="woof"))
        assert isinstance(error, UnmetError)


@pytest.mark.parametrize("step", ["mail_reply", "rcpt_reply", "data_reply"])
@pytest.mark.parametrize(
    ("reply", "kind"), [("550 no", UnmetError), ("451 later", UnavailableError)]
)
async def test_refusals(tmp_path: Path, step: str, reply: str, kind: type[ApplianceError]):
    with smtp_server(tmp_path, Behaviour(**{step: reply})) as server:
        error = await failure(carrier_of(server))
    assert type(error) is kind
    assert reply in str(error)


@pytest.mark.parametrize("goodbye", ["drop", "451 not now", "221"])
async def test_a_failing_goodbye_is_no_failure(tmp_path: Path, goodbye: str):
    """The mail was taken: sending it again would be a second mail."""
    with smtp_server(tmp_path, Behaviour(quit=goodbye)) as server:
        await carrier_of(server).send(make_mail())
        assert len(server.mails()) == 1


async def test_a_server_that_never_greets_costs_one_deadline(tmp_path: Path):
    with smtp_server(tmp_path, Behaviour(greets=False)) as server:
        error = await failure(carrier_of(server, seconds_max=0.3))
    assert isinstance(error, UnavailableError)
    assert "no answer in time" in str(error) or "Timed out" in str(error)


async def test_waiting_for_a_greeting_can_be_cancelled(tmp_path: Path):
    with smtp_server(tmp_path, Behaviour(greets=False)) as server:
        sending = asyncio.ensure_future(carrier_of(server, seconds_max=60).send(make_mail()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await sending
        assert sending.cancelled()


async def test_nobody_listens(tmp_path: Path):
    with smtp_server(tmp_path) as server:
        carrier = carrier_of(server)
    assert isinstance(await failure(carrier), UnavailableError)


async def test_no_header_can_be_smuggled_in(tmp_path: Path):
    """CR and LF are taken out of every header value [workers 4.4]."""
    mail = make_mail(key="key\r\nBcc: eve@example.com", sender="Pug\r\nX: y <pug@example.com>")
    with smtp_server(tmp_path) as server:
        await carrier_of(server).send(mail)
        (taken,) = server.mails()
    assert taken.recipients == ["ada@example.org"]
    assert taken.message["Bcc"] is None
    assert taken.message["X"] is None


async def test_an_address_that_is_none_is_refused_before_anything_is_sent(tmp_path: Path):
    with smtp_server(tmp_path) as server:
        error = await failure(carrier_of(server), make_mail(recipient="nobody"))
        assert isinstance(error, UnmetError)
        assert server.mails() == []


async def test_letters_beyond_ascii_arrive(tmp_path: Path):
    with smtp_server(tmp_path) as server:
        await carrier_of(server).send(
            make_mail(recipient="jürgen@example.org", sender="Möps <pug@example.com>")
        )
        (taken,) = server.mails()
    assert taken.recipients == ["jürgen@example.org"]
    assert taken.message["From"] == "Möps <pug@example.com>"


def test_a_file_of_authorities_must_be_one(tmp_path: Path):
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    with pytest.raises(MisconfiguredError):
        client_context(file)
    with pytest.raises(MisconfiguredError):
        client_context(tmp_path / "missing.pem")
