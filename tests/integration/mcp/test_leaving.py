"""An agent that hangs up takes its question along, also over a real socket [mcp 8]."""

import asyncio
import json
import re
from collections.abc import Generator

import httpx
import pytest

from appliance.base.tasks import poll
from tests.support.api_services import PRIVATE_KEY, api_process
from tests.support.rpc import GOOD_QUERY

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WAIT_SECONDS_MAX = 30.0
_CANCELED = re.compile(
    r'^rpc_requests_total\{code="http_499",method="Query",[^}]*\} 1\.0$', re.MULTILINE
)
_IN_PROGRESS = re.compile(r"^rpc_requests_in_progress (\d+)\.0$", re.MULTILINE)


@pytest.fixture
def port() -> Generator[int]:
    with api_process("--slow-insights") as (number, _):
        yield number


async def numbers(client: httpx.AsyncClient) -> tuple[bool, int]:
    """Whether a question was cancelled, and how many requests are in work."""
    text = (await client.get("/metrics")).text
    found = _IN_PROGRESS.search(text)
    assert found is not None
    return _CANCELED.search(text) is not None, int(found[1])


async def test_hanging_up_ends_the_question(port: int) -> None:
    """The inner call is told that nobody waits, and nothing is left in work."""
    asked = {"name": "query_insights", "arguments": GOOD_QUERY}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-api-key: {PRIVATE_KEY}\r\naccept: */*\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    await writer.drain()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS_MAX
    ) as client:

        async def in_work() -> bool | None:
            return True if (await numbers(client))[1] >= 2 else None

        async def ended() -> bool | None:
            return True if await numbers(client) == (True, 0) else None

        assert await poll(in_work, every_seconds=0.05, timeout_seconds=WAIT_SECONDS_MAX)
        assert not reader.at_eof()
        writer.close()
        assert await poll(ended, every_seconds=0.05, timeout_seconds=WAIT_SECONDS_MAX)
