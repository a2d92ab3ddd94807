"""Install a release from its unpacked bundle: accounts, folders, files, secrets, units, start.

Invariant: every step can be repeated and only goes forward, so an install that was cut off anywhere
is finished by installing again. Nothing of an earlier installation is thrown away: configuration,
secrets and data are kept. `docs/install.md` shows it from the operator's side.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil

from appliance.base.clock import Clock
from appliance.base.files import PRIVATE_FILE, PRIVATE_FOLDER
from appliance.config.model import Settings
from appliance.config.tls import find_tls
from appliance.lifecycle.facts import HostFacts, WantedPort, find_tool, gather_facts
from appliance.lifecycle.first_settings import FirstSettings, InstallOptions, choose_settings
from appliance.lifecycle.host import Host
from appliance.lifecycle.journal import Journal, Outcome
from appliance.lifecycle.layout import (
    PUBLIC_FILE,
    PUBLIC_FOLDER,
    Layout,
)
from appliance.lifecycle.operation import operation_lock
from appliance.lifecycle.preflight import PreflightFinding, Requirements, judge
from appliance.lifecycle.premises import ensure_accounts, ensure_all_secrets, ensure_folders
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.release_copy import copy_release, flush_release
from appliance.lifecycle.runner import Drill, Runner, no_drill
from appliance.lifecycle.services import Services
from appliance.lifecycle.signature import PUBLIC_SUFFIX, parse_public_key
from appliance.lifecycle.steps import Plan, Step
from appliance.lifecycle.units import render_units
from appliance.lifecycle.unpacked import UnpackedBundle, open_unpacked

KIND: Final = "install"
_SELINUX: Final = Path("/sys/fs/selinux/enforce")
_LABEL_SECONDS_MAX: Final = 300.0
_LOOPBACK: Final = ("127.", "::1")
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 compared, not bound


class PreparedInstall(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known before anything is changed."""

    bundle: UnpackedBundle
    chosen: FirstSettings
    facts: HostFacts
    findings: tuple[PreflightFinding, ...]

    @property
    def url(self) -> str:
        """Where clients reach the public port."""
        settings = self.chosen.settings
        host = settings.api.host
        if host in _EVERYWHERE:
            host = next(_addresses(), self.facts.hostname)
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if find_tls(settings) is None else "https"
        return f"{scheme}://{shown}:{settings.api.port}"


def prepare_install(
    folder: Path, options: InstallOptions, *, clock: Clock, base: Layout | None = None
) -> PreparedInstall:
    """Look at the bundle, the options and the machine; nothing is changed.

    Raises BundleRefusedError for a bundle that is not believed and MisconfiguredError for a
    configuration with problems.
    """
    chosen = choose_settings(options, base)
    layout = chosen.layout
    bundle = open_unpacked(folder, pinned=options.trusted_key, trusted_keys=layout.trusted_keys)
    facts = gather_facts(layout, wanted_ports(chosen.settings), clock=clock)
    manifest = bundle.manifest
    wanted = Requirements(
        version=manifest.version,
        architecture=manifest.architecture,
        glibc=manifest.glibc,
        size_bytes=manifest.total_bytes,
        source_date=manifest.source_date,
        prefix=layout.prefix,
        command=layout.command,
        config_file=layout.config_file,
        options_given=chosen.without_effect,
    )
    return PreparedInstall(bundle=bundle, chosen=chosen, facts=facts, findings=judge(facts, wanted))


def wanted_ports(settings: Settings) -> tuple[WantedPort, ...]:
    """The ports of an installation with systemd: the public one, and those of our engines."""
    loopback = "127.0.0.1"
    ports = [
        WantedPort(
            purpose="public", setting="--port", host=settings.api.host, port=settings.api.port
        )
    ]
    for purpose, setting, external, port in (
        ("queue", "nats.port", settings.nats.url, settings.nats.port),
        ("event store", "clickhouse.port", settings.clickhouse.url, settings.clickhouse.port),
    ):
        if external is None:
            key = f"{setting} in a file given with --config"
            ports.append(WantedPort(purpose=purpose, setting=key, host=loopback, port=port))
    return tuple(ports)


