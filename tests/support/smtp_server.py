"""A real SMTP server (aiosmtpd) in a process of its own, which misbehaves as told.

Invariant: it listens on a free loopback port, says READY when it does, and writes every mail it
took as one JSON object a line; the process ends with its block.
"""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from email import message_from_string
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from aiosmtpd.smtp import SMTP, AuthResult

from appliance.base.ready import READY_DESCRIPTOR_VARIABLE, announce_ready, parse_ready

STOP_SECONDS_MAX: Final = 10
HOST: Final = "127.0.0.1"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How the server behaves; replies are whole lines, empty for the usual ones.

    `security` is none, starttls or tls; `quit` is empty, a reply, or `drop`; `once` limits the
    replies to the first mail.
    """

    security: str = "none"
    certificate: str = ""
    key: str = ""
    user: str = ""
    password: str = ""
    greets: bool = True
    mail_reply: str = ""
    rcpt_reply: str = ""
    data_reply: str = ""
    quit: str = ""
    once: bool = False


class TakenMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail the server took."""

    sender: str
    recipients: list[str]
    content: str
    encrypted: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        return message_from_string(self.content, policy=default)

    @property
    def text(self) -> str:
        """The plain text part."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """The HTML part."""
        return self._part("html")

    def _part(self, kind: str) -> str:
        body = self.message.get_body((kind,))
        assert body is not None
        return cast("str", body.get_content())


class SmtpServerProcess:
    """A running server: where it listens and what it took."""

    def __init__(self, port: int, file: Path) -> None:
        self.host = HOST
        self.port = port
        self._file = file

    def mails(self) -> list[TakenMail]:
        """Everything taken so far, oldest first."""
        *lines, _being_written = self._file.read_bytes().split(b"\n")
        return [msgspec.json.decode(line, type=TakenMail) for line in lines]


@contextmanager
def smtp_server(folder: Path, behaviour: Behaviour | None = None) -> Generator[SmtpServerProcess]:
    """A server for the length of a block."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mails.jsonl"
    file.touch()
    options = msgspec.json.encode(behaviour or Behaviour()).decode()
    reading, writing = os.pipe()
    with (folder / "smtp.out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.smtp_server", str(file), options],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            cwd=Path(__file__).parents[2],
            env={**os.environ, READY_DESCRIPTOR_VARIABLE: str(writing)},
        )
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            ready = parse_ready(pipe.readline())
        assert ready is not None, (folder / "smtp.out").read_text()
        assert ready.port is not None
        yield SmtpServerProcess(ready.port, file)
    finally:
        process.kill()
        process.wait(timeout=STOP_SECONDS_MAX)
        assert process.stdin is not None
        process.stdin.close()


class _Handler:
    """Takes mails, or answers as told."""

    def __init__(self, file: Path, behaviour: Behaviour) -> None:
        self._file = file
        self._behaviour = behaviour
        self._refused = 0

    def _refusal(self, reply: str) -> str:
        if not reply or (self._behaviour.once and self._refused):
            return ""
        self._refused += 1
        return reply

    async def handle_MAIL(  # noqa: N802 the library's name
        self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if refusal := self._refusal(self._behaviour.mail_reply):
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 the library's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        if refusal := self._refusal(self._behaviour.rcpt_reply):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 the library's name
        if refusal := self._refusal(self._behaviour.data_reply):
            return refusal
        mail = TakenMail(
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            content=envelope.content.decode("utf-8", "surrogateescape"),
            encrypted=session.ssl is not None or self._behaviour.security == "tls",
            user=(session.auth_data or b"").decode(),
        )
        with self._file.open("ab") as output:
            output.write(msgspec.json.encode(mail) + b"\n")
        return "250 taken as 4711"


class _Server(SMTP):
    """aiosmtpd with manners of our choosing at the end."""

    goodbye = ""

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802 the library's name
        if self.goodbye == "drop":
            assert self.transport is not None
            self.transport.close()
        elif self.goodbye:
            await self.push(self.goodbye)
        else:
            await super().smtp_QUIT(arg)


async def serve(file: Path, behaviour: Behaviour) -> None:
    """Serve until killed; the body of the server's process."""
    context = None
    if behaviour.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(behaviour.certificate, behaviour.key)

    def authenticate(_server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> Any:
        wanted = (behaviour.user.encode(), behaviour.password.encode())
        good = (data.login, data.password) == wanted
        return AuthResult(success=good, handled=False, auth_data=data.login if good else None)

    handler = _Handler(file, behaviour)

    def make() -> asyncio.BaseProtocol:
        if not behaviour.greets:
            return asyncio.Protocol()
        server = _Server(
            handler,
            hostname="relay.test",
            tls_context=context if behaviour.security == "starttls" else None,
            authenticator=authenticate if behaviour.user else None,
            auth_required=bool(behaviour.user),
            auth_require_tls=False,
            enable_SMTPUTF8=True,
        )
        server.goodbye = behaviour.quit
        return server

    listener = await asyncio.get_running_loop().create_server(
        make, HOST, 0, ssl=context if behaviour.security == "tls" else None
    )
    announce_ready(port=listener.sockets[0].getsockname()[1])
    await listener.serve_forever()


if __name__ == "__main__":
    given = msgspec.convert(json.loads(sys.argv[2]), Behaviour)
    asyncio.run(serve(Path(sys.argv[1]), given))
