"""`cohort`: saved groups of people; lists of ids from files."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import click

from appliance.base.errors import InvalidInputError
from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.services.wiring import Services
from appliance.storage.clickhouse.insights.members import MemberRow

IDS_AT_ONCE: Final = 10_000
"""Ids of one transaction."""

ID_BYTES_MAX: Final = 1024
MEMBERS_AT_ONCE: Final = 1000

project_option = click.option("--project", "project_id", required=True, help="Id of the project.")


@click.group()
def cohort() -> None:
    """Saved groups of people (docs/cohorts.md)."""


@cohort.command("list")
@project_option
@json_option
@settings_options
def list_all(settings: Settings, *, project_id: str, as_json: bool) -> None:
    """The cohorts of a project by name."""
    rows = at_desk(settings, lambda services: services.cohorts.list_all(project_id))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "NAME", "KIND", "IDS"),
        [
            (one.id, one.display_name, "list", str(one.ids))
            if one.rules is None
            else (one.id, one.display_name, "rules", "")
            for one in rows
        ],
    )


@cohort.command("import")
@project_option
@click.option("--name", help="Make a list of this name.")
@click.option("--to", "cohort_id", help="Add to the list of this id.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@settings_options
def import_ids(
    settings: Settings,
    *,
    project_id: str,
    name: str | None,
    cohort_id: str | None,
    file: Path,
    as_json: bool,
) -> None:
    """Put the ids in FILE, one a line, on a new list or on one there is.

    An interrupted import may be repeated: an id that is there already stays as it is.
    """
    if (name is None) is (cohort_id is None):
        raise click.UsageError("give --name for a new list, or --to for one there is")

    async def add(services: Services) -> tuple[str, int]:
        chosen = cohort_id
        if chosen is None:
            made = await services.cohorts.create(
                project_id,
                display_name=name or "",
                description="",
                content=(),
                actor=operator(),
            )
            chosen = made.id
        ids = 0
        for some in _batches(file):
            changed = await services.cohorts.change_ids(
                project_id, chosen, add=some, remove=(), actor=operator()
            )
            ids = changed.ids
        return chosen, ids

    chosen, ids = at_desk(settings, add)
    if as_json:
        print_json({"id": chosen, "ids": ids})
    else:
        print(f"{chosen} has {ids} ids")


@cohort.command()
@project_option
@click.argument("cohort_id")
@json_option
@settings_options
def members(settings: Settings, *, project_id: str, cohort_id: str, as_json: bool) -> None:
    """The people of a cohort now."""

    async def load(services: Services) -> Sequence[MemberRow]:
        timezone = (await services.projects.load_project(project_id)).timezone
        found: list[MemberRow] = []
        token = ""
        while True:
            page = await services.cohorts.list_members(
                project_id, timezone, cohort_id, page_size=MEMBERS_AT_ONCE, page_token=token
            )
            found.extend(page.members)
            token = page.next_token
            if not token:
                return found

    rows = at_desk(settings, load)
    if as_json:
        print_json(rows)
        return
    print_table(("ID", "EXTERNAL ID"), [(one.id, one.external_id) for one in rows])


def _batches(file: Path) -> Iterator[list[str]]:
    """The ids of a file; raises InvalidInputError (`INVALID_COHORT`) with the number of a line."""
    with file.open("rb") as lines:
        ids = (_checked(number, line) for number, line in enumerate(lines, start=1))
        wanted = (one for one in ids if one)
        while some := list(islice(wanted, IDS_AT_ONCE)):
            yield some


def _checked(number: int, line: bytes) -> str:
    stripped = line.rstrip(b"\r\n")
    if len(stripped) <= ID_BYTES_MAX and b"\0" not in stripped:
        try:
            return stripped.decode()
        except UnicodeDecodeError:
            pass
    raise InvalidInputError("INVALID_COHORT", f"line {number} is not an id in UTF-8")
