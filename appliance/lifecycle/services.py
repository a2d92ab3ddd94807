"""The units of an installation: written, enabled, started, waited for, stopped, removed.

Invariant: systemd runs what the files say. What was last started is remembered as a checksum of
configuration and units, so that a repeated install restarts exactly when something changed.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, TimedOutError
from appliance.config.model import Settings
from appliance.config.tls import find_tls
from appliance.engines.http_door import HTTP_OK, http_get
from appliance.lifecycle.host import Host
from appliance.lifecycle.layout import PUBLIC_FILE, Layout
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.unit_file import parse_unit
from appliance.lifecycle.units import RECOVER, TARGET
from appliance.supervisor.control import Command, Request, ask_supervisor

HEALTH_SECONDS_MAX: Final = 180.0
"""How long nothing more may get ready; loading a program from a slow disk takes a minute."""
UNIT_PATTERNS: Final = ("pug.*", "pug-*.*")
_ASK_SECONDS_MAX: Final = 3.0
_PAUSE_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 1.0
_STOP_SECONDS_MAX: Final = 180.0
_APPLIED_NAME: Final = "applied.sha256"
_READY: Final = frozenset({"active", "inactive"})
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 asked, not bound


def local_address(settings: Settings) -> tuple[str, int]:
    """Where this machine itself reaches the public port."""
    return _ANY.get(settings.api.host, settings.api.host), settings.api.port


class Services:
    """The units of one installation, by name with their content."""

    def __init__(
        self,
        units: Mapping[str, str],
        *,
        layout: Layout,
        settings: Settings,
        host: Host,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._units = units
        self._layout = layout
        self._settings = settings
        self._host = host
        self._progress = progress
        self._clock = clock

    async def write(self) -> None:
        """Have exactly these unit files, known to systemd and started at boot."""
        self._host.make_folder(self._layout.unit_dir, mode=0o755)
        changed = self._remove_stale()
        for name, content in self._units.items():
            path = self._layout.unit_dir / name
            if not path.is_file() or path.read_bytes() != content.encode():
                changed = True
                self._host.write(path, content.encode(), mode=PUBLIC_FILE)
        if changed:
            await self._host.run("systemctl", "daemon-reload")
        wanted = [name for name, content in self._units.items() if "\n[Install]\n" in content]
        await self._host.run("systemctl", "enable", *wanted)

    async def start(self, *, renewed: bool = False) -> None:
        """Start what does not run; restart everything when configuration or units changed.

        `renewed`: the programs were replaced, so whatever runs is not what is installed.
        """
        applied = self._layout.journal / _APPLIED_NAME
        digest = self._digest()
        before = applied.read_text() if applied.exists() else ""
        if before not in {"", digest}:
            self._progress.note("the configuration changed; everything is restarted")
            await self.stop()
        elif renewed and "active" in (await self.states()).values():
            self._progress.note("the programs were repaired; everything is restarted")
            await self.stop()
        # An engine that gave up for a while is started at once.
        await self._host.run("systemctl", "reset-failed", *self._units, check=False)
        # Not by the target: it would also start `recover`, which ends what a journal has open.
        await self._host.run("systemctl", "start", "--no-block", *self._wanted())
        self.remember()

    def remember(self) -> None:
        """Note that what runs is what configuration and units say."""
        applied = self._layout.journal / _APPLIED_NAME
        self._host.write(applied, self._digest().encode(), mode=PUBLIC_FILE)

    async def reach_target(self) -> None:
        """Tell systemd that all of it belongs together; stopping the target stops everything."""
        await self._host.run("systemctl", "start", "--no-block", TARGET)

    async def wait(self, seconds_max: float = HEALTH_SECONDS_MAX) -> None:
        """Wait until the public port says that everything behind it answers.

        A slow machine may take as long as it needs, if only one thing more is ready every
        `seconds_max`. Raises TimedOutError naming what does not run, with the last line of its log.
        """
        most = 0
        end = self._clock.monotonic_seconds() + seconds_max
        look_at = self._clock.monotonic_seconds() + _LOOK_SECONDS
        while not await self.answers():
            now = self._clock.monotonic_seconds()
            if now > end:
                raise await self._silent(seconds_max)
            if now > look_at:
                states = await self.states()
                done = sum(state == "active" for state in states.values())
                self._progress.amount(done, len(states), "units")
                ready = done + await self._components_ready()
                now = self._clock.monotonic_seconds()
                look_at = now + _LOOK_SECONDS
                if ready > most:
                    most, end = ready, now + seconds_max
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _components_ready(self) -> int:
        """How many components are ready or have done their work, as the supervisor says."""
        with suppress(OSError, ApplianceError):
            path = self._settings.folders.control_socket
            request = Request(command=Command.STATUS)
            answer = await asyncio.to_thread(ask_supervisor, path, request)
            return sum(one.ready for one in answer.components)
        return 0

    async def answers(self) -> bool:
        """Whether the public port is answered, and everything behind it is ready."""
        host, port = local_address(self._settings)
        secure = find_tls(self._settings) is not None
        with suppress(OSError, EOFError, TimeoutError, ApplianceError):
            async with asyncio.timeout(_ASK_SECONDS_MAX):
                answer = await http_get(host, port, "/readyz", secure=secure, verify=False)
                return answer.status == HTTP_OK
        return False

    async def states(self) -> dict[str, str]:
        """`active`, `activating`, `failed`, … of every unit that is to run."""
        running = [name for name in self._units if name.endswith((".service", ".socket"))]
        said = await self._host.run("systemctl", "is-active", *running, check=False)
        return dict(zip(running, said.output.split(), strict=False))

    async def stop(self) -> None:
        """Stop everything of ours, the public port last of all services."""
        await self._host.run(
            "systemctl",
            "stop",
            TARGET,
            *self._units,
            timeout_seconds=_STOP_SECONDS_MAX,
            check=False,
        )

    def _wanted(self) -> tuple[str, ...]:
        """What the target starts, but not `recover`."""
        wants = parse_unit(self._units[TARGET])["Unit"].get("Wants", ("",))[0].split()
        return tuple(name for name in wants if name != RECOVER)

    def _remove_stale(self) -> bool:
        """Remove unit files that this release does not have."""
        stale = [
            path
            for pattern in UNIT_PATTERNS
            for path in self._layout.unit_dir.glob(pattern)
            if path.is_file() and path.name not in self._units
        ]
        for path in stale:
            self._host.remove(path)
        return bool(stale)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        if self._layout.config_file.exists():
            digest.update(self._layout.config_file.read_bytes())
        for name in sorted(self._units):
            digest.update(f"\0{name}\0{self._units[name]}".encode())
        return digest.hexdigest()

    async def _silent(self, seconds: float) -> TimedOutError:
        states = await self.states()
        waiting = [name for name, state in states.items() if state not in _READY]
        name = waiting[0] if waiting else "pug-appliance.service"
        said = await self._host.run(
            "journalctl", "--no-pager", "-o", "cat", "-n", "1", "-u", name, check=False
        )
        last = said.output.strip() or "it has said nothing"
        return TimedOutError(
            "NOT_ANSWERING",
            f"not everything answers, and nothing more in the last {seconds:.0f} s; {name} is "
            f"{states.get(name, 'unknown')}: {last}",
            hint=f"see `journalctl -u {name}` and `pug-appliance doctor`, then run install again",
        )
