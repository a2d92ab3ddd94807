"""Agents with the official client in front of the real server and real stores [mcp 11]."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent

from appliance.api.mcp.surface import ROWS
from tests.integration.mcp.conftest import HUSH, Project, Stage, erasure

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AskAs = Callable[..., AbstractAsyncContextManager[Client]]
Arguments = dict[str, Any]
TOOLS = [row.tool for row in ROWS if row.tool]
ODD_TEXTS = (
    "' OR 1=1 --",
    "'); DROP TABLE events; --",
    "{project_id:String}",
    "%' UNION ALL SELECT * FROM events --",
    "\\'; SELECT sleep(3)",
    "a\x00b",
    "🐶" * 50,
)


def window() -> Arguments:
    now = datetime.now(UTC)
    start, end = now - timedelta(days=3), now + timedelta(days=1)
    return {"from": start.isoformat(), "to": end.isoformat()}


def query(kind: str, **spec: Any) -> Arguments:
    event = {"event": {"kind": kind}, "aggregation": "AGGREGATION_TYPE_TOTAL"}
    return {
        "spec": {"insight_type": "INSIGHT_TYPE_TRENDS", "events": [event], **spec},
        "time_range": window(),
        "granularity": "GRANULARITY_DAY",
    }


def questions(project: Project, request_id: str) -> dict[str, Arguments]:
    """One good question for each tool, about this project's things."""
    kind, person = f"seen_{project.word}", f"ext-{project.word}"
    value = {"property_key": "note", "source": "PROPERTY_SOURCE_CUSTOM", "event_kind": kind}
    narrow = {
        "property": "note",
        "operator": "FILTER_OPERATOR_EQUALS",
        "value": project.word,
        "source": "PROPERTY_SOURCE_CUSTOM",
    }
    events = {"events": [{"kind": kind}], "property_filters": [narrow], "time_range": window()}
    return {
        "query_insights": query(kind, breakdowns=[{"property": "$pageTitle"}]),
        "get_insights_filter_schema": {"event_kind": kind},
        "get_insights_property_values": value,
        "get_activity_feed": {"distinct_id": person, **events},
        "explore_events": {"distinct_id": person, "page_size": 3, **events},
        "get_activity_filter_schema": {"allowed_types": ["PROPERTY_VALUE_TYPE_STRING"]},
        "get_activity_property_values": value,
        "get_activity_heatmap": {"distinct_id": person, "time_range": window()},
        "get_profile_stats": {"distinct_id": person},
        "get_profile": {"id": f"prof-{project.word}"},
        "get_profile_by_external_id": {"external_id": person},
        "get_deletion_request": {"request_id": request_id},
    }


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
async def test_every_style_of_client(stage: Stage, ask_as: AskAs, mode: str, path: str) -> None:
    """The official client lists and calls, in the classic style and in the newer one."""
    async with ask_as(stage, stage.mine.keys[0], mode=mode, path=path) as client:
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == TOOLS
        result = await client.call_tool("query_insights", query("seen_mine"))
        assert not result.is_error, text_of(result)


async def test_a_bearer_key(stage: Stage, ask_as: AskAs) -> None:
    """For clients that can send nothing else."""
    async with ask_as(stage, stage.mine.keys[0], bearer=True) as client:
        assert not (await client.call_tool("query_insights", query("seen_mine"))).is_error


async def test_every_tool_answers(stage: Stage, ask_as: AskAs) -> None:
    """Each with its own data, twice the same JSON, and the client finds the schema kept."""
    request_id = await asyncio.to_thread(erasure, stage, stage.other)
    async with ask_as(stage, stage.mine.keys[1]) as client:
        await client.list_tools()
        asked = questions(stage.mine, request_id)
        del asked["get_deletion_request"]
        answers = {}
        for tool, arguments in asked.items():
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, (tool, text_of(result))
            assert json.loads(text_of(result)) == result.structured_content
            answers[tool] = result.structured_content
    (series,) = answers["query_insights"]["result"]["trends"]["series"]
    assert series["breakdown"] == {"$pageTitle": "mine"}
    assert sum(point["value"] for point in series["points"]) == 5
    kinds = [event["name"] for event in answers["get_insights_filter_schema"]["events"]]
    assert kinds == ["seen_mine"]
    assert answers["get_insights_property_values"] == {"values": ["mine"]}
    assert answers["get_activity_property_values"] == {"values": ["mine"]}
    assert len(answers["get_activity_feed"]["events"]) == 5
    explored = answers["explore_events"]
    assert [event["kind"] for event in explored["events"]] == ["seen_mine"] * 3
    assert explored["next_page_token"]
    assert sum(int(day["count"]) for day in answers["get_activity_heatmap"]["days"]) == 5
    assert answers["get_profile_stats"]["stats"]["total_events"] == "5"
    profile = answers["get_profile"]["profile"]
    assert profile["external_id"] == "ext-mine"
    assert profile["properties"] == {"name": "mine", "deep": {"a": [1, None]}}
    assert answers["get_profile_by_external_id"]["profile"]["id"] == "prof-mine"


async def test_an_erasure_can_be_watched(stage: Stage, ask_as: AskAs) -> None:
    """By the project that asked for it."""
    request_id = await asyncio.to_thread(erasure, stage, stage.other)
    async with ask_as(stage, stage.other.keys[0]) as client:
        result = await client.call_tool("get_deletion_request", {"request_id": request_id})
    assert result.structured_content["request_id"] == request_id
    assert result.structured_content["status"].startswith("COMPLIANCE_REQUEST_STATUS_")


