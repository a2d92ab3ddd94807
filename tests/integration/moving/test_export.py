"""Exports of a project's events from a real event store."""

import csv
import io
import json
from collections.abc import AsyncGenerator

import polars
import pytest

from appliance.config.model import Settings
from appliance.domain.ingest.event import Instant
from appliance.domain.ingest.rows import encode_rows
from appliance.domain.ingest.event import CheckedEvent
from appliance.domain.insights.filters import AllOf, KindIs
from appliance.domain.insights.spec import TimeRange
from appliance.storage.clickhouse.event_export import (
    ExportFormat,
    ExportQuery,
    count_exported,
    stream_events,
)
from tests.support.pipeline import Stage, open_stage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
ALL = TimeRange(start_ms=-2_208_988_800_000, end_ms=10_413_791_999_000)


@pytest.fixture
async def stage(engines: Settings) -> AsyncGenerator[Stage]:
    async with open_stage(engines) as opened:
        yield opened


def event(number: int, **changes: object) -> CheckedEvent:
    values: dict[str, object] = {
        "event_id": f"00000000-0000-4000-8000-{number:012x}",
        "kind": "page_view",
        "occur_time_ms": 1_760_000_000_000 + number,
        "distinct_id": 'Ann "the" one\n',
        "session_id": f"00000000-0000-4000-9000-{number:012x}",
        "cookieless": False,
        "auto_properties": {
            "$country": "AT",
            "$mobile": True,
            "$bot_score": 7,
            "$url": "https://a.example/ä?b=c/d",
            "$when": Instant(1_760_000_000_123),
        },
        "custom_properties": {"n": 1, "d": 1.0, "e": 1e21, "t": "1", "b": False, "": "quote\"\\"},
    }
    return CheckedEvent(**{**values, **changes})  # type: ignore[arg-type]


async def read(stage: Stage, form: ExportFormat, **changes: object) -> bytes:
    query = ExportQuery(project_id="p1", window=ALL, condition=changes.get("condition", AllOf(())))  # type: ignore[arg-type]
    assert await count_exported(stage.store, query) >= 0
    return b"".join([piece async for piece in stream_events(stage.store, query, form)])


async def test_the_three_forms(stage: Stage) -> None:
    """Every slot comes out with its type, and the rows of other projects stay inside."""
    body = encode_rows("p1", [event(1), event(2, kind="click")]) + encode_rows("p2", [event(3)])
    await stage.inserts.insert_events([body], token="x")
    lines = [json.loads(line) for line in (await read(stage, ExportFormat.JSONL)).splitlines()]
    assert [line["kind"] for line in lines] == ["click", "page_view"]
    print(lines[0])
    text = (await read(stage, ExportFormat.CSV)).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    print(rows[0])
    table = polars.read_parquet(io.BytesIO(await read(stage, ExportFormat.PARQUET)))
    print(table, table.schema)
    only = await read(stage, ExportFormat.JSONL, condition=AllOf((KindIs("click"),)))
    assert len(only.splitlines()) == 1
