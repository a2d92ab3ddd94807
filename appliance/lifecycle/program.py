"""Another release, asked and used over its command line.

Invariant: only the program of a release knows its units and its migrations; nobody guesses them.
"""

import shutil
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import DamagedError
from appliance.base.files import ensure_folder
from appliance.lifecycle.host import Host
from appliance.lifecycle.layout import BINARY_NAME, Layout

STORES: Final = ("nats", "postgres", "clickhouse")
"""In the order of migration: what is sent must be storable before what is stored is read."""
_MIGRATION_SECONDS_MAX: Final = 3600.0
_RENDERED: Final = "units-of"


class ReleaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `schema --json` prints: newest migrations, oldest ones that can serve, engine code."""

    schema: dict[str, int]
    schema_compatible: dict[str, int]
    engine_code: dict[str, str] = {}


class Program:
    """The program of one installed release."""

    def __init__(self, layout: Layout, version: str, host: Host) -> None:
        self._layout = layout
        self.version = version
        self._host = host

    @property
    def path(self) -> Path:
        """The executable."""
        return self._layout.release(self.version) / BINARY_NAME

    async def facts(self) -> ReleaseFacts:
        """What the release says of itself; raises DamagedError when that cannot be read."""
        said = await self._host.run(str(self.path), "schema", "--json")
        try:
            return msgspec.json.decode(said.output, type=ReleaseFacts)
        except msgspec.DecodeError as error:
            raise DamagedError(
                "RELEASE_SILENT", f"release {self.version} does not describe itself"
            ) from error

    async def units(self) -> dict[str, str]:
        """The units of this release for the settings in force, by name."""
        folder = ensure_folder(self._layout.journal / f"{_RENDERED}-{self.version}")
        try:
            await self._host.run(
                str(self.path), "systemd", "render", "--output", str(folder), *self._settings()
            )
            return {path.name: path.read_text() for path in sorted(folder.iterdir())}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def ensure_premises(self) -> None:
        """Have the accounts, folders and secrets the release needs."""
        await self._host.run(str(self.path), "premises", "--prefix", str(self._layout.prefix))

    async def migrate(self) -> None:
        """Bring the three stores to the schema of this release; the release before goes on."""
        for store in STORES:
            await self._host.run(
                *(str(self.path), store, "migrate", *self._settings()),
                timeout_seconds=_MIGRATION_SECONDS_MAX,
            )

    def _settings(self) -> tuple[str, str]:
        return ("--config", str(self._layout.config_file))
