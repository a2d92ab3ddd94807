"""`logs`: read the log files of components, also turned-over ones, and follow them.

Invariant: lines of several components come in the order of their time; following survives the
turning over of a file without losing or repeating a line.
"""

import heapq
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from appliance.base.errors import NotFoundError
from appliance.cli.console import render_entry
from appliance.cli.options import json_option, settings_options
from appliance.config.model import Settings
from appliance.supervisor.lines import Entry, decode_entry
from appliance.supervisor.output import log_path, logged_components, turned

_TURNED_MAX: Final = 100
_PAUSE_SECONDS: Final = 0.2
_LINES_DEFAULT: Final = 1000


@click.command()
@click.argument("components", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on with lines as they are written.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    default=_LINES_DEFAULT,
    show_default=True,
    help="How many of the last lines.",
)
@json_option
@settings_options
def logs(
    settings: Settings, components: tuple[str, ...], *, follow: bool, lines: int, as_json: bool
) -> None:
    """Show the last log lines of COMPONENTS, or of all."""
    folder = settings.folders.logs
    chosen = choose_components(folder, components)
    followers = [Follower(log_path(folder, name)) for name in chosen] if follow else []
    for entry in last_entries(folder, chosen, lines):
        _show(entry, as_json=as_json)
    try:
        while follow:
            fresh = [entry for follower in followers for entry in follower.read()]
            for entry in sorted(fresh, key=_moment):
                _show(entry, as_json=as_json)
            time.sleep(_PAUSE_SECONDS)
    except KeyboardInterrupt:
        return
    finally:
        for follower in followers:
            follower.close()


def choose_components(folder: Path, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The components whose lines are wanted; all when none is named.

    Raises NotFoundError for a name without a log and when there are no logs at all.
    """
    known = logged_components(folder)
    if not known:
        raise NotFoundError(
            "LOGS_MISSING",
            f"there are no logs in {folder}",
            hint="start the appliance with `pug-appliance run`, or name its --data-dir",
        )
    for name in wanted:
        if name not in known:
            raise NotFoundError(
                "COMPONENT_UNKNOWN",
                f"there is no log of {name!r}",
                hint="one of " + ", ".join(known),
            )
    return wanted or known


def last_entries(folder: Path, components: Iterable[str], count: int) -> Iterable[Entry]:
    """The last entries of several components in the order of their time."""
    streams = [_entries(log_path(folder, name)) for name in components]
    return deque(heapq.merge(*streams, key=_moment), maxlen=count)


def _entries(path: Path) -> Iterator[Entry]:
    numbers = [number for number in range(_TURNED_MAX, 0, -1) if turned(path, number).exists()]
    for source in (*(turned(path, number) for number in numbers), path):
        try:
            with source.open("rb") as file:
                yield from _decoded(file)
        except FileNotFoundError:
            continue  # turned over between the look and the opening


def _decoded(lines: Iterable[bytes]) -> Iterator[Entry]:
    for line in lines:
        entry = decode_entry(line)
        if entry is not None:
            yield entry


def _moment(entry: Entry) -> str:
    return entry.timestamp


def _show(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        print(entry.encode().decode().rstrip("\n"), flush=True)
    else:
        print(render_entry(entry, colours=os.isatty(1)), flush=True)


class Follower:
    """Reads what is appended to a log file, across its turning over."""

    def __init__(self, path: Path) -> None:
        """Begin at the present end of the file."""
        self._path = path
        self._file = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._partial = b""

    def read(self) -> Iterator[Entry]:
        """The entries written since the last call."""
        yield from self._read_open()
        try:
            same = os.fstat(self._file.fileno()).st_ino == self._path.stat().st_ino
        except FileNotFoundError:
            return
        if not same:
            # The writer may have appended between our last read and the turn.
            yield from self._read_open()
            self._file.close()
            self._file = self._path.open("rb")
            yield from self._read_open()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _read_open(self) -> Iterator[Entry]:
        content = self._partial + self._file.read()
        *whole, self._partial = content.split(b"\n")
        yield from _decoded(whole)
