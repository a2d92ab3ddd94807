"""`live`: print the events of a project as they arrive.

Invariant: what a terminal gets is printable, whatever somebody sent as an event; what was not shown
is said on standard error. `--json` prints events only, one a line.
"""

import asyncio
import json
import sys
from typing import Any, Final, cast

import click

from appliance.base.errors import UnavailableError
from appliance.cli.desk import at_desk
from appliance.cli.options import json_option, settings_options
from appliance.config.connection import load_connection
from appliance.config.model import Settings
from appliance.domain.live import LiveFilter, Note, NoteKind, parse_filter
from appliance.services.wiring import Services

WAIT_SECONDS: Final = 15.0
_TIME: Final = slice(11, 23)
_PLACE_KEYS: Final = ("$pathname", "$country", "$browser")

Body = dict[str, Any]  # an event or a number as JSON, told by `domain/live.py`


@click.command()
@click.option("--project", help="Which project; default: that of connection.json.")
@click.option("--kind", "kinds", multiple=True, help="Only events of this kind. May be repeated.")
@click.option("--distinct-id", default="", help="Only events of this visitor.")
@click.option("-n", "--count", type=click.IntRange(1), help="End after so many events.")
@json_option
@settings_options
def live(
    settings: Settings,
    *,
    project: str | None,
    kinds: tuple[str, ...],
    distinct_id: str,
    count: int | None,
    as_json: bool,
) -> None:
    """Print the events of a project as they arrive, and how many visitors there are."""
    wanted = parse_filter(kinds, distinct_id)
    chosen = project or load_connection(settings.folders.connection_file).project_id
    printer = Printer(as_json=as_json)
    try:
        at_desk(settings, lambda services: follow(services, chosen, wanted, printer, count))
    except KeyboardInterrupt:
        return


async def follow(
    services: Services,
    project_id: str,
    wanted: LiveFilter,
    printer: "Printer",
    count: int | None,
) -> None:
    """Print until interrupted, or until so many events.

    Raises NotFoundError (`PROJECT_NOT_FOUND`) and UnavailableError.
    """
    await services.projects.load_project(project_id)
    async with services.live.watch(project_id, wanted) as watcher:
        printer.say(f"watching project {project_id}")
        while count is None or printer.events < count:
            for note in await watcher.take(wait_seconds=WAIT_SECONDS):
                if note.kind is NoteKind.END:
                    raise UnavailableError("UNAVAILABLE", "the live view ended by itself")
                if count is None or printer.events < count:
                    printer.show(note)
            await asyncio.sleep(0)


class Printer:
    """Writes notes for people, or events for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._visitors = -1
        self.events = 0

    def show(self, note: Note) -> None:
        """Print one note."""
        match note.kind:
            case NoteKind.EVENT:
                self.events += 1
                told = note.body.decode()
                print(told if self._as_json else render_event(json.loads(told)), flush=True)
            case NoteKind.VISITORS:
                self._count(cast("int", json.loads(note.body)["visitors"]))
            case NoteKind.DROPPED:
                self.say(f"{json.loads(note.body)['events']} events are not shown: too many")
            case NoteKind.GAP:
                self.say("the queue was away; events may be missing")
            case NoteKind.END:
                return

    def say(self, text: str) -> None:
        """A sentence beside the events."""
        print(f"-- {text}", file=sys.stderr, flush=True)

    def _count(self, visitors: int) -> None:
        if visitors != self._visitors and not self._as_json:
            self.say(f"{visitors} visitors in the last five minutes")
        self._visitors = visitors


def render_event(event: Body) -> str:
    """An event as one line for people: time, kind, visitor, where, properties."""
    automatic = cast("Body", event.get("autoProperties", {}))
    where = [str(automatic[name]) for name in _PLACE_KEYS if automatic.get(name)]
    custom = event.get("customProperties")
    told = [
        str(event.get("occurTime", ""))[_TIME].rstrip("Z").ljust(12),
        str(event.get("kind", "")).ljust(20),
        str(event.get("distinctId", "")).ljust(24),
        *where,
        *([json.dumps(custom, ensure_ascii=False)] if custom else []),
    ]
    line = "  ".join(told)
    return "".join(letter if letter.isprintable() else "\N{MIDDLE DOT}" for letter in line).rstrip()
