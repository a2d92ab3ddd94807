"""What most appliances never need is not loaded before the first agent comes."""

import subprocess
import sys
from pathlib import Path

_ASK = """
import asyncio, sys
import httpx
from appliance.api.app import create_app
from appliance.config.model import Settings
from tests.support.api_services import PRIVATE_KEY, MemoryServices

late = {"mcp", "mcp_types", "pydantic", "pydantic_core", "opentelemetry", "uvicorn"}

async def main():
    transport = httpx.ASGITransport(create_app(MemoryServices(), Settings()))
    accept = {"accept": "*/*"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.post("/mcp", headers=accept, json=ping)).status_code == 401
        print(sorted(late & set(sys.modules)))
        key = {**accept, "x-api-key": PRIVATE_KEY}
        assert (await client.post("/mcp", headers=key, json=ping)).status_code == 200
        print({"mcp", "pydantic"} <= set(sys.modules))

asyncio.run(main())
"""


def test_the_protocol_is_loaded_for_the_first_caller_with_a_key():
    """Not at the start, not for a stranger; the control arm is the caller with a key."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        cwd=Path(__file__).parents[4],
        check=True,
        capture_output=True,
        text=True,
        timeout=110,
    )
    lines = [line for line in done.stdout.splitlines() if line in {"[]", "True"} or "[" in line[:1]]
    assert lines == ["[]", "True"]
