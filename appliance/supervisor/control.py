"""The private door to a running supervisor: status, stop, restart, hold, over a Unix socket.

Invariant: the socket has mode 0600 in a 0700 folder; one request line gets one answer line; both
are bounded in size and time. A socket file without a listener is stale and replaced.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec

from appliance.base.errors import ApplianceError, NotFoundError, UnavailableError
from appliance.base.files import PRIVATE_FILE, unwritable
from appliance.supervisor.component import ComponentStatus

_LINE_BYTES_MAX: Final = 1 << 20
_REQUEST_SECONDS_MAX: Final = 10.0
_CONNECTIONS_MAX: Final = 16
HOLD_SECONDS_MAX: Final = 600.0
"""How long a component can be kept from running; who asked may be killed meanwhile."""


class Command(StrEnum):
    """What can be asked."""

    STATUS = "status"
    STOP = "stop"
    RESTART = "restart"
    HOLD = "hold"
    RELEASE = "release"


class Request(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One request line."""

    command: Command
    component: str = ""
    holder: str = ""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=HOLD_SECONDS_MAX)] = 1.0


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer line; `reason` is set when the request failed."""

    pid: int
    memory_bytes: int = 0
    stopping: bool = False
    components: tuple[ComponentStatus, ...] = ()
    reason: str = ""
    message: str = ""
    hint: str = ""


Responder = Callable[[Request], Answer]


class ControlServer:
    """Listens on the socket for as long as it is open."""

    def __init__(self, path: Path, respond: Responder) -> None:
        self._path = path
        self._respond = respond
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Open the door; a stale socket file is replaced.

        The caller holds the lock of the installation, so no living supervisor can own the file.
        """
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._path.unlink(missing_ok=True)
            with _short_name(self._path) as name:
                door.bind(name)
            self._path.chmod(PRIVATE_FILE)
        except OSError as error:
            door.close()
            raise unwritable(self._path, error) from error
        self._server = await asyncio.start_unix_server(
            self._serve, sock=door, limit=_LINE_BYTES_MAX
        )

    async def close(self) -> None:
        """Close the door and remove its name."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(_REQUEST_SECONDS_MAX):
                if self._open <= _CONNECTIONS_MAX:
                    line = await reader.readline()
                    writer.write(msgspec.json.encode(self._answer(line)) + b"\n")
                    await writer.drain()
        except (OSError, ValueError):
            pass  # whoever asked went away, was too slow or sent too much
        finally:
            self._open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _answer(self, line: bytes) -> Answer:
        try:
            return self._respond(msgspec.json.decode(line, type=Request))
        except msgspec.MsgspecError as error:
            return Answer(pid=os.getpid(), reason="REQUEST_UNREADABLE", message=str(error))
        except ApplianceError as error:
            return Answer(
                pid=os.getpid(), reason=error.reason, message=error.message, hint=error.hint
            )


def ask_supervisor(path: Path, request: Request) -> Answer:
    """Send one request to the running supervisor.

    Raises UnavailableError when none is running and NotFoundError when it refuses.
    """
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as door,
            _short_name(path) as name,
        ):
            door.settimeout(_REQUEST_SECONDS_MAX)
            door.connect(name)
            door.sendall(msgspec.json.encode(request) + b"\n")
            with door.makefile("rb") as answers:
                line = answers.readline(_LINE_BYTES_MAX)
        answer = msgspec.json.decode(line, type=Answer)
    except (OSError, msgspec.DecodeError) as error:
        raise UnavailableError(
            "NOT_RUNNING",
            f"no appliance is running on {path.parent.parent}",
            hint="start it with `pug-appliance run`",
        ) from error
    if answer.reason:
        raise NotFoundError(answer.reason, answer.message, hint=answer.hint)
    return answer


@contextmanager
def _short_name(path: Path) -> Generator[str]:
    """A name for a socket that fits the kernel's 107 bytes however long the path is."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
