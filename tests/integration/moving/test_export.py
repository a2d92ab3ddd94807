"""Exports of a project's events from a real event store."""

import csv
import io
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import polars as pl
import pytest

from appliance.base.errors import ApplianceError
from appliance.config.model import Settings
from appliance.domain.ingest.event import CheckedEvent, Instant
from appliance.domain.ingest.rows import encode_rows
from appliance.domain.insights.filters import AllOf, Condition, KindIs
from appliance.domain.insights.spec import TimeRange
from appliance.storage.clickhouse.event_export import (
    EXPORT_SETTINGS,
    ExportFormat,
    ExportQuery,
    count_exported,
    stream_events,
)
from tests.support.pipeline import Stage, open_stage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
ALL = TimeRange(start_ms=-2_208_988_800_000, end_ms=10_413_791_999_000)
AT = 1_760_000_000_000


@pytest.fixture
async def stage(engines: Settings) -> AsyncGenerator[Stage]:
    async with open_stage(engines) as opened:
        yield opened


def event(number: int, kind: str = "page_view", at: int = AT) -> CheckedEvent:
    return CheckedEvent(
        event_id=f"00000000-0000-4000-8000-{number:012x}",
        kind=kind,
        occur_time_ms=at + number,
        distinct_id='Ann "the" one\n',
        session_id=f"00000000-0000-4000-9000-{number:012x}",
        cookieless=False,
        auto_properties={
            "$country": "AT",
            "$mobile": True,
            "$bot_score": 7,
            "$url": "https://a.example/ä?b=c/d",
            "$when": Instant(1_760_000_000_123),
        },
        custom_properties={"n": 1, "d": 1.0, "e": 1e21, "t": "1", "b": False, "": 'quote"\\'},
    )


async def read(
    stage: Stage,
    form: ExportFormat,
    *,
    condition: Condition | None = None,
    until: int | None = None,
) -> bytes:
    window = TimeRange(start_ms=ALL.start_ms, end_ms=until if until is not None else ALL.end_ms)
    query = ExportQuery(project_id="p1", window=window, condition=condition or AllOf(()))
    body = b"".join([piece async for piece in stream_events(stage.store, query, form)])
    if form is ExportFormat.JSONL:
        assert await count_exported(stage.store, query) == len(body.splitlines())
    return body


async def test_the_three_forms(stage: Stage) -> None:
    """Every slot comes out with its type, and the rows of other projects stay inside."""
    body = encode_rows("p1", [event(1), event(2, "click")]) + encode_rows("p2", [event(3)])
    await stage.inserts.insert_events([body], token="x")
    first, second = [
        json.loads(one) for one in (await read(stage, ExportFormat.JSONL)).splitlines()
    ]
    assert (first["kind"], second["kind"]) == ("click", "page_view")
    assert first == {
        "event_id": "00000000-0000-4000-8000-000000000002",
        "kind": "click",
        "occur_time": "2025-10-09T08:53:20.002Z",
        "distinct_id": 'Ann "the" one\n',
        "session_id": "00000000-0000-4000-9000-000000000002",
        "auto_properties": {
            "$bot_score": 7,
            "$mobile": True,
            "$country": "AT",
            "$url": "https://a.example/ä?b=c/d",
            "$when": {"timestampValue": "2025-10-09T08:53:20.123Z"},
        },
        "custom_properties": {"n": 1, "d": 1.0, "e": 1e21, "t": "1", "b": False, "": 'quote"\\'},
    }
    assert type(first["custom_properties"]["d"]) is float
    (row, _) = csv.DictReader(io.StringIO((await read(stage, ExportFormat.CSV)).decode()))
    assert row["occur_time"] == first["occur_time"]
    assert (row["$mobile"], row["$bot_score"], row["$verified_bot"]) == ("true", "7", "")
    assert json.loads(row["custom_properties"]) == first["custom_properties"]
    table = pl.read_parquet(io.BytesIO(await read(stage, ExportFormat.PARQUET)))
    (told, _) = table.to_dicts()
    assert told["occur_time"] == datetime(2025, 10, 9, 8, 53, 20, 2000, tzinfo=UTC)
    assert {**told, "occur_time": row["occur_time"]} == row


async def test_filters_and_windows(stage: Stage) -> None:
    """Half-open windows, also before 1970; a value is a value and never SQL."""
    old = event(0, at=-1000)
    body = encode_rows("p1", [old, event(1), event(2, "a' OR 1=1 --")])
    await stage.inserts.insert_events([body], token="x")
    assert len((await read(stage, ExportFormat.JSONL)).splitlines()) == 3
    assert len((await read(stage, ExportFormat.JSONL, until=AT + 1)).splitlines()) == 1
    odd = await read(stage, ExportFormat.JSONL, condition=AllOf((KindIs("a' OR 1=1 --"),)))
    assert len(odd.splitlines()) == 1


async def test_an_answer_that_breaks_off_is_an_error(stage: Stage) -> None:
    """A failure in the middle is raised, not taken for the end. The control: without one all
    comes.
    """

    async def rows(failing_at: int) -> int:
        statement = "SELECT throwIf(number = {at:UInt64}) FROM numbers(3000000)"
        settings = {**EXPORT_SETTINGS, "max_block_size": 1000}
        pieces = stage.store.stream(statement, {"at": failing_at}, settings, form="TSVRaw")
        return sum([piece.count(b"\n") async for piece in pieces])

    assert await rows(3_000_000) == 3_000_000
    with pytest.raises(ApplianceError):
        await rows(2_500_000)
