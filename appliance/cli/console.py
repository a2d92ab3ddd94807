"""What `run` shows on standard error: progress, causes, and the lines of components.

Invariant: on a terminal only progress and what is a warning or worse; as JSON every entry, one
object a line, so that a journal has everything. Nothing here decides anything.
"""

import sys
from typing import Final, TextIO

from appliance.config.model import LogForm, LogSettings
from appliance.supervisor.component import Transition
from appliance.supervisor.journal_socket import JournalSocket, render_prefixed
from appliance.supervisor.lines import Entry, severity
from appliance.supervisor.output import SUPERVISOR
from appliance.supervisor.spec import Kind
from appliance.supervisor.state import State

_NAME_WIDTH: Final = 20
_COLOURS: Final = {"warning": "33", "error": "31", "critical": "31"}
_SHOWN_FROM: Final = severity("warning")


class Console:
    """The readable or structured voice of `run`."""

    def __init__(
        self,
        settings: LogSettings,
        *,
        as_json: bool,
        journal: JournalSocket | None = None,
        stream: TextIO | None = None,
    ) -> None:
        """`journal` is set when the service manager keeps what is printed."""
        self._stream = stream or sys.stderr
        self._journal = journal if settings.form is LogForm.AUTO else None
        self.structured = as_json or settings.form is LogForm.JSON or self._journal is not None
        self._colours = self._stream.isatty() and not self.structured

    def entry(self, entry: Entry) -> None:
        """One line of a component or of the supervisor."""
        if self._journal is not None:
            if not self._journal.send(entry):
                self._write(render_prefixed(entry))
        elif self.structured:
            self._write(entry.encode().decode().rstrip("\n"))
        elif entry.component != SUPERVISOR and severity(entry.level) >= _SHOWN_FROM:
            self._write(render_entry(entry, colours=self._colours))

    def change(self, transition: Transition) -> None:
        """A component changed its state."""
        if not self.structured:
            text = render_transition(transition)
            if text:
                self._write(text)

    def say(self, text: str) -> None:
        """A sentence for people."""
        if not self.structured:
            self._write(text)

    def _write(self, text: str) -> None:
        try:
            print(text, file=self._stream, flush=True)
        except OSError:
            # A closed terminal must not stop the appliance; the log files have it all.
            return


def render_transition(transition: Transition) -> str:
    """A change of state as one line; empty when it is not worth one."""
    name = transition.name.ljust(_NAME_WIDTH)
    seconds = f"{transition.seconds:6.1f} s"
    again = (
        f"; again in {transition.retry_seconds:.1f} s"
        if transition.retry_seconds is not None
        else ""
    )
    match transition.after:
        case State.READY:
            word = "answers" if transition.kind is Kind.EXTERNAL else "ready"
            text = f"{word:<12}{seconds}"
        case State.COMPLETED:
            text = f"{'done':<12}{seconds}"
        case State.BACKING_OFF:
            text = f"{transition.cause}{again}"
        case State.QUARANTINED:
            remedy = f"`pug-appliance restart {transition.name}` tries again"
            text = f"quarantined: {transition.cause}; {remedy}"
        case State.FAILED:
            text = f"failed: {transition.cause}"
        case State.STOPPED if transition.before is State.STOPPING:
            text = f"{'stopped':<12}{seconds}"
        case _:
            return ""
    return f"  {name}{text}"


def render_entry(entry: Entry, *, colours: bool) -> str:
    """A log entry as one readable line."""
    time = entry.timestamp[11:23]
    level = entry.level.ljust(8)
    if colours and entry.level in _COLOURS:
        level = f"\x1b[{_COLOURS[entry.level]}m{level}\x1b[0m"
    fields = " ".join(f"{name}={_shown(value)}" for name, value in entry.fields.items())
    text = f"{time} {entry.component:<12} {level} {_plain(entry.event)}"
    return f"{text} {fields}".rstrip()


def _shown(value: object) -> str:
    text = _plain(str(value))
    return repr(text) if " " in text else text


def _plain(text: str) -> str:
    """The text without control characters, which a component could send to a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\t" else " " for letter in text)