class Installer:
    """One install, prepared before."""

    def __init__(
        self, prepared: PreparedInstall, *, host: Host, progress: Progress, clock: Clock
    ) -> None:
        self._bundle = prepared.bundle
        self._layout = prepared.chosen.layout
        self._config_text = prepared.chosen.text
        self._host = host
        self._progress = progress
        self._clock = clock
        self._renewed = False
        self._services = Services(
            render_units(self._layout, prepared.chosen.settings),
            layout=self._layout,
            settings=prepared.chosen.settings,
            host=host,
            progress=progress,
            clock=clock,
        )

    def plan(self) -> Plan:
        """The steps, in order."""
        return Plan(
            kind=KIND,
            steps=(
                Step(name="accounts", title="making accounts", do=self._make_accounts),
                Step(name="folders", title="making folders", do=self._make_folders),
                Step(name="release", title="verifying and copying files", do=self._copy_release),
                Step(name="keys", title="trusting the publisher's key", do=self._trust_keys),
                Step(name="secrets", title="making secrets", do=self._make_secrets),
                Step(name="config", title="writing the configuration", do=self._write_config),
                Step(name="links", title="linking the command", do=self._make_links),
                Step(name="labels", title="setting SELinux labels", do=self._set_labels),
                Step(name="units", title="writing systemd units", do=self._services.write),
                Step(name="start", title="starting services", do=self._start),
                # While the services start; before it, a power cut could leave half a release.
                Step(name="disk", title="having everything on disk", do=self._flush),
            ),
        )

    async def run(self, *, drill: Drill = no_drill) -> None:
        """Install, and wait until the public port says that everything answers.

        Raises ConflictError when another operation has not ended, and the error of the step that
        failed; installing again goes on.
        """
        # Before there is a journal, its folder: everything else is a step.
        self._host.make_folder(self._layout.prefix, mode=PUBLIC_FOLDER)
        self._host.make_folder(self._layout.journal, mode=PRIVATE_FOLDER)
        with operation_lock(self._layout):
            await self.put_in_place(drill=drill)
            # A boot starts everything by itself from here on, so nothing is left to resume.
            await self._services.reach_target()
            await self._wait_for_health()

    async def put_in_place(self, *, drill: Drill = no_drill) -> None:
        """Do the journalled steps; an install that was cut off is begun again."""
        earlier = Journal.load(self._layout.journal)
        if earlier is not None and earlier.operation.kind == KIND:
            # Its steps look at the machine and are quick where nothing is to do, so none is left
            # out: the bundle may be another one, and whoever was here in between is not known.
            earlier.close(Outcome.UNDONE)
        parameters = {"source": str(self._bundle.folder), "version": self._bundle.manifest.version}
        journal = Journal.begin(self._layout.journal, KIND, parameters, clock=self._clock)
        runner = Runner(journal=journal, progress=self._progress, clock=self._clock, drill=drill)
        await runner.run(self.plan())

    async def _wait_for_health(self) -> None:
        name = "health"
        self._progress.begin(name, "waiting until everything answers")
        started = self._clock.monotonic_seconds()
        await self._services.wait()
        self._progress.end(name, self._clock.monotonic_seconds() - started)

    async def _start(self) -> None:
        await self._services.start(renewed=self._renewed)

    async def _flush(self) -> None:
        await flush_release(self._layout.release(self._bundle.manifest.version))

    async def _make_accounts(self) -> None:
        await ensure_accounts(self._host)

    async def _make_folders(self) -> None:
        ensure_folders(self._layout, self._host)

    async def _copy_release(self) -> None:
        manifest = self._bundle.manifest
        self._renewed = await copy_release(
            self._bundle.folder,
            self._layout.release(manifest.version),
            manifest.files,
            sealed=self._bundle.sealed,
            beside=self._layout.staging,
            progress=self._progress,
        )

    async def _trust_keys(self) -> None:
        keys = [self._bundle.key]
        if not self._layout.layout_file.exists():
            keys += map(parse_public_key, self._bundle.manifest.keys)
        # A repair trusts no key again that was retired meanwhile; upgrades bring fresh ones.
        for key in keys:
            path = self._layout.trusted_keys / f"{key.id}{PUBLIC_SUFFIX}"
            self._host.write(path, f"{key.text}\n".encode(), mode=PUBLIC_FILE)

    async def _make_secrets(self) -> None:
        ensure_all_secrets(self._layout)

    async def _write_config(self) -> None:
        if self._config_text is not None and not self._layout.config_file.exists():
            self._host.write(
                self._layout.config_file, self._config_text.encode(), mode=PRIVATE_FILE
            )

    async def _make_links(self) -> None:
        version = self._bundle.manifest.version
        self._host.link(self._layout.current, Path("releases", version))
        self._layout.save()
        self._host.make_folder(self._layout.command.parent, mode=PUBLIC_FOLDER)
        self._host.link(self._layout.command, self._layout.binary)

    async def _set_labels(self) -> None:
        if not _SELINUX.exists():
            return
        restorecon = find_tool("restorecon")
        if restorecon is None:
            self._progress.note("SELinux is on and restorecon is missing; labels were not set")
            return
        places = (self._layout.prefix, self._layout.config_dir, self._layout.data_dir)
        await self._host.run(
            restorecon, "-R", *map(str, places), timeout_seconds=_LABEL_SECONDS_MAX
        )
        self._progress.note("SELinux labels were set by restorecon")


def _addresses() -> Iterator[str]:
    """The addresses of this machine that others can reach, IPv4 first."""
    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in {socket.AF_INET, socket.AF_INET6}
        and not address.address.startswith((*_LOOPBACK, "fe80"))
    ]
    yield from sorted(found, key=lambda address: ":" in address)
