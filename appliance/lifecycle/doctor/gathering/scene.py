"""Which installation the doctor stands in front of, found without anything having to work.

Invariant: a broken, missing or unreadable configuration file ends nothing; what could not be
understood is at its default, and the facts say so. Nothing is written.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, NotFoundError
from appliance.config.endpoints import (
    ClickHouseEndpoint,
    NatsEndpoint,
    Ports,
    PostgresEndpoint,
    default_ports,
    load_ports,
    resolve_clickhouse,
    resolve_nats,
    resolve_postgres,
)
from appliance.config.folders import Folders
from appliance.config.load import inspect_settings
from appliance.config.model import DEFAULT_CONFIG_FILE, Settings, Supervision, TlsMode
from appliance.config.sources import CONFIG_FILE_VARIABLE, Origin
from appliance.config.tls import BUNDLE_NAME, tls_folder
from appliance.lifecycle.doctor.facts import ConfigFacts, Mode, PlaceFacts, Subject, Unseen
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.host import Host
from appliance.lifecycle.layout import Layout, find_prefix, load_layout
from appliance.version import RELEASE, RELEASE_NUMBER

ROOT_ONLY: Final = "only root may look; run it with sudo"
_SYSTEMD_MARK: Final = Path("/run/systemd/system")
_NOTHING: Final[dict[str, str]] = {}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line was told about the installation."""

    config_file: Path | None = None
    flags: Mapping[str, str] = _NOTHING
    environment: Mapping[str, str] = _NOTHING
    prefix: Path | None = None


class Scene:
    """One installation, ready to be looked at; `unseen` grows while one looks."""

    def __init__(
        self,
        *,
        settings: Settings,
        config: ConfigFacts,
        place: PlaceFacts,
        layout: Layout | None,
        origins: dict[str, Origin],
        host: Host,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.config = config
        self.place = place
        self.layout = layout
        self.origins = origins
        self.host = host
        self.clock = clock
        self.systemd = _SYSTEMD_MARK.exists()
        self.unseen: list[Unseen] = []

    @property
    def folders(self) -> Folders:
        """The paths of the data directory."""
        return self.settings.folders

    async def ports(self) -> Ports:
        """The ports in use, or those the settings ask for."""
        try:
            return await in_thread(lambda: load_ports(self.settings))
        except (OSError, msgspec.DecodeError):
            return default_ports(self.settings)

    async def is_secure(self) -> bool:
        """Whether the public port speaks HTTPS, as far as we may see."""
        try:
            return await in_thread(self.has_certificate)
        except OSError:
            return False

    def has_certificate(self) -> bool:
        """Whether there should be a certificate; raises PermissionError where we may not look."""
        tls = self.settings.tls
        if tls.mode is TlsMode.OFF:
            return False
        if tls.mode is TlsMode.ON or tls.certificate is not None:
            return True
        folder = self.layout.tls if self.layout is not None else tls_folder(self.settings)
        return (folder / BUNDLE_NAME).exists()

    async def postgres(self) -> PostgresEndpoint:
        """Where PostgreSQL answers; raises MisconfiguredError without its secret."""
        port = (await self.ports()).postgres
        return await in_thread(lambda: resolve_postgres(self.settings, port, self.folders.secrets))

    async def nats(self) -> NatsEndpoint:
        """Where the queue answers; raises MisconfiguredError without its secret."""
        port = (await self.ports()).nats
        return await in_thread(lambda: resolve_nats(self.settings, port, self.folders.secrets))

    async def clickhouse(self) -> ClickHouseEndpoint:
        """Where the event store answers; raises MisconfiguredError without its secret."""
        port = (await self.ports()).clickhouse
        return await in_thread(
            lambda: resolve_clickhouse(self.settings, port, self.folders.secrets)
        )

    def blind(self, subject: Subject, what: str, why: str) -> None:
        """Note that something could not be looked at."""
        seen = Unseen(subject=subject, what=what, why=why)
        if seen not in self.unseen:
            self.unseen.append(seen)


def find_scene(wanted: Wanted, *, host: Host, clock: Clock) -> Scene:
    """The installation that the command line means; never fails."""
    layout = _find_layout(wanted)
    file = _config_file(wanted, layout)
    settings, config, origins = _read_settings(wanted, file)
    if layout is not None:
        if config.unreadable or config.error:
            # What the file says is unknown, where the data is was written down at install.
            settings = msgspec.structs.replace(
                settings,
                data_dir=layout.data_dir,
                secrets_dir=layout.secrets,
                supervision=Supervision.SYSTEMD,
            )
        if settings.data_dir != layout.data_dir:
            layout = None
    place = PlaceFacts(
        mode=Mode.INSTALLED if layout is not None else Mode.DEVELOPER,
        data_dir=str(settings.data_dir),
        config_file=str(file) if file is not None else "",
        root=os.geteuid() == 0,
        release=RELEASE,
        release_number=RELEASE_NUMBER,
        now=clock.now(),
    )
    return Scene(
        settings=settings,
        config=config,
        place=place,
        layout=layout,
        origins=origins,
        host=host,
        clock=clock,
    )


def _find_layout(wanted: Wanted) -> Layout | None:
    try:
        return load_layout(wanted.prefix or find_prefix())
    except NotFoundError:
        return None


def _config_file(wanted: Wanted, layout: Layout | None) -> Path | None:
    if wanted.config_file is not None:
        return wanted.config_file
    if wanted.environment.get(CONFIG_FILE_VARIABLE):
        return Path(wanted.environment[CONFIG_FILE_VARIABLE])
    if "data_dir" in wanted.flags and layout is not None:
        data_dir = Path(wanted.flags["data_dir"]).expanduser().absolute()
        return layout.config_file if data_dir == layout.data_dir else None
    if layout is not None:
        return layout.config_file
    return DEFAULT_CONFIG_FILE if DEFAULT_CONFIG_FILE.exists() else None


def _read_settings(
    wanted: Wanted, file: Path | None
) -> tuple[Settings, ConfigFacts, dict[str, Origin]]:
    error, hint, unreadable = "", "", ""
    try:
        loaded = inspect_settings(
            config_file=file, environment=wanted.environment, flags=wanted.flags
        )
    except ApplianceError as found:
        if isinstance(found.__cause__, PermissionError):
            unreadable = str(file)
        else:
            error, hint = found.message, found.hint
        loaded = inspect_settings(config_file=Path(os.devnull), environment={}, flags=wanted.flags)
    facts = ConfigFacts(
        error=error,
        hint=hint,
        problems=tuple(map(str, loaded.problems)),
        without_effect=loaded.without_effect,
        unreadable=unreadable,
    )
    return loaded.settings, facts, loaded.origins
