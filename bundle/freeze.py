"""Freezing: PyInstaller in a process of its own, and what it found.

Invariant: PyInstaller runs in an environment built from nothing with a fixed hash seed and date,
and its warnings about modules that are missing are compared with nothing but our own excludes.
"""

import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from bundle.places import ENGINE_PACKAGES, REPOSITORY, SUBSTITUTES
from bundle.source import Source, own_data, own_modules

_SECONDS_MAX: Final = 600.0
_SPEC: Final = "pug-appliance.spec"
_LOADER_VARIABLE: Final = "LD_LIBRARY_PATH"


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The executable, and what belongs beside it: (path in `_internal`, source or link, kind)."""

    program: str
    files: list[tuple[str, str, str]]
    pure: list[tuple[str, str, str]]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What bundle/pug-appliance.spec is told."""

    search: list[str]
    script: str
    modules: list[str]
    data: list[tuple[str, str]]
    libraries: list[tuple[str, str]]
    excluded: list[str]
    result: str


def freeze(source: Source, work: Path, *, date: int) -> Frozen:
    """Freeze the source tree; `date` (seconds) is the only time that can get into the result.

    Raises RuntimeError with the end of PyInstaller's log when it fails.
    """
    work.mkdir(parents=True, exist_ok=True)
    result = work / "result.json"
    orders = Orders(
        # What stands in for a package is found before the package.
        search=[str(SUBSTITUTES), str(source.folder)],
        script=str(source.folder / "appliance" / "__main__.py"),
        modules=[*own_modules(source.folder), *_names("hidden-imports.txt")],
        data=[*own_data(source.folder), *_version_records()],
        libraries=_engine_bridge(),
        excluded=_names("excluded.txt"),
        result=str(result),
    )
    (work / "orders.json").write_bytes(msgspec.json.encode(orders))
    log = work / "pyinstaller.log"
    with log.open("wb") as output:
        done = subprocess.run(
            _command(work),
            cwd=work,
            env=_environment(work, date),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS_MAX,
            check=False,
        )
    if done.returncode != 0 or not result.exists():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"PyInstaller failed with {done.returncode}; the end of {log}:\n{tail}")
    return msgspec.json.decode(result.read_bytes(), type=Frozen)


def _command(work: Path) -> list[str]:
    return [
        sys.executable,
        "-P",
        "-m",
        "PyInstaller",
        "--noconfirm",
        "--clean",
        "--log-level=WARN",
        f"--workpath={work / 'pyinstaller'}",
        f"--distpath={work / 'dist'}",
        str(REPOSITORY / "bundle" / _SPEC),
    ]


def _environment(work: Path, date: int) -> dict[str, str]:
    home = work / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOURCE_DATE_EPOCH": str(date),
        # Stored, not deflated one by one: the tarball deflates modules better together, a delta
        # finds what two releases have in common, and starting has nothing to inflate.
        "PYINSTALLER_ZLIB_COMPRESSION_LEVEL": "0",
        "PYINSTALLER_CONFIG_DIR": str(home / "pyinstaller"),
    }
    if _LOADER_VARIABLE in os.environ:
        # A developer's interpreter may need it to find its own libraries.
        environment[_LOADER_VARIABLE] = os.environ[_LOADER_VARIABLE]
    return environment


def _engine_bridge() -> list[tuple[str, str]]:
    """ChDB opens the half of its binding that fits this Python by name, beside itself."""
    spec = importlib.util.find_spec("chdb")
    assert spec is not None
    assert spec.origin is not None
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    bridge = Path(spec.origin).with_name(f"libpybind11nonlimitedapi_chdb_{python}.so")
    return [(str(bridge), "chdb")]


def _version_records() -> list[tuple[str, str]]:
    """What `version` reads to say which engines it carries."""
    found: list[tuple[str, str]] = []
    for package in ENGINE_PACKAGES.values():
        distribution = metadata.distribution(package)
        folder = Path(
            str(
                distribution.locate_file(
                    f"{package.replace('-', '_')}-{distribution.version}.dist-info"
                )
            )
        )
        found.append((str(folder / "METADATA"), folder.name))
    return found


def _names(file: str) -> list[str]:
    lines = (REPOSITORY / "bundle" / file).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