async def test_not_found(stage: Stage, ask_as: AskAs) -> None:
    """The RPC's code and reason [mcp 11 #6]."""
    async with ask_as(stage, stage.mine.keys[0]) as client:
        result = await client.call_tool("get_profile", {"id": "nobody"})
    assert result.is_error
    error = json.loads(text_of(result))
    assert error["code"] == "NOT_FOUND"
    assert error["details"][0]["reason"] == "PROFILE_NOT_FOUND"


@pytest.mark.parametrize("name", ["delete", "delete_data_subject", "segment_users", "nonsense"])
async def test_hidden_tools(stage: Stage, ask_as: AskAs, name: str) -> None:
    """An error of the protocol [mcp 11 #4]."""
    async with ask_as(stage, stage.mine.keys[0]) as client:
        with pytest.raises(MCPError) as refusal:
            await client.call_tool(name, {"id": "prof-mine", "external_id": "ext-mine"})
    assert refusal.value.code == -32602


def test_strangers(stage: Stage) -> None:
    """Nobody, a public key, an unknown private key, somebody who is signed in [mcp 11 #2]."""
    known = httpx.post(
        f"{stage.url}/dashboard.customers.v1.CustomersService/GetMe",
        headers={"authorization": f"Bearer {stage.token}"},
        json={},
        timeout=60,
    )
    assert known.status_code == 200, "the token holds elsewhere"
    public = stage.mine.public
    strangers: list[Mapping[str, str]] = [
        {},
        {"x-api-key": public},
        {"authorization": f"Bearer {public}"},
        {"x-api-key": "prv_" + "0" * 20},
        {"authorization": f"Bearer {stage.token}"},
        {"authorization": f"Bearer {stage.token}", "x-project-id": stage.mine.id},
    ]
    for headers in strangers:
        answer = httpx.post(
            f"{stage.url}/mcp",
            headers=headers,
            json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
            timeout=60,
        )
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthenticated"


async def test_nothing_of_another_project(stage: Stage, ask_as: AskAs) -> None:
    """Every question about the other project's things, with our key; theirs answers it."""
    request_id = await asyncio.to_thread(erasure, stage, stage.other)
    asked = questions(stage.other, request_id)
    async with (
        ask_as(stage, stage.mine.keys[2]) as thief,
        ask_as(stage, stage.other.keys[1]) as owner,
    ):
        leaks = 0
        for tool, arguments in asked.items():
            stolen, owned = await asyncio.gather(
                thief.call_tool(tool, arguments), owner.call_tool(tool, arguments)
            )
            assert HUSH not in str(stolen.structured_content), tool
            assert "seen_" not in text_of(stolen) or "seen_mine" in text_of(stolen), tool
            if stolen.is_error:
                assert json.loads(text_of(stolen))["code"] == "NOT_FOUND", tool
            leaks += HUSH in text_of(owned)
    assert leaks >= 8, "the control arm: the owner sees what the thief does not"


def texts_in(arguments: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Where texts stand in arguments."""
    if isinstance(arguments, str):
        yield path
    elif isinstance(arguments, Mapping):
        for name, inner in arguments.items():
            yield from texts_in(inner, (*path, name))
    elif isinstance(arguments, list):
        for index, inner in enumerate(arguments):
            yield from texts_in(inner, (*path, index))


def with_text(arguments: Arguments, path: tuple[Any, ...], text: str) -> Arguments:
    """The arguments with another text in one place."""
    changed: Any = json.loads(json.dumps(arguments))
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = text
    return changed  # type: ignore[no-any-return] a copy of what came


async def test_odd_texts_everywhere(stage: Stage, ask_as: AskAs) -> None:
    """In each field that takes a text: refused by name or answered with our own rows."""
    tries = [
        (tool, with_text(arguments, path, text))
        for tool, arguments in questions(stage.mine, "none").items()
        for path in texts_in(arguments)
        for text in ODD_TEXTS
    ]
    assert len(tries) > 200
    share = -(-len(tries) // len(stage.mine.keys))

    async def send(key: str, some: list[tuple[str, Arguments]]) -> None:
        async with ask_as(stage, key) as client:
            for tool, arguments in some:
                result = await client.call_tool(tool, arguments)
                told = text_of(result)
                assert HUSH not in told, (tool, arguments)
                if result.is_error:
                    code = json.loads(told)["code"]
                    assert code in {"INVALID_ARGUMENT", "NOT_FOUND"}, (tool, arguments, told)

    assert share <= 50, "more keys are needed: the limit of one is met"
    parts = [tries[start : start + share] for start in range(0, len(tries), share)]
    await asyncio.gather(*map(send, stage.mine.keys, parts))


async def test_two_agents_at_once(stage: Stage, ask_as: AskAs) -> None:
    """Interleaved calls of two projects, each sees its own [mcp 11 #8]."""
    async with (
        ask_as(stage, stage.mine.keys[3]) as mine,
        ask_as(stage, stage.other.keys[2]) as other,
    ):
        calls = [
            client.call_tool("get_insights_filter_schema", {})
            for _ in range(4)
            for client in (mine, other)
        ]
        results = await asyncio.gather(*calls)
    for number, result in enumerate(results):
        kinds = [event["name"] for event in result.structured_content["events"]]
        assert kinds == [f"seen_{HUSH}" if number % 2 else "seen_mine"]
