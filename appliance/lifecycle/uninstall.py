"""Take an appliance off a machine: everything but the data, or everything.

Invariant: every step looks at what is there, so half an installation and half an uninstall are
taken away as well; the data, the configuration, the secrets and the accounts that own them go only
with `purge`. The program that is running goes last.
"""

import asyncio
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import UnmetError
from appliance.lifecycle.host import Host
from appliance.lifecycle.layout import USERS, Layout
from appliance.lifecycle.operation import operation_lock
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.services import UNIT_PATTERNS
from appliance.lifecycle.steps import Step
from appliance.lifecycle.units import TARGET

_STOP_SECONDS_MAX: Final = 180.0
_STAMPS: Final = Path("/var/lib/systemd/timers")
_NEVER: Final = frozenset(
    Path("/", *name.split())
    for name in (
        *("", "bin", "boot", "dev", "etc", "home", "lib", "opt", "proc", "root", "run", "sbin"),
        *("srv", "sys", "tmp", "usr", "usr local", "var", "var lib", "etc systemd"),
    )
)


class Uninstaller:
    """One uninstall."""

    def __init__(
        self,
        layout: Layout,
        *,
        purge: bool,
        host: Host,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._layout = layout
        self._purge = purge
        self._host = host
        self._progress = progress
        self._clock = clock

    def steps(self) -> tuple[Step, ...]:
        """The steps, in order."""
        always = (
            Step(name="stop", title="stopping services", do=self._stop),
            Step(name="units", title="removing systemd units", do=self._remove_units),
            Step(name="command", title="removing the command", do=self._remove_command),
        )
        everything = (
            Step(name="data", title="removing all data", do=self._remove_data),
            Step(name="config", title="removing configuration and secrets", do=self._remove_config),
            Step(name="accounts", title="removing accounts", do=self._remove_accounts),
        )
        last = (Step(name="programs", title="removing programs", do=self._remove_programs),)
        return always + (everything if self._purge else ()) + last

    async def run(self) -> None:
        """Do all steps; a repeated call finishes one that was cut off.

        Raises UnmetError before anything is touched when a place is one of the system's own, and
        ConflictError while another operation is at work.
        """
        self._check_places()
        at_work = operation_lock(self._layout) if self._has_journal() else nullcontext()
        with at_work:
            await self._do_all()

    def _has_journal(self) -> bool:
        return self._layout.journal.is_dir()

    async def _do_all(self) -> None:
        for step in self.steps():
            self._progress.begin(step.name, step.title)
            started = self._clock.monotonic_seconds()
            await step.do()
            self._progress.end(step.name, self._clock.monotonic_seconds() - started)

    def _check_places(self) -> None:
        places = (self._layout.prefix, self._layout.data_dir, self._layout.config_dir)
        for place in places:
            if place.resolve() in _NEVER or not place.is_absolute():
                raise UnmetError(
                    "PLACE_IS_SYSTEM",
                    f"{place} is a folder of the system and is not removed",
                    hint="name the places of the installation with --prefix and --data-dir",
                )

    def _units(self) -> list[Path]:
        return sorted(
            path
            for pattern in UNIT_PATTERNS
            for path in self._layout.unit_dir.glob(pattern)
            if path.is_file() or path.is_symlink()
        )

    async def _stop(self) -> None:
        names = [path.name for path in self._units()]
        if not names:
            return
        # The target first: what it wants is not started again while the rest stops.
        await self._host.run(
            "systemctl", "stop", TARGET, *names, timeout_seconds=_STOP_SECONDS_MAX, check=False
        )

    async def _remove_units(self) -> None:
        units = self._units()
        names = [path.name for path in units]
        if names:
            await self._host.run("systemctl", "disable", *names, check=False)
            # Before the files go: asking about a unit later would load it again, as missing.
            await self._host.run("systemctl", "reset-failed", *names, check=False)
        for path in units:
            self._host.remove(path)
        for folder in self._layout.unit_dir.glob("pug*.d" if self._purge else "pug*.wants"):
            self._host.remove(folder)
        for stamp in _STAMPS.glob("stamp-pug-*") if self._purge else ():
            self._host.remove(stamp)
        await self._host.run("systemctl", "daemon-reload", check=False)

    async def _remove_command(self) -> None:
        if self._layout.command.is_symlink():
            self._host.remove(self._layout.command)

    async def _remove_data(self) -> None:
        await asyncio.to_thread(self._host.remove, self._layout.data_dir)

    async def _remove_config(self) -> None:
        self._host.remove(self._layout.config_dir)

    async def _remove_accounts(self) -> None:
        # First the member of another's group, then the groups.
        for name in USERS:
            await self._host.remove_user(name)

    async def _remove_programs(self) -> None:
        """Releases, journals and staging. The command line has all it needs in memory already."""
        await asyncio.to_thread(shutil.rmtree, self._layout.prefix, ignore_errors=True)
        self._host.remove(self._layout.prefix)
