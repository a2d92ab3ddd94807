"""The bundles that the guest tests install: made by `scripts/bundle`, each once."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.guest import Guest

BUILD_SECONDS_MAX: Final = 900
_MIGRATIONS: Final = "appliance/storage/postgres/migrations"


class Releases:
    """Bundles of one signing key in a folder; a bundle is built when it is first asked for.

    `fast` builds them sooner and 4 % larger than what users get.
    """

    def __init__(self, repository: Path, folder: Path, *, fast: bool = True) -> None:
        self._repository = repository
        self._folder = folder
        self._fast = fast
        self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def first(self) -> Path:
        """The release that is installed at the beginning: this tree as it is."""
        return self._bundle("0.1.0", 1)

    @property
    def first_name(self) -> str:
        """The folder in the first bundle."""
        return self.first.name.removesuffix(".tar.gz")

    @property
    def second(self) -> Path:
        """A later release whose schema has one more migration."""
        overlay = self._migrating(
            "second",
            "add_airgap_notes",
            "-- A table of the guest tests; adding it locks nothing.\n"
            "CREATE TABLE airgap_notes (id text PRIMARY KEY, note text NOT NULL);\n",
        )
        return self._bundle("0.2.0", 2, overlay)

    @property
    def delta(self) -> Path:
        """Only what changed from the first to the second release."""
        target = self._folder / "pug-appliance-0.2.0-from-0.1.0-linux-x86_64.tar.gz"
        if not target.exists():
            base = self.first
            whole = self.second
            self._build("0.2.0", 2, self._overlay("second"), "--from", str(base))
            assert whole.exists()
        return target

    @property
    def broken(self) -> Path:
        """A later release whose API never gets ready."""
        overlay = self._ended_at_import("broken", "appliance/cli/server.py")
        return self._bundle("0.3.0", 3, overlay)

    @property
    def unsteady(self) -> Path:
        """A later release whose API answers but whose worker ends: only the gate sees it."""
        overlay = self._ended_at_import("unsteady", "appliance/cli/worker.py")
        return self._bundle("0.4.0", 4, overlay)

    @property
    def unmigratable(self) -> Path:
        """A later release whose migration fails."""
        overlay = self._migrating(
            "unmigratable", "add_nonsense", "-- Fails.\nCREATE TABLE nonsense (id no_such_type);\n"
        )
        return self._bundle("0.5.0", 5, overlay)

    def unpack_into(self, guest: Guest, bundle: Path) -> None:
        """Copy a bundle into a guest as an operator does, and unpack it with tar."""
        self.copy_into(guest, bundle)
        guest.run("tar", "xzf", bundle.name)

    def copy_into(self, guest: Guest, bundle: Path) -> None:
        """Put a bundle into root's home of a guest: the stick."""
        shutil.copyfile(bundle, guest.inside(f"/root/{bundle.name}"))

    def _overlay(self, name: str) -> Path:
        return self._folder / f"overlay-{name}"

    def _ended_at_import(self, name: str, module: str) -> Path:
        """An overlay in which a module of this tree ends every program that imports it."""
        overlay = self._overlay(name)
        target = overlay / module
        target.parent.mkdir(parents=True, exist_ok=True)
        source = (self._repository / module).read_text()
        target.write_text(source.rstrip() + '\n\nraise SystemExit("this release is broken")\n')
        return overlay

    def _migrating(self, name: str, title: str, statements: str) -> Path:
        """An overlay with one more migration of PostgreSQL."""
        overlay = self._overlay(name)
        number = _next_migration(self._repository / _MIGRATIONS)
        target = overlay / _MIGRATIONS / f"{number}_{title}.sql"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(statements)
        return overlay

    def _bundle(self, version: str, number: int, overlay: Path | None = None) -> Path:
        path = self._folder / f"pug-appliance-{version}-linux-x86_64.tar.gz"
        if not path.exists():
            self._build(version, number, overlay)
        return path

    def _build(self, version: str, number: int, overlay: Path | None, *more: str) -> None:
        options = ["--version", version, "--release", str(number), *more]
        if self._fast:
            options += ["--fast"]
        if overlay is not None:
            options += ["--overlay", str(overlay)]
        subprocess.run(
            [
                str(self._repository / "scripts/bundle"),
                *("--output", str(self._folder)),
                *("--key", str(self._key())),
                *options,
            ],
            check=True,
            timeout=BUILD_SECONDS_MAX,
        )

    def _key(self) -> Path:
        key = self._folder / "signing.key"
        if not key.exists():
            subprocess.run(
                [
                    str(self._repository / ".venv/bin/pug-appliance"),
                    *("signing", "keygen", str(key)),
                ],
                check=True,
            )
        return key


def _next_migration(folder: Path) -> str:
    newest = max(int(path.name[:4]) for path in folder.glob("[0-9]*.sql"))
    return f"{newest + 1:04d}"
