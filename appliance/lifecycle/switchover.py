"""From one installed release to another while the public port is answered: the steps themselves.

Invariant: at every moment at least one process listens or systemd holds the waiting connections.
First the wanted release answers beside the one in use (the bridge), then it takes the latter's
place, then the bridge goes. Before the commit everything leads back. `upgrade.py` and `rollback.py`
put these steps between their own; who ends a cut-off one is `recover.py`. Decision 0014.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, TimedOutError, UnavailableError
from appliance.config.model import Settings
from appliance.lifecycle.health import Gate
from appliance.lifecycle.host import Host
from appliance.lifecycle.layout import BINARY_NAME, PUBLIC_FILE, Layout
from appliance.lifecycle.manifest import FileEntry, Manifest
from appliance.lifecycle.program import Program
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.release_tree import load_manifest
from appliance.lifecycle.releases import PROC, program_of
from appliance.lifecycle.services import Services
from appliance.lifecycle.steps import Step

APPLIANCE: Final = "pug-appliance.service"
BRIDGE: Final = "pug-bridge.service"
RECOVER: Final = "pug-recover.service"
ENGINES: Final = ("postgres", "nats", "clickhouse")
_ENGINE_SECONDS_MAX: Final = 180.0
_BRIDGE_SECONDS_MAX: Final = 60.0
_PAUSE_SECONDS: Final = 0.1


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Which release gives way to which, and what `rollback` goes back to before and after."""

    leaving: str
    wanted: str
    previous_before: str
    previous_after: str

    def parameters(self) -> dict[str, str]:
        """For the journal: what suffices to build the steps again."""
        return {
            "from": self.leaving,
            "to": self.wanted,
            "previous_before": self.previous_before,
            "previous_after": self.previous_after,
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "Change":
        """The change a journal tells of."""
        return cls(
            leaving=parameters["from"],
            wanted=parameters["to"],
            previous_before=parameters.get("previous_before", ""),
            previous_after=parameters.get("previous_after", ""),
        )


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps work with. `proc` is where processes are looked up."""

    layout: Layout
    settings: Settings
    host: Host
    progress: Progress
    clock: Clock
    gate: Gate
    proc: Path = PROC


class Switchover:
    """The steps between two installed releases."""

    def __init__(self, change: Change, tools: Tools) -> None:
        self._change = change
        self._tools = tools
        self._layout = tools.layout
        self._host = tools.host
        self._changed: tuple[str, ...] = ()
        self._rendered: dict[str, dict[str, str]] = {}

    def steps(self) -> tuple[Step, ...]:
        """Up to the commit, which is the last of them."""
        return (
            Step(
                name="bridge",
                title="starting the wanted release beside the one in use",
                do=self._compare_and_bridge,
                undo=self._take_bridge_away,
            ),
            # Its way back comes after that of the switch and before that of the bridge.
            Step(
                name="return",
                title="keeping the way back open",
                do=self._reset_failed,
                undo=self._run_leaving,
            ),
            Step(
                name="units",
                title="writing systemd units",
                do=lambda: self._write_units(self._change.wanted),
                undo=lambda: self._write_units(self._change.leaving),
            ),
            Step(
                name="switch",
                title="switching to the wanted release",
                do=self._switch,
                undo=self._switch_back,
            ),
            Step(name="restart", title="restarting what changed", do=self._restart),
            Step(name="health", title="asking whether everything works", do=self._check),
            Step(name="commit", title="deciding for the wanted release", do=self._commit),
        )

    def ending(self) -> tuple[Step, ...]:
        """After the commit."""
        return (
            Step(name="unbridge", title="ending the bridge", do=self._stop_bridge),
            Step(name="applied", title="remembering what is applied", do=self._remember),
        )

    async def changed_engines(self) -> tuple[str, ...]:
        """The engines whose program, unit, or our code around them differ between the two."""
        leaving, wanted = self._change.leaving, self._change.wanted
        before, after = await self._units(leaving), await self._units(wanted)
        code_before = (await self._program(leaving).facts()).engine_code
        code_after = (await self._program(wanted).facts()).engine_code
        files_before = load_manifest(self._layout.release(leaving))
        files_after = load_manifest(self._layout.release(wanted))
        return tuple(
            name
            for name in ENGINES
            if _unit(name) in after
            and (
                _changed_units(name, before, after)
                or code_before.get(name) != code_after.get(name)
                or engine_files(files_before, name) != engine_files(files_after, name)
            )
        )

    async def is_booting(self) -> bool:
        """Whether we are what the boot waits for; then nothing may be started from here."""
        said = await self._host.run("systemctl", "is-active", RECOVER, check=False)
        return said.output.strip() == "activating"

    async def until_runs(self, version: str, *, seconds_max: float) -> None:
        """Wait until the service runs the program of a release.

        Raises TimedOutError.
        """
        program = self._layout.release(version).resolve() / BINARY_NAME
        end = self._tools.clock.monotonic_seconds() + seconds_max
        while await self._program_of(APPLIANCE) != program:
            if self._tools.clock.monotonic_seconds() > end:
                raise TimedOutError("SERVICE_SLOW", f"{APPLIANCE} does not start {version}")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _start_bridge(self) -> None:
        units = await self._units(self._change.wanted)
        self._host.link(self._layout.bridge, Path("releases", self._change.wanted))
        self._host.write(self._layout.unit_dir / BRIDGE, units[BRIDGE].encode(), mode=PUBLIC_FILE)
        await self._systemctl("daemon-reload")
        await self._systemctl("reset-failed", BRIDGE, check=False)
        # A unit that is restarted for ever would keep the call waiting.
        try:
            await self._systemctl("start", BRIDGE, seconds=_BRIDGE_SECONDS_MAX)
        except ApplianceError as error:
            raise UnavailableError(
                "RELEASE_BROKEN",
                f"release {self._change.wanted} does not answer: {await self._last_words(BRIDGE)}",
                hint=f"see `journalctl -u {BRIDGE}`; the release in use went on answering",
            ) from error

    async def _stop_bridge(self) -> None:
        # Stopped while others listen on the same socket, so nobody is refused.
        await self._systemctl("stop", BRIDGE, check=False)
        self._host.remove(self._layout.bridge)

    async def _take_bridge_away(self) -> None:
        await self._stop_bridge()
        units = await self._units(self._change.leaving)
        self._host.write(self._layout.unit_dir / BRIDGE, units[BRIDGE].encode(), mode=PUBLIC_FILE)
        await self._systemctl("daemon-reload")

    async def _compare_and_bridge(self) -> None:
        await self._units(self._change.wanted)
        # Both wait for programs to start; which engines changed is needed after the switch.
        comparing = asyncio.ensure_future(self.changed_engines())
        try:
            await self._start_bridge()
            self._changed = await comparing
        finally:
            comparing.cancel()

    async def _reset_failed(self) -> None:
        await self._systemctl("reset-failed", APPLIANCE, check=False)

    async def _write_units(self, version: str) -> None:
        await (await self._services(version)).write()

    async def _switch(self) -> None:
        self._link_previous(self._change.previous_after)
        self._host.link(self._layout.current, Path("releases", self._change.wanted))

    async def _switch_back(self) -> None:
        self._host.link(self._layout.current, Path("releases", self._change.leaving))
        self._link_previous(self._change.previous_before)

    def _link_previous(self, version: str) -> None:
        if version:
            self._host.link(self._layout.previous, Path("releases", version))
        else:
            self._host.remove(self._layout.previous)

    async def _restart(self) -> None:
        before = await self._units(self._change.leaving)
        after = await self._units(self._change.wanted)
        for name in self._changed:
            await self._restart_engine(name, before, after)
        # The gate waits for it, and sees sooner than systemd that it will not come up.
        await self._systemctl("restart", "--no-block", APPLIANCE)

    async def _restart_engine(
        self, name: str, before: Mapping[str, str], after: Mapping[str, str]
    ) -> None:
        unit = _unit(name)
        around = [one for one in _changed_units(name, before, after) if one != unit]
        if not around:
            await self._systemctl("restart", unit, seconds=_ENGINE_SECONDS_MAX)
            return
        # A socket belongs to the service it had when it was started. What another release has
        # beside the engine may be unknown by now, and then there is nothing to stop.
        await self._systemctl("stop", *around, unit, check=False, seconds=_ENGINE_SECONDS_MAX)
        doors = [one for one in around if one in after and one.endswith(".socket")]
        await self._systemctl("start", *doors, unit, seconds=_ENGINE_SECONDS_MAX)

    async def _units_if_told(self, version: str) -> Mapping[str, str]:
        """The units of a release that may be broken; none of them then."""
        try:
            return await self._units(version)
        except ApplianceError:
            return {}

    async def _check(self) -> None:
        await self._tools.gate.check(self._change.wanted)

    async def _commit(self) -> None:
        """Nothing but the line in the journal: from here on the way is forward."""

    async def _run_leaving(self) -> None:
        """Have nothing of the wanted release running and the other one answering."""
        if await self.is_booting():
            return
        wanted = self._layout.release(self._change.wanted).resolve()
        for name in ENGINES:
            program = await self._program_of(_unit(name))
            if program is not None and program.is_relative_to(wanted):
                before = await self._units_if_told(self._change.wanted)
                await self._restart_engine(name, before, await self._units(self._change.leaving))
        leaving = self._layout.release(self._change.leaving).resolve() / BINARY_NAME
        if await self._program_of(APPLIANCE) != leaving:
            await self._systemctl("restart", "--no-block", APPLIANCE)
        await self._tools.gate.check(self._change.leaving)

    async def _remember(self) -> None:
        (await self._services(self._change.wanted)).remember()

    async def _program_of(self, unit: str) -> Path | None:
        said = await self._systemctl("show", "--property=MainPID", "--value", unit)
        pid = said.strip()
        return program_of(int(pid), self._tools.proc) if pid.isdecimal() and pid != "0" else None

    async def _last_words(self, unit: str) -> str:
        argv = ("journalctl", "--no-pager", "-o", "cat", "-n", "3", "-t", "pug-api", "-u", unit)
        said = await self._host.run(*argv, check=False)
        lines = [line for line in said.output.splitlines() if line.strip()]
        return lines[-1] if lines else "it has said nothing"

    async def _systemctl(self, *argv: str, check: bool = True, seconds: float = 60.0) -> str:
        said = await self._host.run("systemctl", *argv, check=check, timeout_seconds=seconds)
        return said.output

    def _program(self, version: str) -> Program:
        return Program(self._layout, version, self._host)

    async def _units(self, version: str) -> dict[str, str]:
        if version not in self._rendered:
            self._rendered[version] = await self._program(version).units()
        return self._rendered[version]

    async def _services(self, version: str) -> Services:
        return Services(
            await self._units(version),
            layout=self._layout,
            settings=self._tools.settings,
            host=self._host,
            progress=self._tools.progress,
            clock=self._tools.clock,
        )


def _unit(engine: str) -> str:
    return f"pug-{engine}.service"


def _changed_units(
    engine: str, before: Mapping[str, str], after: Mapping[str, str]
) -> tuple[str, ...]:
    """The engine's own unit and those beside it that differ."""
    names = sorted(before.keys() | after.keys())
    stems = (f"pug-{engine}.", f"pug-{engine}-")
    return tuple(
        name for name in names if name.startswith(stems) and before.get(name) != after.get(name)
    )


def engine_files(manifest: Manifest, engine: str) -> frozenset[FileEntry]:
    """The files of a release that an engine runs from, beside our code."""
    if engine == "clickhouse":
        return frozenset(
            entry
            for entry in manifest.files
            if entry.path.startswith("_internal/") and ".so" in Path(entry.path).name
        )
    return frozenset(
        entry for entry in manifest.files if entry.path.startswith(f"engines/{engine}/")
    )
