"""The faces in front of real stores, and in front of none."""

import asyncio
import json
from collections.abc import Generator
from pathlib import Path

import httpx
import msgspec
import pytest

from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.wiring import build_services
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from appliance.storage.postgres.projects import KeyKind
from tests.support.api_services import api_process
from tests.support.rpc import (
    BATCH_CREATE,
    GOOD_QUERY,
    PRIVATE,
    PUBLIC,
    QUERY,
    details,
    event,
    refused,
)
from tests.support.stack import until

pytestmark = pytest.mark.integration

WAIT_SECONDS = 60


class Keys(msgspec.Struct, frozen=True):
    """A project's two keys."""

    public: str
    private: str


@pytest.fixture(scope="module")
def keys(engines: Settings) -> Keys:
    """A project in stores that have their schema."""
    return asyncio.run(make_project(engines))


async def make_project(engines: Settings) -> Keys:
    endpoints = resolve_endpoints(engines)
    told: list[str] = []
    await migrate_postgres(endpoints.postgres, told.append)
    await migrate_clickhouse(endpoints.clickhouse, told.append)
    await migrate_nats(endpoints.nats, engines.nats.retention, told.append)
    services = build_services(engines, name="test-api")
    try:
        project = await services.projects.create_project("api tests")
        private = await services.key_chain.create_key(project.id, KeyKind.PRIVATE)
        return Keys(project.public_key.key.reveal(), private.key.reveal())
    finally:
        await services.close()


@pytest.fixture(scope="module")
def url(engines: Settings, keys: Keys) -> Generator[str]:
    """The API in front of these stores."""
    assert keys.public
    with api_process("--stores", str(engines.data_dir)) as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_ready(url: str):
    """With every store up the process is ready."""

    def ready() -> httpx.Response | None:
        answer = httpx.get(url + "/readyz", timeout=WAIT_SECONDS)
        return answer if answer.status_code == 200 else None  # one late store makes it say no

    answer = until(ready, what="/readyz 200", seconds=WAIT_SECONDS)
    assert set(answer.json()["dependencies"].values()) == {"ok"}


def test_batch(url: str, keys: Keys):
    """A batch with a real key is acknowledged, the same batch again too."""
    for _ in range(2):
        answer = httpx.post(
            url + BATCH_CREATE,
            headers={"x-api-key": keys.public, "content-type": "application/json"},
            json={"events": [event(1), event(2)]},
            timeout=WAIT_SECONDS,
        )
        assert answer.json() == {"accepted": 2, "dropped": 0}


def test_insight(url: str, keys: Keys):
    """A question with the private key is answered; with the public key it is not."""
    headers = {"content-type": "application/json"}
    question = json.dumps(GOOD_QUERY)
    answer = httpx.post(
        url + QUERY,
        headers={**headers, "x-api-key": keys.private},
        content=question,
        timeout=WAIT_SECONDS,
    )
    assert answer.status_code == 200, answer.text
    assert "trends" in answer.json()
    answer = httpx.post(
        url + QUERY,
        headers={**headers, "x-api-key": keys.public},
        content=question,
        timeout=WAIT_SECONDS,
    )
    refused(answer, 401, "unauthenticated")


@pytest.mark.parametrize(("path", "headers"), [(BATCH_CREATE, PUBLIC), (QUERY, PRIVATE)])
def test_unknown_key(url: str, path: str, headers: dict[str, str]):
    """A key nobody made is refused."""
    answer = httpx.post(url + path, headers=headers, json={}, timeout=WAIT_SECONDS)
    found = details(refused(answer, 401, "unauthenticated"))
    assert found["google.rpc.ErrorInfo"]["reason"] == "UNAUTHENTICATED"


def test_metrics(url: str, keys: Keys):
    """The chain's counters are shown."""
    headers = {"x-api-key": keys.public, "content-type": "application/json"}
    batch = {"events": [event(3)]}
    httpx.post(url + BATCH_CREATE, headers=headers, json=batch, timeout=WAIT_SECONDS)
    numbers = httpx.get(url + "/metrics", timeout=WAIT_SECONDS).text
    assert "events_accepted_total" in numbers


def test_stores_that_are_down(engines: Settings, tmp_path: Path):
    """Without any store the process starts, lives, and answers `unavailable` [services 12 #23]."""
    folder = tmp_path / "pug"
    (folder / "run").mkdir(parents=True)
    (folder / "secrets").mkdir(mode=0o700)
    for secret in (engines.data_dir / "secrets").iterdir():
        copy = folder / "secrets" / secret.name
        copy.write_bytes(secret.read_bytes())
        copy.chmod(0o600)
    ports = '{"api":0,"postgres":1,"nats":1,"nats_monitor":1,"clickhouse":1}'
    (folder / "run" / "ports.json").write_text(ports)
    with api_process("--stores", str(folder)) as (port, _):
        here = f"http://127.0.0.1:{port}"
        assert httpx.get(here + "/healthz", timeout=WAIT_SECONDS).text == "ok"
        ready = httpx.get(here + "/readyz", timeout=WAIT_SECONDS)
        assert ready.status_code == 503
        assert ready.json()["ready"] is False
        answer = httpx.post(here + BATCH_CREATE, headers=PUBLIC, json={}, timeout=WAIT_SECONDS)
        refused(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
