"""Every path of an installed appliance, with its owner and mode; nothing else builds these paths.

Invariant: an installation is described by one `Layout`, written to `<prefix>/layout.json` at
install, so that every later command works on the same paths. A release folder is never changed.
"""

import sys
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import NotFoundError
from appliance.base.files import write_atomic

APPLIANCE_USER: Final = "pug"
POSTGRES_USER: Final = "pug-postgres"
NATS_USER: Final = "pug-nats"
CLICKHOUSE_USER: Final = "pug-clickhouse"
USERS: Final = (APPLIANCE_USER, POSTGRES_USER, NATS_USER, CLICKHOUSE_USER)

BINARY_NAME: Final = "pug-appliance"
MANIFEST_NAME: Final = "manifest.json"
SIGNATURE_NAME: Final = "manifest.sig"

DEFAULT_PREFIX: Final = Path("/opt/pug")
DEFAULT_DATA_DIR: Final = Path("/var/lib/pug")
DEFAULT_CONFIG_FILE: Final = Path("/etc/pug/appliance.toml")

PUBLIC_FILE: Final = 0o644
PUBLIC_FOLDER: Final = 0o755
PASSAGE_FOLDER: Final = 0o711

_LAYOUT_NAME: Final = "layout.json"


class OwnedFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of the installation: who owns it (user and group have one name) and its mode."""

    path: Path
    owner: str
    mode: int


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where one installation keeps its programs, settings and data."""

    prefix: Path = DEFAULT_PREFIX
    config_file: Path = DEFAULT_CONFIG_FILE
    data_dir: Path = DEFAULT_DATA_DIR
    unit_dir: Path = Path("/etc/systemd/system")
    command: Path = Path("/usr/local/bin/pug-appliance")

    @property
    def releases(self) -> Path:
        """Holds one immutable folder for each installed release."""
        return self.prefix / "releases"

    def release(self, version: str) -> Path:
        """The folder of one release."""
        return self.releases / version

    @property
    def current(self) -> Path:
        """The symbolic link to the release in use; replacing it is the switch of an upgrade."""
        return self.prefix / "current"

    @property
    def previous(self) -> Path:
        """The symbolic link to the release before, where `rollback` goes."""
        return self.prefix / "previous"

    @property
    def bridge(self) -> Path:
        """The symbolic link to the release that answers the public port during an upgrade."""
        return self.prefix / "bridge"

    @property
    def binary(self) -> Path:
        """The program of the release in use."""
        return self.current / BINARY_NAME

    @property
    def sandbox(self) -> Path:
        """The root folder of the engines: empty, systemd mounts what they may see into it."""
        return self.prefix / "sandbox"

    @property
    def staging(self) -> Path:
        """Where a bundle is verified before anything else changes; root only."""
        return self.prefix / "staging"

    @property
    def journal(self) -> Path:
        """The journals of the operations that changed this installation; root only."""
        return self.prefix / "journal"

    @property
    def open_journal(self) -> Path:
        """The journal of an operation that has not ended; it exists only then."""
        return self.journal / "open.jsonl"

    @property
    def layout_file(self) -> Path:
        """The description on disk."""
        return self.prefix / _LAYOUT_NAME

    @property
    def config_dir(self) -> Path:
        """Settings, secrets, trusted keys and certificates."""
        return self.config_file.parent

    @property
    def secrets(self) -> Path:
        """The secret files; root only, handed to the units as credentials."""
        return self.config_dir / "secrets"

    @property
    def trusted_keys(self) -> Path:
        """The public keys whose bundles are accepted."""
        return self.config_dir / "trusted-keys"

    @property
    def tls(self) -> Path:
        """Certificate and key of the public port."""
        return self.config_dir / "tls"

    @property
    def backups(self) -> Path:
        """The default target of backups, and the restore points."""
        return self.data_dir / "backups"

    @property
    def postgres_socket(self) -> Path:
        """The folder of PostgreSQL's Unix socket, made by its unit."""
        return Path("/run/pug-postgres")

    def folders(self) -> tuple[OwnedFolder, ...]:
        """Every folder outside the releases, parents first."""
        root = "root"
        return (
            OwnedFolder(path=self.prefix, owner=root, mode=PUBLIC_FOLDER),
            OwnedFolder(path=self.releases, owner=root, mode=PUBLIC_FOLDER),
            OwnedFolder(path=self.sandbox, owner=root, mode=PUBLIC_FOLDER),
            OwnedFolder(path=self.staging, owner=root, mode=0o700),
            OwnedFolder(path=self.journal, owner=root, mode=0o700),
            OwnedFolder(path=self.config_dir, owner=root, mode=PUBLIC_FOLDER),
            OwnedFolder(path=self.secrets, owner=root, mode=0o700),
            OwnedFolder(path=self.trusted_keys, owner=root, mode=PUBLIC_FOLDER),
            OwnedFolder(path=self.tls, owner=root, mode=0o700),
            OwnedFolder(path=self.data_dir, owner=root, mode=PASSAGE_FOLDER),
            OwnedFolder(path=self.data_dir / "postgres", owner=POSTGRES_USER, mode=0o700),
            OwnedFolder(path=self.data_dir / "nats", owner=NATS_USER, mode=0o700),
            OwnedFolder(path=self.data_dir / "clickhouse", owner=CLICKHOUSE_USER, mode=0o700),
            OwnedFolder(path=self.data_dir / "run", owner=APPLIANCE_USER, mode=0o700),
            OwnedFolder(path=self.data_dir / "logs", owner=APPLIANCE_USER, mode=0o700),
            OwnedFolder(path=self.data_dir / "spool", owner=APPLIANCE_USER, mode=0o700),
            OwnedFolder(path=self.backups, owner=root, mode=0o700),
        )

    def save(self) -> None:
        """Write the description where `load_layout` finds it.

        Raises MisconfiguredError when the prefix cannot be written.
        """
        content = msgspec.json.format(msgspec.json.encode(self, enc_hook=str), indent=2) + b"\n"
        write_atomic(self.layout_file, content, mode=PUBLIC_FILE)


def find_prefix(executable: Path | None = None) -> Path:
    """The prefix of the installation a program belongs to, else the default one.

    An installed program is `<prefix>/releases/<version>/pug-appliance`.
    """
    program = Path(executable or sys.executable).resolve()
    if program.name == BINARY_NAME and program.parent.parent.name == "releases":
        return program.parent.parent.parent
    return DEFAULT_PREFIX


def load_layout(prefix: Path) -> Layout:
    """The layout of an installation.

    Raises NotFoundError when nothing is installed there.
    """
    path = prefix / _LAYOUT_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Layout, dec_hook=_to_path)
    except (OSError, msgspec.DecodeError) as error:
        raise NotFoundError(
            "NOT_INSTALLED",
            f"no appliance is installed in {prefix} ({path.name} cannot be read)",
            hint="run `pug-appliance install` from the unpacked bundle, or name --prefix",
        ) from error


def _to_path(kind: type, value: object) -> Path:
    """The hook of the decoder: a layout holds nothing but paths."""
    assert kind is Path
    assert isinstance(value, str)
    return Path(value)
