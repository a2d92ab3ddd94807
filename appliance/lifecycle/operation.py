"""One lifecycle operation at a time: the lock of the living, the journal of the dead.

Invariant: whoever changes an installation holds the lock of its journal folder, so that `recover`
never ends an operation that is still at work; a killed operation leaves its journal, no lock.
"""

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import ConflictError
from appliance.base.files import FileLock
from appliance.lifecycle.journal import Journal
from appliance.lifecycle.layout import BINARY_NAME, Layout
from appliance.lifecycle.releases import version_of

BY: Final = "by"
"""The parameter with the release whose program began an operation, and whose program ends it."""
_LOCK_NAME: Final = "lock"


@contextmanager
def operation_lock(layout: Layout) -> Generator[None]:
    """Keep every other lifecycle operation out for the length of a block.

    Raises ConflictError when one is at work.
    """
    lock = FileLock(layout.journal / _LOCK_NAME)
    try:
        lock.acquire()
    except ConflictError as error:
        raise ConflictError(
            "OPERATION_RUNNING",
            f"another operation is at work: {error.message}",
            hint="wait until it has ended",
        ) from error
    try:
        yield
    finally:
        lock.release()


def begin_operation(
    layout: Layout, kind: str, parameters: Mapping[str, str], *, clock: Clock
) -> Journal:
    """Open the journal of an operation, with the release that does it.

    Raises ConflictError when an earlier one has not ended.
    """
    known = {**parameters, BY: version_of(layout.current)}
    return Journal.begin(layout.journal, kind, known, clock=clock)


def rightful_program(layout: Layout, journal: Journal) -> str | None:
    """The program that has to end an operation, when that is not the one that is running.

    A release knows only the steps of its own operations.
    """
    version = journal.operation.parameters.get(BY, "")
    program = layout.release(version) / BINARY_NAME
    if not version or not program.is_file():
        return None
    return None if program.samefile(sys.executable) else str(program)
