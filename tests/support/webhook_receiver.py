"""A real HTTP(S) receiver of webhooks: it records requests and answers as told, or hangs.

Invariant: it listens on a free loopback port for the length of a block; what it recorded is
complete requests only.
"""

import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

HANG = 0
"""Instead of a status: the request is taken and never answered while the block lasts."""


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """One request; names of headers are lower-case."""

    path: str
    headers: dict[str, str]
    body: bytes

    def told(self) -> dict[str, Any]:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class Receiver:
    """A running receiver; `statuses` are given in turn, the last one for ever."""

    def __init__(self, port: int, statuses: list[int], location: str) -> None:
        self.port = port
        self.posts: list[Posted] = []
        self.location = location
        self.over = threading.Event()
        self._statuses = statuses

    def next_status(self) -> int:
        """The answer to the next request."""
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]


@contextmanager
def receiver(
    *statuses: int, location: str = "", certificate: tuple[Path, Path] | None = None
) -> Generator[Receiver]:
    """A receiver for the length of a block; `certificate` is its file and that of its key."""
    found: list[Receiver] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", "0"))
            mine = found[0]
            mine.posts.append(
                Posted(
                    path=self.path,
                    headers={name.lower(): text for name, text in self.headers.items()},
                    body=self.rfile.read(size),
                )
            )
            status = mine.next_status()
            if status == HANG:
                mine.over.wait()
                return
            self.send_response(status)
            if mine.location:
                self.send_header("Location", mine.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the library's name
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made = Receiver(server.server_address[1], list(statuses) or [204], location)
    found.append(made)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
