"""What engines' files become: items with names, whole records, questions."""

import struct
from pathlib import Path

from appliance.engines.clickhouse_snapshot import Table, _Column, _question
from appliance.engines.nats_snapshot import copy_streams, whole_records
from appliance.lifecycle.backup.model import Part
from appliance.lifecycle.backup.packing import describe_files, fingerprint, group_files


def record(sequence: int, payload: bytes = b"payload", *, headers: bool = False) -> bytes:
    """One record as the queue's server writes it."""
    length = 22 + len(payload) + 8
    return struct.pack("<IQqH", length | headers << 31, sequence, 0, 0) + payload + b"checksum"


def test_whole_records_are_counted() -> None:
    """A record that is being written does not count, at whatever byte it is."""
    block = record(1) + record(2, headers=True)
    for cut in range(len(record(3))):
        assert whole_records(block + record(3)[:cut]) == (len(block), 2)
    assert whole_records(block + record(3)) == (len(block + record(3)), 3)
    assert whole_records(b"") == (0, 0)


def test_deleted_messages_are_no_last_sequence() -> None:
    """A tombstone names an old message."""
    block = record(5) + record(3 | 1 << 62)
    assert whole_records(block) == (len(block), 5)


def stream(folder: Path, name: str, storage: str) -> None:
    messages = folder / "store/jetstream/$G/streams" / name / "msgs"
    messages.mkdir(parents=True)
    meta = f'{{"Created":"2026","name":"{name}","storage":"{storage}"}}'
    (messages.parent / "meta.inf").write_text(meta)
    (messages.parent / "meta.sum").write_text("sum")
    (messages / "1.blk").write_bytes(record(1) + record(2))
    (messages / "10.blk").write_bytes(record(4) + record(5)[:-3])
    (messages / "9.blk").write_bytes(record(3))
    (messages / "index.db").write_bytes(b"index")


def test_streams_in_memory_never_get_in(tmp_path: Path) -> None:
    """Even if a file of one lay there."""
    stream(tmp_path, "events", "file")
    stream(tmp_path, "KV_cookieless", "memory")
    (told,) = copy_streams(tmp_path, tmp_path / "copy")
    assert (told.name, told.created, told.last_sequence) == ("events", "2026", 4)
    copied = {path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert copied == {"1.blk", "9.blk", "10.blk", "meta.inf", "meta.sum"}
    assert not list((tmp_path / "copy").rglob("KV_cookieless"))
    last = next((tmp_path / "copy").rglob("10.blk"))
    assert last.read_bytes() == record(4)


def test_items_have_names_and_no_file_is_left_out(tmp_path: Path) -> None:
    """Each file belongs to one item."""
    part = tmp_path / "store/abc/abc-1/all_1_1_0"
    part.mkdir(parents=True)
    (part / "checksums.txt").write_text("sums")
    (part / "data.bin").write_text("data")
    (tmp_path / "store/abc/abc-1/format_version.txt").write_text("1")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/pug").symlink_to("../store/abc/abc-2")
    tables = (Table(database="pug", name="events", uuid="abc-1"),)
    items = dict(group_files(Part.CLICKHOUSE, tmp_path, tables=tables, dump_names={}))
    assert set(items) == {
        "ClickHouse table pug.events part all_1_1_0",
        "ClickHouse schema",
    }
    assert sum(map(len, items.values())) == 4
    described = describe_files(tmp_path, items["ClickHouse schema"])
    assert [one.link for one in described if one.link] == ["../store/abc/abc-2"]
    files = describe_files(tmp_path, items["ClickHouse table pug.events part all_1_1_0"])
    before = fingerprint(tmp_path, files)
    (part / "checksums.txt").write_text("SUMS")
    assert before != fingerprint(tmp_path, files) != ""
    assert fingerprint(tmp_path, described) == ""


def test_questions_do_not_depend_on_merges() -> None:
    """Sums, extremes and merged states where there are any; else counts and the key."""
    table = Table(database="pug", name="t`able", uuid="1")

    def column(name: str, kind: str, *, key: bool = False) -> _Column:
        return _Column(database="pug", table="t`able", name=name, type=kind, is_in_sorting_key=key)

    plain = _question(table, [column("id", "UUID", key=True), column("x", "String")])
    assert plain.statement == "SELECT count(), sum(cityHash64(`id`)) FROM `pug`.`t\\`able`"
    states = _question(
        table,
        [
            column("day", "Date32", key=True),
            column("count", "SimpleAggregateFunction(sum, UInt64)"),
            column("visitors", "AggregateFunction(uniq, String)"),
            column("entry", "AggregateFunction(argMin, String, UUID)"),
        ],
    )
    assert states.statement == "SELECT sum(`count`), uniqMerge(`visitors`) FROM `pug`.`t\\`able`"
