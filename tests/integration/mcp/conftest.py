"""Two projects behind one running API, and agents with the official client.

Invariant: everything of the other project carries the word `hush`, so that one look at an answer
tells whether something leaked.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.wiring import Services, build_services
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from appliance.storage.postgres.projects import KeyKind
from tests.support.api_services import api_process
from tests.support.event_rows import tagged

HUSH = "hush"
KEYS = 12
ERASE = "/shared.profiles.v1.ProfilesService/DeleteDataSubject"


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project with private keys, and a word that all of its data carries."""

    id: str
    word: str
    public: str
    keys: tuple[str, ...]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What is running."""

    url: str
    mine: Project
    other: Project
    token: str


@pytest.fixture(scope="module")
def stage(engines: Settings) -> Generator[Stage]:
    """The API under the real server in front of real stores."""
    mine, other, token = asyncio.run(_furnish(engines))
    with api_process("--stores", str(engines.data_dir)) as (port, _):
        yield Stage(url=f"http://127.0.0.1:{port}", mine=mine, other=other, token=token)


@asynccontextmanager
async def agent(
    stage: Stage, key: str, *, mode: str = "auto", path: str = "/mcp", bearer: bool = False
) -> AsyncGenerator[Client]:
    """An agent that shows this key."""
    headers = {"authorization": f"Bearer {key}"} if bearer else {"x-api-key": key}
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(streamable_http_client(stage.url + path, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.fixture
def ask_as() -> Callable[..., AbstractAsyncContextManager[Client]]:
    """Makes agents."""
    return agent


def erasure(stage: Stage, project: Project) -> str:
    """The id of an erasure that somebody asked for."""
    answer = httpx.post(
        stage.url + ERASE,
        headers={"x-api-key": project.keys[0]},
        json={"externalId": f"ext-{project.word}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["requestId"])


async def _furnish(engines: Settings) -> tuple[Project, Project, str]:
    endpoints = resolve_endpoints(engines)
    await migrate_postgres(endpoints.postgres, lambda _: None)
    await migrate_clickhouse(endpoints.clickhouse, lambda _: None)
    await migrate_nats(endpoints.nats, engines.nats.retention, lambda _: None)
    services = build_services(engines, name="test-mcp")
    try:
        mine = await _project(services, "mine")
        other = await _project(services, HUSH)
        customer = uuid.uuid4().hex[:20]
        await services.stores.postgres.execute(
            "INSERT INTO customers (id, email, email_verify_time) VALUES ($1, $2, now())",
            customer,
            f"{customer}@pug.test",
        )
        return mine, other, services.control.tokens.issue(customer)
    finally:
        await services.close()


async def _project(services: Services, word: str) -> Project:
    made = await services.projects.create_project(f"{word} {uuid.uuid4().hex[:8]}")
    keys = [await services.key_chain.create_key(made.id, KeyKind.PRIVATE) for _ in range(KEYS)]
    store = services.stores.clickhouse
    now = datetime.now(UTC).replace(microsecond=0)
    profile = {
        "project_id": made.id,
        "id": f"prof-{word}",
        "external_id": f"ext-{word}",
        "properties": json.dumps({"name": word, "nothing": None, "deep": {"a": [1, None]}}),
        "deleted": False,
        "create_time": f"{now:%Y-%m-%d %H:%M:%S}",
        "update_time": f"{now:%Y-%m-%d %H:%M:%S}",
        "version": 1,
    }
    await store.insert_ndjson("profiles", [json.dumps(profile).encode()], {})
    rows = [
        {
            "event_id": str(uuid.uuid4()),
            "project_id": made.id,
            "distinct_id": f"ext-{word}",
            "session_id": str(uuid.UUID(int=7)),
            "kind": f"seen_{word}",
            "occur_time": f"{now - timedelta(hours=number):%Y-%m-%d %H:%M:%S}",
            "country": "NO",
            "page_title": word,
            "custom_properties": {"note": tagged(word)},
        }
        for number in range(1, 6)
    ]
    body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    await store.insert_ndjson("events", [body], {})
    return Project(
        id=made.id,
        word=word,
        public=made.public_key.key.reveal(),
        keys=tuple(key.key.reveal() for key in keys),
    )
