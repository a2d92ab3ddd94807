"""What every command that changes an installation begins with.

Invariant: one operation at a time, and one that was cut off is ended before another begins.
"""

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from appliance.base.clock import SystemClock
from appliance.base.errors import UnmetError
from appliance.config.load import load_settings
from appliance.config.sources import process_environment
from appliance.lifecycle.backup.create import Origin
from appliance.lifecycle.health import HealthGate
from appliance.lifecycle.host import RealHost
from appliance.lifecycle.journal import Journal
from appliance.lifecycle.layout import DEFAULT_PREFIX, Layout, find_prefix, load_layout
from appliance.lifecycle.operation import rightful_program
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.recover import Recovery, recover
from appliance.lifecycle.switchover import Tools

Result = TypeVar("Result")

prefix_option = click.option(
    "--prefix",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Where the programs are.  [default: {DEFAULT_PREFIX}]",
)


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """An installation and what its operations work with."""

    layout: Layout
    tools: Tools
    origin: Origin


def open_installed(prefix: Path | None, progress: Progress) -> Installation:
    """The installation this program belongs to.

    Raises NotFoundError when there is none and UnmetError when we are not root.
    """
    layout = load_layout(prefix.absolute() if prefix is not None else find_prefix())
    if os.geteuid() != 0:
        raise UnmetError(
            "NOT_ROOT", "only root can change an installation", hint="run it with sudo"
        )
    settings = load_settings(config_file=layout.config_file, environment={}, flags={})
    clock = SystemClock()
    tools = Tools(
        layout=layout,
        settings=settings,
        host=RealHost(),
        progress=progress,
        clock=clock,
        gate=HealthGate(settings, clock),
    )
    origin = Origin(
        settings=settings, config_file=layout.config_file, inherited=process_environment()
    )
    return Installation(layout=layout, tools=tools, origin=origin)


async def end_interrupted(installation: Installation) -> Recovery:
    """Bring an operation that was cut off to its end; the caller holds the lock."""
    journal = Journal.load(installation.layout.journal)
    if journal is None:
        return Recovery()
    program = rightful_program(installation.layout, journal)
    if program is not None:
        installation.tools.progress.note(f"handing over to {program}")
        done = await installation.tools.host.run(
            program, "recover", "--locked", "--json", timeout_seconds=3600.0
        )
        return msgspec.json.decode(done.output.splitlines()[-1], type=Recovery)
    return await recover(journal, installation.tools, installation.origin)


def carry_through(work: Coroutine[object, object, Result]) -> Result:
    """Run an operation that a lost connection must not cut off; a stop signal undoes it in order.

    Raises KeyboardInterrupt after it was undone.
    """

    async def run() -> Result:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        loop.add_signal_handler(signal.SIGHUP, _go_on)
        try:
            return await task
        except asyncio.CancelledError as error:
            raise KeyboardInterrupt from error

    return asyncio.run(run())


def _go_on() -> None:
    """Whoever watched has gone; the operation has not."""
