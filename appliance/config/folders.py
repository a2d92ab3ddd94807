"""Where everything of one installation lies.

Invariant: `Settings.folders` makes this, and nothing else builds these paths; a path here says
nothing about who owns it, see `lifecycle/layout.py` for an installed appliance.
"""

from pathlib import Path

import msgspec


class Folders(msgspec.Struct, frozen=True, kw_only=True):
    """Where things lie inside `data_dir`; nothing else builds these paths.

    Made by `Settings.folders`, because secrets may lie elsewhere.
    """

    root: Path
    secrets_dir: Path | None = None

    @property
    def secrets(self) -> Path:
        return self.secrets_dir or self.root / "secrets"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def clickhouse(self) -> Path:
        return self.root / "clickhouse"

    @property
    def ballast_file(self) -> Path:
        return self.root / "spool" / "ballast"

    @property
    def places_file(self) -> Path:
        return self.root / "geo" / "places.mmdb"

    @property
    def erasures(self) -> Path:
        return self.root / "spool" / "erasures"

    @property
    def imports(self) -> Path:
        return self.root / "imports"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def ports_file(self) -> Path:
        return self.run / "ports.json"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def lock_file(self) -> Path:
        return self.run / "appliance.lock"

    @property
    def connection_file(self) -> Path:
        return self.root / "connection.json"
