"""`person`: what is stored about a person, and taking it away for good."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final, cast

import click
import msgspec

from appliance.base.clock import SystemClock
from appliance.base.errors import ApplianceError, UnavailableError
from appliance.base.files import PRIVATE_FILE, unwritable, write_atomic
from appliance.base.tasks import poll
from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.people.erasure import ErasureStatus, ErasureView
from appliance.services.erasure import AcceptedErasure
from appliance.services.erasure_receipts import make_receipt
from appliance.services.person_export import PersonExport
from appliance.services.wiring import Services
from appliance.storage.clickhouse.client import ClickHouse

EXPORT_SECONDS_MAX: Final = 3600
WAIT_SECONDS_MAX: Final = 1800.0
WAIT_EVERY_SECONDS: Final = 0.5
_STDOUT: Final = "-"
_OVER: Final = frozenset({ErasureStatus.COMPLETED, ErasureStatus.FAILED})


class ShownRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the commands show it."""

    request_id: str
    project_id: str
    profile_id: str
    external_id: str
    status: ErasureStatus
    events_identified: int
    requested_at: str
    completed_at: str | None
    error: str | None


@click.group()
def person() -> None:
    """What is stored about a person, and taking it away for good."""


@person.command()
@click.argument("project_id")
@click.argument("person_id")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    help="The file of JSON lines; `-` for standard output.",
)
@settings_options
def export(settings: Settings, *, project_id: str, person_id: str, target: Path) -> None:
    """Write everything stored about a person: profile, devices, aliases, sessions, events.

    PERSON_ID is a profile id, an external id, an alias or a distinct id. The file is readable by
    its owner only, and the export is in the audit log.
    """

    async def work(services: Services) -> int:
        store = ClickHouse(
            resolve_endpoints(settings).clickhouse, answer_seconds_max=EXPORT_SECONDS_MAX
        )
        export = PersonExport(services.stores, store, services.control.audit, SystemClock())
        lines = export.lines(project_id, person_id, actor=operator())
        try:
            return await _write(lines, target)
        finally:
            await lines.aclose()
            await store.close()

    count = at_desk(settings, work)
    if str(target) != _STDOUT:
        print(f"{count} bytes in {target}")


@person.command()
@click.argument("project_id")
@click.argument("person_id")
@click.option(
    "--external-id",
    "by_external_id",
    is_flag=True,
    help="PERSON_ID is an external id; accepted whether or not anybody has it.",
)
@click.option("--wait", "waits", is_flag=True, help="Return when it is done.")
@json_option
@settings_options
def erase(
    settings: Settings,
    *,
    project_id: str,
    person_id: str,
    by_external_id: bool,
    waits: bool,
    as_json: bool,
) -> None:
    """Ask for the erasure of a person; asking again drives an unfinished request on.

    PERSON_ID is a profile id, an external id, an alias or a distinct id.
    """

    async def work(services: Services) -> ErasureView:
        service = services.control.erasure
        ask = service.delete_data_subject if by_external_id else service.delete_person
        accepted: AcceptedErasure = await ask(project_id, person_id, actor=operator())
        if waits:
            await _until_over(services, accepted.request_id)
        return await service.find(accepted.request_id)

    shown = _shown(at_desk(settings, work))
    if as_json:
        print_json(shown)
    else:
        print(f"request {shown.request_id}: {shown.status}")
    if shown.status is ErasureStatus.FAILED:
        raise ApplianceError("ERASURE_FAILED", f"the erasure failed: {shown.error}")


@person.command()
@click.argument("request_id")
@json_option
@settings_options
def status(settings: Settings, *, request_id: str, as_json: bool) -> None:
    """How far an erasure is."""
    shown = _shown(at_desk(settings, lambda services: services.control.erasure.find(request_id)))
    if as_json:
        print_json(shown)
        return
    for name, value in msgspec.structs.asdict(shown).items():
        if value not in {None, ""}:
            print(f"{name.replace('_', ' ')}: {value}")


@person.command()
@click.argument("project_id")
@json_option
@settings_options
def requests(settings: Settings, *, project_id: str, as_json: bool) -> None:
    """The newest hundred erasures of PROJECT_ID."""
    found = at_desk(settings, lambda services: services.control.erasure.list_requests(project_id))
    shown = [_shown(one) for one in found]
    if as_json:
        print_json(shown)
        return
    print_table(
        ("REQUEST", "STATUS", "EVENTS", "ASKED", "DONE", "ERROR"),
        [
            (
                one.request_id,
                one.status,
                str(one.events_identified),
                one.requested_at,
                one.completed_at or "-",
                one.error or "-",
            )
            for one in shown
        ],
    )


@person.command()
@click.argument("request_id")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; without it, standard output.",
)
@settings_options
def receipt(settings: Settings, *, request_id: str, target: Path | None) -> None:
    """The receipt of a completed erasure as JSON: what was found, and that nothing is left."""
    view = at_desk(settings, lambda services: services.control.erasure.find(request_id))
    text = msgspec.json.format(msgspec.json.encode(make_receipt(view)), indent=2) + b"\n"
    if target is None:
        print(text.decode(), end="")
    else:
        write_atomic(target.absolute(), text)


async def _until_over(services: Services, request_id: str) -> None:
    async def over() -> bool | None:
        return (await services.control.erasure.find(request_id)).status in _OVER or None

    if not await poll(over, every_seconds=WAIT_EVERY_SECONDS, timeout_seconds=WAIT_SECONDS_MAX):
        raise UnavailableError(
            "ERASURE_UNDER_WAY",
            f"the request {request_id} is not done yet",
            hint="see `pug-appliance person status`",
        )


async def _write(lines: AsyncIterator[bytes], target: Path) -> int:
    """Write all lines into the file, which nobody else can read; how many bytes."""
    count = 0
    if str(target) == _STDOUT:
        async for line in lines:
            count += cast("BinaryIO", sys.stdout.buffer).write(line)
        return count
    beside = target.with_name(f".{target.name}.part")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, PRIVATE_FILE)
            async for line in lines:
                count += file.write(line)
            file.flush()
            os.fsync(descriptor)
        beside.replace(target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        beside.unlink(missing_ok=True)
    return count


def _shown(view: ErasureView) -> ShownRequest:
    return ShownRequest(
        request_id=view.id,
        project_id=view.project_id,
        profile_id=view.profile_id,
        external_id=view.external_id,
        status=view.status,
        events_identified=view.events_affected,
        requested_at=f"{view.requested_at:%F %T}",
        completed_at=f"{view.completed_at:%F %T}" if view.completed_at else None,
        error=view.error,
    )
