"""Just enough HTTP to ask whether somebody answers.

Invariant: one connection, one GET, one bounded answer; the caller bounds the time.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec

from appliance.base.errors import UnavailableError

HTTP_OK: Final = 200
_ANSWER_BYTES_MAX: Final = 64 << 10
_NO_HEADERS: Final[dict[str, str]] = {}


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Status and body of one answer."""

    status: int
    body: bytes


async def http_get(
    host: str,
    port: int,
    target: str,
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    secure: bool = False,
    verify: bool = True,
    bytes_max: int = _ANSWER_BYTES_MAX,
) -> HttpAnswer:
    """Ask one question; `verify` is left out only for our own certificate, over loopback.

    Raises UnavailableError when what answers is no HTTP server, OSError when nobody listens and
    EOFError when the connection ends early.
    """
    tls = ssl.create_default_context() if secure else None
    if tls is not None and not verify:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=_ANSWER_BYTES_MAX)
    try:
        lines = [
            f"GET {target} HTTP/1.0",
            f"Host: {host}:{port}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        body = await _read_body(reader, head, bytes_max)
        return HttpAnswer(status=int(head.split(b" ", 2)[1]), body=body)
    except (asyncio.LimitOverrunError, ValueError, IndexError) as error:
        raise UnavailableError("NO_HTTP", f"port {port} does not speak HTTP") from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _read_body(reader: asyncio.StreamReader, head: bytes, limit: int) -> bytes:
    """The body up to a limit: as long as the head says, else until the connection ends."""
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            limit = min(limit, int(value))
    body = b""
    while len(body) < limit:
        chunk = await reader.read(limit - len(body))
        if not chunk:
            break
        body += chunk
    return body
