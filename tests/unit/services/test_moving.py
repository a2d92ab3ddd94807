"""Reading files record by record, and the journal of an import."""

import gzip
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard

from appliance.base.errors import ConflictError, InvalidInputError, NotFoundError
from appliance.services.moving.files import (
    LINE_BYTES_MAX,
    CsvRows,
    FileFormat,
    FileRecord,
    JsonLines,
    find_format,
    open_file,
)
from appliance.services.moving.journal import (
    KEPT_DAYS,
    REASONS_MAX,
    ImportState,
    Journal,
    RefusedLine,
    count_reason,
    forget_old_imports,
    name_import,
)

OLD = datetime(2020, 1, 1, tzinfo=UTC)


def shape(records: list[FileRecord]) -> list[tuple[int, object, str]]:
    return [(one.number, one.record, one.problem[:20]) for one in records]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jsonl", FileFormat.JSONL),
        ("a.NDJSON.gz", FileFormat.JSONL),
        ("a.b.csv.zst", FileFormat.CSV),
        ("a.parquet", FileFormat.PARQUET),
    ],
)
def test_names_tell_formats(name: str, form: FileFormat) -> None:
    """Endings, also below that of a packed file."""
    assert find_format(Path(name)) is form


@pytest.mark.parametrize("name", ["a", "a.gz", "a.txt"])
def test_a_name_that_tells_nothing(name: str) -> None:
    """Then it has to be said."""
    with pytest.raises(InvalidInputError):
        find_format(Path(name))


def test_lines_are_numbered_and_bad_ones_told() -> None:
    """A mark at the beginning, empty lines, other JSON, no end of line."""
    content = b'\xef\xbb\xbf{"a":1}\r\n\n[1]\n{"a"\n{"a":2}'
    lines = JsonLines(io.BytesIO(content))
    assert shape(lines.read(2)) == [(1, {"a": 1}, ""), (2, None, "")]
    assert shape(lines.read(9)) == [
        (3, None, "the line is not a JS"),
        (4, None, "the line is not JSON"),
        (5, {"a": 2}, ""),
    ]
    assert lines.read(1) == []


def test_a_line_without_end_costs_itself_only() -> None:
    """Memory is bounded by the longest line allowed."""
    content = b'"' + b"x" * (2 * LINE_BYTES_MAX + 7) + b'"\n{"a":1}\n'
    first, second = JsonLines(io.BytesIO(content)).read(9)
    assert len(first.text) == LINE_BYTES_MAX + 1
    assert "longer" in first.problem
    assert (second.number, second.record) == (2, {"a": 1})


def test_depth_and_bytes_that_are_no_text() -> None:
    """Whatever is sent becomes a problem and no exception."""
    deep = b"[" * 100_000 + b"]" * 100_000
    content = b"\n".join([deep, b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"\x00", b'{"a":1e999}'])
    found = JsonLines(io.BytesIO(content)).read(9)
    assert [bool(one.problem) for one in found[:2]] == [True, True]
    assert len(found) == 5


def test_skipping_goes_on_behind() -> None:
    """By number of record, in both formats; the end is no failure."""
    lines = JsonLines(io.BytesIO(b'{"a":1}\n{"a":2}\n{"a":3}\n'))
    assert lines.skip(2) == 2
    assert shape(lines.read(9)) == [(3, {"a": 3}, "")]
    rows = CsvRows(io.BytesIO(b'a,b\n1,"x\ny"\n2,z\n'))
    assert rows.skip(1) == 1
    assert shape(rows.read(9)) == [(2, {"a": "2", "b": "z"}, "")]
    assert CsvRows(io.BytesIO(b"a\n1\n")).skip(7) == 1
    assert shape(JsonLines(io.BytesIO(b'{"a":3}'), begin=2).read(9)) == [(3, {"a": 3}, "")]


def test_csv_cells() -> None:
    """Quotes, line breaks, separators, rows that do not fit, bytes that are no text."""
    content = b'\xef\xbb\xbf a ;b\n"x; ""y""\nz";2\n\n1\n1;2;3\n\xff;1\n3;4\n'
    rows = CsvRows(io.BytesIO(content), separator=";")
    assert shape(rows.read(99)) == [
        (1, {"a": 'x; "y"\nz', "b": "2"}, ""),
        (2, None, ""),
        (3, None, "the row has 1 cells "),
        (4, None, "the row has 3 cells "),
        (5, None, "the row is not UTF-8"),
        (6, {"a": "3", "b": "4"}, ""),
    ]


@pytest.mark.parametrize("content", [b"", b"a,a\n1,2\n", b"\n1\n"])
def test_csv_without_names(content: bytes) -> None:
    """Each column has to be named once."""
    with pytest.raises(InvalidInputError):
        CsvRows(io.BytesIO(content)).read(1)


