"""Whether we live and whether we can work [services 2.6].

Invariant: `/healthz` looks at nothing; `/readyz` asks every store at once under one limit and tells
only names and states, never an error text. Any HTTP method, no credential, no CORS.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog

from appliance.api.protocols import Answer, Headers

READINESS_TIMEOUT_SECONDS: Final = 2.0
_TEXT: Final[Headers] = [(b"content-type", b"text/plain; charset=utf-8")]
_JSON: Final[Headers] = [(b"content-type", b"application/json")]

_log = structlog.get_logger()


def alive() -> Answer:
    """The process answers."""
    return Answer(status=200, headers=_TEXT, body=b"ok")


async def readiness(ask: Callable[[], Awaitable[Mapping[str, bool]]]) -> Answer:
    """200 when every store answers, else 503, with the state of each."""
    try:
        async with asyncio.timeout(READINESS_TIMEOUT_SECONDS):
            states = await ask()
    except Exception as error:  # noqa: BLE001 whatever breaks, the answer is "not ready"
        _log.warning("readiness_unknown", cause=type(error).__name__)
        states = dict[str, bool]()
    ready = bool(states) and all(states.values())
    dependencies = {name: "ok" if state else "unavailable" for name, state in states.items()}
    return Answer(
        status=200 if ready else 503,
        headers=_JSON,
        body=msgspec.json.encode({"ready": ready, "dependencies": dependencies}),
    )
