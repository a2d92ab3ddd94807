"""`import`: bring events of a file in.

Invariant: the same command goes on where it stopped, and a repeated one counts nothing twice; what
happens to the lines is decided in `services/moving/imports.py`.
"""

import os
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from appliance.base.clock import SystemClock
from appliance.base.files import PRIVATE_FILE
from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, settings_options
from appliance.cli.progress import open_progress
from appliance.cli.table_reader import open_table
from appliance.clickhouse_http.table_head import TableHead
from appliance.config.model import Settings
from appliance.domain.moving.foreign import System
from appliance.domain.moving.records import FIELDS, Columns
from appliance.services.moving.files import (
    CsvRows,
    FileFormat,
    JsonLines,
    RecordSource,
    find_format,
    open_file,
)
from appliance.services.moving.imports import ImportOrder, ImportReport, ImportService
from appliance.services.moving.journal import (
    ImportState,
    Journal,
    forget_old_imports,
    name_import,
)
from appliance.services.wiring import Services

EXIT_REFUSED: Final = 1
_REASONS_SHOWN: Final = 5
_STEP: Final = "import"
_TAB: Final = "tab"


class _Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A file ready to be read: its records, which columns are fractions, how far it is.

    `complete` raises when the end of the records was not the end of the file.
    """

    source: RecordSource
    complete: Callable[[], Awaitable[None]]
    fractions: frozenset[str]
    amount: Callable[[ImportState], tuple[int, int, str]]


@click.group("import")
def importing() -> None:
    """Bring in events from files: our own exports, tables, exports of other systems."""


@importing.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--project", "project_id", required=True, help="Id of the project.")
@click.option(
    "--from",
    "system",
    type=click.Choice([one.value for one in System]),
    default=System.PUG.value,
    show_default=True,
    help="Whose export it is; pug also means any table.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([one.value for one in FileFormat]),
    help="How it is written.  [default: by the name of the file]",
)
@click.option(
    "--map",
    "mapped",
    metavar="FIELD=COLUMN",
    multiple=True,
    help=f"The column of a field ({', '.join(FIELDS)}) or of a property. May be repeated.",
)
@click.option("--ignore", "ignored", metavar="COLUMN", multiple=True, help="A column to leave out.")
@click.option("--kind", default="", help="The kind of lines that name none.")
@click.option("--separator", default=",", show_default=True, help="Of CSV; a letter or `tab`.")
@click.option(
    "--refused",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Copy the report of refused lines here.",
)
@json_option
@settings_options
def events(
    settings: Settings,
    *,
    file: Path,
    project_id: str,
    system: str,
    form: str | None,
    mapped: tuple[str, ...],
    ignored: tuple[str, ...],
    kind: str,
    separator: str,
    refused: Path | None,
    as_json: bool,
) -> int:
    """Bring in the events of FILE, each of them once, however often it is repeated.

    JSON lines, CSV and Parquet, the first two also packed by gzip or Zstandard.
    """
    path = file.resolve()
    columns = Columns(renamed=_renamed(mapped), ignored=frozenset(ignored), kind=kind)
    order = ImportOrder(
        project_id=project_id, system=System(system), columns=columns, file=path.name
    )
    chosen = FileFormat(form) if form else find_format(path)
    letter = "\t" if separator == _TAB else separator
    if len(letter) != 1:
        raise click.UsageError("--separator is one letter, or `tab`")
    with open_file(path):
        pass  # a file that cannot be read is told before anything is asked
    forget_old_imports(settings.folders.imports, SystemClock().now())
    journal = Journal(settings.folders.imports, _name(order, path, chosen, letter))
    report, report_file = _run(settings, order, path, chosen, letter, journal, as_json=as_json)
    if refused is not None and report_file.exists():
        shutil.copyfile(report_file, refused)
        refused.chmod(PRIVATE_FILE)
    _tell(report, as_json=as_json)
    return EXIT_REFUSED if report.refused else 0


def _run(
    settings: Settings,
    order: ImportOrder,
    path: Path,
    form: FileFormat,
    separator: str,
    journal: Journal,
    *,
    as_json: bool,
) -> tuple[ImportReport, Path]:
    clock = SystemClock()
    with journal, open_progress(as_json=as_json) as progress:
        if journal.state.records:
            progress.note(f"going on behind line {journal.state.records}")
        progress.begin(_STEP, f"importing {path.name}")

        async def work(services: Services) -> ImportReport:
            service = ImportService(
                services.stores, services.identify, services.control.audit, clock
            )
            begin = journal.state.records
            async with _opened(path, form, separator, begin=begin) as opened:
                columns = msgspec.structs.replace(order.columns, fractions=opened.fractions)
                return await service.run(
                    msgspec.structs.replace(order, columns=columns),
                    opened.source,
                    journal,
                    actor=operator(),
                    complete=opened.complete,
                    told=lambda state: progress.amount(*opened.amount(state)),
                )

        report = at_desk(settings, work)
        progress.end(_STEP, report.seconds)
    return report, journal.report


@asynccontextmanager
async def _opened(
    path: Path, form: FileFormat, separator: str, *, begin: int
) -> AsyncGenerator[_Opened]:
    if form is FileFormat.PARQUET:
        async with open_table(path, skip=begin) as table:
            first = table.content.readline()
            if not first:
                await table.require_end()
            head = msgspec.json.decode(first, type=TableHead)
            yield _Opened(
                source=JsonLines(table.content, begin=begin),
                complete=table.require_end,
                fractions=frozenset(head.fractions),
                amount=lambda state: (state.records, head.rows, "rows"),
            )
        return
    with open_file(path) as (raw, content):
        size = os.fstat(raw.fileno()).st_size
        source = (
            JsonLines(content)
            if form is FileFormat.JSONL
            else CsvRows(content, separator=separator)
        )
        yield _Opened(
            source=source,
            complete=_complete,
            fractions=frozenset(),
            amount=lambda _state: (min(raw.tell(), size), size, "bytes"),
        )


async def _complete() -> None:
    """What we read ourselves tells of damage where it meets it."""


def _renamed(mapped: tuple[str, ...]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for text in mapped:
        name, equals, column = text.partition("=")
        if not equals or not name or not column:
            raise click.UsageError(f"--map {text!r} is not FIELD=COLUMN, like kind=Event")
        renamed[column] = name
    return renamed


def _name(order: ImportOrder, path: Path, form: FileFormat, separator: str) -> str:
    """The journal's name: another file in the same place, or other orders, begin anew."""
    told = path.stat()
    return name_import(
        order.project_id,
        order.system.value,
        form.value,
        separator,
        str(path),
        str(told.st_size),
        str(told.st_mtime_ns),
        repr(sorted(order.columns.renamed.items())),
        repr(sorted(order.columns.ignored)),
        order.columns.kind,
    )


def _tell(report: ImportReport, *, as_json: bool) -> None:
    if as_json:
        print_json({"event": "result", **msgspec.structs.asdict(report)})
        return
    print(f"{report.records} lines: {report.events} events, {report.people} people")
    for name, number in report.passed.items():
        print(f"  {number} passed over: {name}")
    if report.refused:
        print(f"  {report.refused} refused; they are in {report.refused_file}")
        worst = sorted(report.reasons.items(), key=lambda one: -one[1])
        for name, number in worst[:_REASONS_SHOWN]:
            print(f"    {number}: {name}")
    if not report.stored:
        print("  not all of it is stored yet; see `pug-appliance status`")
