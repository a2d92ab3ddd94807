"""Parquet files, read by our engine in a process of its own."""

import asyncio
import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import psutil
import pytest

from appliance.base.errors import InvalidInputError
from appliance.cli.table_reader import open_table

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


async def read(path: Path, *, skip: int = 0) -> tuple[dict[str, object], list[dict[str, object]]]:
    async with open_table(path, skip=skip) as table:
        lines = await asyncio.to_thread(table.content.read)
        await table.require_end()
    head, *rows = [json.loads(line) for line in lines.splitlines()]
    return head, rows


async def test_types_and_order(tmp_path: Path) -> None:
    """Rows come in the order of the file, whatever the row groups; numbers keep their digits."""
    count = 30_000
    frame = pl.DataFrame(
        {
            "occur_time": [AT] * count,
            "n": list(range(count)),
            "big": [2**63 - 1] * count,
            "share": [1.0] * count,
            "flag": [True] * count,
            "none": [None] * count,
            "day": [date(2026, 1, 2)] * count,
            "list": [["a"]] * count,
        }
    )
    path = tmp_path / "a{b},[c]*?.parquet"
    frame.write_parquet(path, row_group_size=1000)
    head, rows = await read(path)
    assert head == {"rows": count, "fractions": ["share"]}
    assert [row["n"] for row in rows] == list(range(count))
    assert rows[0] == {
        "occur_time": "2026-01-02T03:04:05.678000Z",
        "n": 0,
        "big": 2**63 - 1,
        "share": 1,
        "flag": True,
        "none": None,
        "day": "2026-01-02",
        "list": ["a"],
    }
    _, rest = await read(path, skip=count - 2)
    assert rest == rows[-2:]


async def test_damage_is_told(tmp_path: Path) -> None:
    """A cut file and one that is no table are errors, never short tables."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"n": range(100_000)}).write_parquet(path, row_group_size=1000)
    content = path.read_bytes()
    for damaged in (content[:-10], b"PAR1" + b"x" * 100 + b"PAR1", b""):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInputError) as refusal:
            await read(path)
        assert str(path) in refusal.value.message


async def test_the_process_ends_with_its_reader(tmp_path: Path) -> None:
    """Whoever stops reading in the middle leaves no process behind."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"n": range(2_000_000)}).write_parquet(path)
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    async with open_table(path, skip=0) as table:
        assert await asyncio.to_thread(table.content.readline)
        assert {one.pid for one in psutil.Process().children(recursive=True)} - before
    assert {one.pid for one in psutil.Process().children(recursive=True)} <= before
