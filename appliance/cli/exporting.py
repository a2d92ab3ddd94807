"""`export`: write events into a file.

Invariant: nothing is decided here; what the filters mean is what they mean in insights.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

import click
import msgspec

from appliance.base.clock import SystemClock
from appliance.cli.audit import parse_instant
from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, settings_options
from appliance.cli.progress import human_bytes, open_progress
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.insights.dimensions import resolve_property
from appliance.domain.insights.filters import AllOf, AnyOf, Condition, KindIs, TextTest
from appliance.domain.insights.spec import Operator, TimeRange
from appliance.services.moving.exports import (
    ANSWER_SECONDS_MAX,
    ExportOrder,
    ExportReport,
    ExportService,
)
from appliance.services.wiring import Services
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.event_export import ExportFormat, ExportQuery

_STEP: Final = "export"
_STDOUT: Final = "-"
_FIRST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2299, 12, 31, 23, 59, tzinfo=UTC)
"""The store holds these years [ingestion 16.9]."""
_PACKED: Final = ".gz"


@click.group("export")
def exporting() -> None:
    """Write events into files that another appliance, or anybody, can read."""


@exporting.command()
@click.argument("project_id")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    help="The file, like events.jsonl.gz; `-` for standard output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([one.value for one in ExportFormat]),
    help="How to write it.  [default: by the name of the file, else jsonl]",
)
@click.option("--since", default="", help="From then on: 2026-05-01, 2026-05-01T12:00Z or 30d.")
@click.option("--until", default="", help="Before then.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind. May be repeated.")
@click.option(
    "--distinct-id", "distinct_ids", multiple=True, help="Only this person. May be repeated."
)
@click.option(
    "--property",
    "properties",
    metavar="NAME=VALUE",
    multiple=True,
    help="Only where a property has this value as text. May be repeated: all of them.",
)
@json_option
@settings_options
def events(
    settings: Settings,
    *,
    project_id: str,
    target: Path,
    form: str | None,
    since: str,
    until: str,
    kinds: tuple[str, ...],
    distinct_ids: tuple[str, ...],
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the events of PROJECT_ID into a file, in the order of their minutes.

    The file has people in it: it is readable by its owner only, and the export is in the audit log.
    """
    query = ExportQuery(
        project_id=project_id,
        window=_window(parse_instant(since), parse_instant(until)),
        distinct_ids=distinct_ids,
        condition=_condition(kinds, properties),
    )
    order = ExportOrder(query=query, form=_form(form, target), packed=target.suffix == _PACKED)
    if str(target) == _STDOUT and as_json:
        raise click.UsageError("--json and the events cannot both go to standard output")
    report = _run(settings, order, target, as_json=as_json)
    if as_json:
        print_json({"event": "result", **msgspec.structs.asdict(report)})
    elif str(target) != _STDOUT:
        print(f"{report.events} events in {target}, {human_bytes(report.bytes)}")


def _run(settings: Settings, order: ExportOrder, target: Path, *, as_json: bool) -> ExportReport:
    place = target.absolute()
    with open_progress(as_json=as_json) as progress:
        progress.begin(_STEP, f"exporting to {target.name}")

        async def work(services: Services) -> ExportReport:
            store = ClickHouse(
                resolve_endpoints(settings).clickhouse, answer_seconds_max=ANSWER_SECONDS_MAX
            )
            service = ExportService(
                services.stores.postgres, store, services.control.audit, SystemClock()
            )
            try:
                if str(target) == _STDOUT:
                    return await service.write_stream(
                        order, cast("BinaryIO", sys.stdout.buffer), actor=operator()
                    )
                return await service.write_file(
                    order, place, actor=operator(), told=progress.amount
                )
            finally:
                await store.close()

        report = at_desk(settings, work)
        progress.end(_STEP, report.seconds)
    return report


def _window(since: datetime | None, until: datetime | None) -> TimeRange:
    start, end = since or _FIRST, until or _LAST
    return TimeRange(start_ms=_milliseconds(start), end_ms=_milliseconds(end))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _condition(kinds: tuple[str, ...], properties: tuple[str, ...]) -> Condition:
    tests: list[Condition] = []
    if kinds:
        tests.append(AnyOf(tuple(KindIs(kind) for kind in kinds)))
    for text in properties:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--property {text!r} is not NAME=VALUE, like $country=AT")
        test = TextTest(property=resolve_property(name), operator=Operator.EQUALS, texts=(value,))
        tests.append(test)
    return AllOf(tuple(tests))


def _form(form: str | None, target: Path) -> ExportFormat:
    if form is not None:
        return ExportFormat(form)
    ending = Path(target.name.removesuffix(_PACKED)).suffix.removeprefix(".").lower()
    known = {one.value: one for one in ExportFormat} | {
        "": ExportFormat.JSONL,
        "pq": ExportFormat.PARQUET,
    }
    found = known.get(ending)
    if found is None:
        raise click.UsageError(f"the name {target.name} tells no format; name it with --format")
    return found