def test_packed_files_are_told_by_their_bytes(tmp_path: Path) -> None:
    """Whatever the name; also several packed parts after one another."""
    line = b'{"a":1}\n'
    packed = {
        "plain": line * 2,
        "gzip": gzip.compress(line) + gzip.compress(line),
        "zstandard": zstandard.compress(line) + zstandard.compress(line),
    }
    for name, content in packed.items():
        path = tmp_path / name
        path.write_bytes(content)
        with open_file(path) as (raw, unpacked):
            assert len(JsonLines(unpacked).read(9)) == 2
            assert raw.tell() == len(content)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_file_is_not_a_short_one(tmp_path: Path, pack: type) -> None:
    """Half a packed file is damage. The control: the whole one is read to its end."""
    lines = b"".join(b'{"a":%d}\n' % number for number in range(100_000))
    whole: bytes = pack(lines)  # type: ignore[assignment]
    path = tmp_path / "file"
    path.write_bytes(whole)
    with open_file(path) as (_, content):
        assert len(JsonLines(content).read(200_000)) == 100_000
    path.write_bytes(whole[: len(whole) // 2])
    with open_file(path) as (_, content), pytest.raises(InvalidInputError):
        JsonLines(content).read(200_000)


def test_files_that_are_none(tmp_path: Path) -> None:
    """Missing, a folder."""
    with pytest.raises(NotFoundError), open_file(tmp_path / "missing"):
        pass
    with pytest.raises(InvalidInputError), open_file(tmp_path):
        pass


def refused(number: int) -> RefusedLine:
    return RefusedLine(line=number, reason="x", record="y")


def test_the_journal_goes_on_and_forgets(tmp_path: Path) -> None:
    """What it saved is there again; what came after the last saving is cut off the report."""
    with Journal(tmp_path, "a") as journal:
        journal.save(ImportState(records=5, refused=1), [refused(2)])
        with journal.report.open("ab") as file:
            file.write(b'{"half')
    with Journal(tmp_path, "a") as journal:
        assert (journal.state.records, journal.state.refused) == (5, 1)
        journal.save(ImportState(records=9, refused=2), [refused(7)])
        assert [line[:9] for line in journal.report.read_text().splitlines()] == [
            '{"line":2',
            '{"line":7',
        ]
        assert journal.report.stat().st_mode & 0o777 == 0o600
        journal.finish()
    with Journal(tmp_path, "a") as journal:
        assert journal.state == ImportState()
        assert journal.report.read_bytes() == b""
        journal.finish()
        assert not journal.report.exists()


def test_one_import_at_a_time(tmp_path: Path) -> None:
    """A second one is told who is at it; another file is not concerned."""
    with Journal(tmp_path, "a"):
        with pytest.raises(ConflictError), Journal(tmp_path, "a"):
            pass
        with Journal(tmp_path, "b"):
            pass


def test_a_damaged_journal_costs_time_only(tmp_path: Path) -> None:
    """It begins anew."""
    with Journal(tmp_path, "a") as journal:
        journal.save(ImportState(records=5), [])
    (tmp_path / "a" / "state.json").write_bytes(b"{")
    with Journal(tmp_path, "a") as journal:
        assert journal.state == ImportState()


def test_what_nobody_went_on_with_is_forgotten(tmp_path: Path) -> None:
    """After a month, unless an import of it runs just now. The control: a young one stays."""
    forget_old_imports(tmp_path / "none", OLD)
    for name in ("left", "held"):
        with Journal(tmp_path, name) as journal:
            journal.save(ImportState(records=5), [refused(1)])
    now = datetime.fromtimestamp((tmp_path / "left" / "state.json").stat().st_mtime, tz=UTC)
    forget_old_imports(tmp_path, now + timedelta(days=KEPT_DAYS - 1))
    assert (tmp_path / "left").exists()
    with Journal(tmp_path, "held"):
        forget_old_imports(tmp_path, now + timedelta(days=KEPT_DAYS + 1))
    assert [one.name for one in tmp_path.iterdir()] == ["held"]


def test_reasons_are_bounded() -> None:
    """A file can have as many reasons as lines."""
    reasons: dict[str, int] = {}
    for number in range(3 * REASONS_MAX):
        reasons = count_reason(reasons, str(number))
    assert len(reasons) == REASONS_MAX + 1
    assert sum(reasons.values()) == 3 * REASONS_MAX


def test_names_of_imports_differ() -> None:
    """No two orders share a name because their words are cut differently."""
    assert name_import("a", "bc") != name_import("ab", "c")
    assert name_import("a", "b") == name_import("a", "b")
