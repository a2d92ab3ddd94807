"""A real HTTP server that stands for Resend or SES: it records requests and answers as told."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = {}


class MailApi:
    """A running server; `replies` are given in turn, the last one for ever."""

    def __init__(self, port: int, replies: list[Reply]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[Recorded] = []
        self._replies = replies

    def next_reply(self) -> Reply:
        """The answer to the next request."""
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


@contextmanager
def mail_api(*replies: Reply) -> Generator[MailApi]:
    """A server for the length of a block."""
    found: list[MailApi] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", "0"))
            api = found[0]
            api.requests.append(
                Recorded(
                    path=self.path,
                    headers={name.lower(): text for name, text in self.headers.items()},
                    body=self.rfile.read(size),
                )
            )
            reply = api.next_reply()
            self.send_response(reply.status)
            for name, text in reply.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the library's name
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.append(MailApi(server.server_address[1], list(replies) or [Reply()]))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
