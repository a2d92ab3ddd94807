"""Health, metrics and the landing page [services 2.6]."""

import re
from base64 import b64encode
from hashlib import sha256

import httpx
import pytest

from appliance.api.app import create_app
from appliance.config.model import ApiSettings, Settings
from tests.support.api_services import PUBLIC_KEY, MemoryServices
from tests.support.rpc import BATCH_CREATE, PUBLIC

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/health", "/healthz"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
async def test_alive(client: httpx.AsyncClient, path: str, method: str):
    """Any method, no credential, plain `ok`."""
    answer = await client.request(method, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "ok"


async def test_head_has_no_body(client: httpx.AsyncClient):
    answer = await client.head("/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_ready(client: httpx.AsyncClient):
    """Every store answers."""
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "dependencies": {
            "postgres_writer": "ok",
            "postgres_reader": "ok",
            "clickhouse": "ok",
            "nats": "ok",
        },
    }


async def test_not_ready(client: httpx.AsyncClient, services: MemoryServices):
    """One store does not: 503 and its name."""
    services.states = {"clickhouse": False, "nats": True}
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["dependencies"] == {"clickhouse": "unavailable", "nats": "ok"}


async def test_readiness_that_breaks(services: MemoryServices, client: httpx.AsyncClient):
    """A look that fails is "not ready", without its text."""

    class Broken(MemoryServices):
        async def readiness(self) -> dict[str, bool]:
            raise RuntimeError("password=hunter2")

    transport = httpx.ASGITransport(create_app(Broken(), Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as other:
        answer = await other.get("/readyz")
    assert answer.status_code == 503
    assert "hunter2" not in answer.text


async def test_metrics(client: httpx.AsyncClient, services: MemoryServices):
    """Requests and events are counted under the contract's names; no key appears."""
    services.ingest.counts["events.ip_stripped_total", "client"] = 3
    services.ingest.counts["events.cookieless_dropped_total", "day_out_of_range"] = 2
    await client.post(
        BATCH_CREATE, headers={**PUBLIC, "content-type": "application/json"}, content=b"{}"
    )
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    line = (
        'rpc_requests_total{code="ok",method="BatchCreate",service="sdk.events.v1.EventsService"}'
    )
    assert line in answer.text
    assert "events_accepted_total 0.0" in answer.text
    assert 'events_ip_stripped_total{source="client"} 3.0' in answer.text
    assert 'events_cookieless_dropped_total{reason="day_out_of_range"} 2.0' in answer.text
    assert PUBLIC_KEY not in answer.text


async def test_landing_page(client: httpx.AsyncClient):
    """The page loads nothing from elsewhere, and its policy allows its own pieces only."""
    answer = await client.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for content in re.findall(r"<(?:script|style)>(.*?)</", answer.text, re.DOTALL):
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not re.search(r"(src|href)=[\"'](https?:)?//", answer.text)
    assert "prv_" not in answer.text


async def test_landing_page_can_be_switched_off(services: MemoryServices):
    settings = Settings(api=ApiSettings(dashboard=False))
    transport = httpx.ASGITransport(create_app(services, settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as other:
        assert (await other.get("/")).status_code == 404
        assert (await other.get("/healthz")).status_code == 200
