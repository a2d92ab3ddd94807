"""What one request costs on its way through the application, without sockets and stores.

The fastest of many, in microseconds, so that the figure holds on a busy machine, too:
`.venv/bin/python -m tests.bench.ingest_request`. With a socket: `ingest_face.py`.
"""

import asyncio
import logging
from time import perf_counter
from typing import Any, Final

from appliance.api.app import create_app
from appliance.base.log import configure_logging
from appliance.config.model import Settings
from tests.bench.ingest_face import PATH, requests
from tests.support.api_services import PUBLIC_KEY, MemoryServices

ROUNDS: Final = {1: 3000, 100: 400}
_PROXIED: Final = (b"x-forwarded-for", b"198.51.100.7")


async def fastest(application: Any, scope: dict[str, Any], body: bytes, rounds: int) -> float:
    """Seconds of the fastest of so many requests; all of them must be answered 200."""
    answers = set[int]()
    best = float("inf")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answers.add(message["status"])

    for _ in range(rounds):
        began = perf_counter()
        await application({**scope}, receive, send)
        best = min(best, perf_counter() - began)
    assert answers == {200}
    return best


async def measure() -> None:
    """Print a line for each form, size and way."""
    services = MemoryServices()
    services.ingest.keep = False
    application = create_app(services, Settings())
    for form in ("json", "proto"):
        for events, rounds in ROUNDS.items():
            _, _, body = requests(form, events)[0].partition(b"\r\n\r\n")
            for more in ((), (_PROXIED,)):
                headers = [
                    (b"host", b"localhost"),
                    (b"x-api-key", PUBLIC_KEY.encode()),
                    (b"content-type", f"application/{form}".encode()),
                    (b"connect-protocol-version", b"1"),
                    (b"user-agent", b"bench"),
                    (b"content-length", str(len(body)).encode()),
                    *more,
                ]
                scope = {
                    "type": "http",
                    "asgi": {"version": "3.0"},
                    "http_version": "1.1",
                    "method": "POST",
                    "scheme": "http",
                    "path": PATH,
                    "raw_path": PATH.encode(),
                    "query_string": b"",
                    "root_path": "",
                    "headers": headers,
                    "client": ("127.0.0.1", 4711),
                    "server": ("127.0.0.1", 80),
                    "extensions": {},
                    "state": {},
                }
                seconds = await fastest(application, scope, body, rounds)
                way = "proxied" if more else "direct"
                print(f"{form:5} {events:3} events, {way:7} {seconds * 1e6:9.1f} us")


if __name__ == "__main__":
    configure_logging(component="api", readable=False, level=logging.WARNING)
    asyncio.run(measure())
