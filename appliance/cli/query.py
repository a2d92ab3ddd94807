"""`query`: SQL about one project's rows, and the SQL behind an insight.

Invariant: the command line has no more rights than `POST /query`: the same service, the same locks
and limits, the same entry in the audit log.
"""

import os
import sys
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, cast

import click
import msgspec
from msgspec import Struct
from protobuf import message_from_json_value, message_to_json_value

from appliance.api.rpc.own.queries import explanation_message
from appliance.base.errors import InvalidInputError
from appliance.base.files import PRIVATE_FILE, unwritable
from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, settings_options
from appliance.config.model import Settings
from appliance.domain.expert_sql.answers import Form
from appliance.gen.appliance.queries.v1.queries_pb import ExplainInsightResponse
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.wiring import Services

_STDIN: Final = "-"
_RUN: Final = "run"
_SPEC_BYTES_MAX: Final = 1 << 20


class _Project(Struct, frozen=True):
    project_id: str
    timezone: str


class _QueryGroup(click.Group):
    """A group that runs SQL when its first word is no command: `query "SELECT 1"`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = [_RUN, *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_QueryGroup, context_settings={"ignore_unknown_options": True})
def query() -> None:
    """SQL about the rows of one project: `query "SELECT …" --project ID`."""


@query.command(_RUN)
@click.argument("sql")
@click.option("--project", "project_id", required=True, help="Whose rows there are.")
@click.option(
    "--format",
    "form",
    type=click.Choice([one.value for one in Form]),
    help="How the answer is written.  [default: by the name of --output, else table]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file, readable by its owner only.  [default: standard output]",
)
@settings_options
def run(
    settings: Settings, *, sql: str, project_id: str, form: str | None, output: Path | None
) -> None:
    """Answer SQL, one SELECT; `-` reads it from standard input.

    Tables: events, sessions, event_names, persons, person_ids. The query is in the audit log.
    """
    text = sys.stdin.read() if sql == _STDIN else sql
    chosen = _form(form, output)
    if output is None and chosen is Form.PARQUET and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal; name a file with --output")

    async def work(services: Services) -> None:
        await services.queries.sql.require_project(project_id)
        async with services.queries.sql.ask(
            operator(), project_id=project_id, sql=text, form=chosen
        ) as pieces:
            if output is None:
                target = cast("BinaryIO", sys.stdout.buffer)
                async for piece in pieces:
                    target.write(piece)
                target.flush()
                return
            beside = output.with_name(f".{output.name}.part")
            try:
                with _private(beside) as file:
                    async for piece in pieces:
                        file.write(piece)
                beside.replace(output)
            except OSError as error:
                _not_written(output, error)
            finally:
                beside.unlink(missing_ok=True)

    at_desk(settings, work)


@query.command()
@click.option(
    "--file",
    "spec",
    type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True),
    required=True,
    help="A QueryRequest of shared.insights.v1 as JSON; `-` for standard input.",
)
@click.option("--project", "project_id", required=True, help="Whose insight it is.")
@json_option
@settings_options
def explain(settings: Settings, *, spec: Path, project_id: str, as_json: bool) -> None:
    """Show the SQL of an insight, its values, its source and the engine's plan; runs nothing."""
    request = _read_request(spec)

    async def work(services: Services) -> ExplainInsightResponse:
        found = await services.queries.sql.require_project(project_id)
        project = _Project(project_id, found.timezone)
        return explanation_message(await services.queries.explain(project, request))

    told = at_desk(settings, work)
    if as_json:
        print_json(message_to_json_value(told))
        return
    print(f"source: {told.source}\n\n{told.sql}\n")
    for one in told.parameters:
        print(f"{one.name}: {one.type} = {one.value}")
    print()
    for setting in told.settings:
        print(f"{setting.name} = {setting.value}")
    print("\n" + "\n".join(told.plan))


def _form(named: str | None, output: Path | None) -> Form:
    if named is not None:
        return Form(named)
    if output is None:
        return Form.TABLE
    try:
        return Form(output.suffix.removeprefix("."))
    except ValueError as error:
        raise click.UsageError(f"the name {output.name} tells no --format") from error


def _private(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
        os.fchmod(descriptor, PRIVATE_FILE)
    except OSError as error:
        _not_written(path, error)
    return os.fdopen(descriptor, "wb")


def _not_written(path: Path, error: OSError) -> NoReturn:
    raise unwritable(path, error) from error


def _read_request(path: Path) -> QueryRequest:
    if str(path) == _STDIN:
        text = sys.stdin.buffer.read(_SPEC_BYTES_MAX)
    else:
        text = path.read_bytes()[:_SPEC_BYTES_MAX]
    try:
        return message_from_json_value(QueryRequest, msgspec.json.decode(text))
    except (ValueError, TypeError, msgspec.DecodeError) as error:
        raise InvalidInputError(
            "INVALID_ARGUMENT",
            "the file is no QueryRequest as JSON",
            hint='it looks like {"spec": {"insightType": "INSIGHT_TYPE_TRENDS", …}}',
        ) from error
