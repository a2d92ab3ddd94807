"""Run a program to its end and look at what it said; for steps before an engine can start.

Invariant: the program is owned like any child: own session, parent-death signal, dropped
privileges, and it is gone when the caller is cancelled or the time is over.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from appliance.base.errors import UnavailableError
from appliance.base.tasks import finish
from appliance.supervisor.child import Child, describe_status
from appliance.supervisor.spec import ProcessSpec

_OUTPUT_BYTES_MAX: Final = 64 << 10
_STOP_SECONDS_MAX: Final = 20.0


class _Memory:
    """Keeps the first part of what was printed."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.content = bytearray()

    def feed(self, chunk: bytes) -> None:
        self.content += chunk[: _OUTPUT_BYTES_MAX - len(self.content)]

    def close(self) -> None:
        pass


async def run_program(
    spec: ProcessSpec, *, timeout_seconds: float, inherited: Mapping[str, str] | None = None
) -> str:
    """Run the program of a spec until it exits with 0; what it printed.

    Raises UnavailableError with its last line when it fails or takes too long.
    """
    memory = _Memory()
    child = Child(spec, sink=memory, inherited=inherited or {})
    try:
        async with asyncio.timeout(timeout_seconds):
            status = await asyncio.shield(child.exited)
    except TimeoutError as error:
        raise UnavailableError(
            "PROGRAM_SLOW", f"{spec.name} did not end within {timeout_seconds:g} s"
        ) from error
    finally:
        if not child.exited.done():
            await finish(child.stop((), hurry=asyncio.Event()), timeout_seconds=_STOP_SECONDS_MAX)
    text = memory.content.decode("utf-8", "replace").strip()
    if status != 0:
        last = text.splitlines()[-1] if text else ""
        raise UnavailableError("PROGRAM_FAILED", f"{spec.name} {describe_status(status)}: {last}")
    return text
