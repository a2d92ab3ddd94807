"""The source tree a release is frozen from: this clone, what is laid over it, and its version.

Invariant: the clone is only read. What a test lays over it (a migration more, a broken program)
changes the copy, so a second release for an upgrade test costs no edit.
"""

import re
import shutil
from pathlib import Path
from typing import Final

import msgspec

from bundle.places import REPOSITORY

_PARTS: Final = ("appliance", "docs", "systemd", "bundle")
_FILES: Final = ("LICENSE", "NOTICE", "CHANGELOG.md")
_UNWANTED: Final = ("__pycache__", "*.pyc", "node_modules", ".*")
_VERSION_FILE: Final = "appliance/version.py"
_RELEASE: Final = re.compile(r'^RELEASE: Final = "(?P<value>[^"]+)"$', re.MULTILINE)
_NUMBER: Final = re.compile(r"^RELEASE_NUMBER: Final = (?P<value>[0-9]+)$", re.MULTILINE)
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.-]+)?")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A complete source tree and the release it says it is."""

    folder: Path
    version: str
    release: int


def stage_source(
    folder: Path, *, overlay: Path | None, version: str | None, release: int | None
) -> Source:
    """Copy the clone into `folder`, lay `overlay` over it and set the version.

    Raises ValueError for a version that is none, or a source that names none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in _PARTS:
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns(*_UNWANTED))
    for name in _FILES:
        shutil.copyfile(REPOSITORY / name, folder / name)
    if overlay is not None:
        shutil.copytree(
            overlay, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_UNWANTED)
        )
    return _settle_version(folder, version, release)


def _settle_version(folder: Path, version: str | None, release: int | None) -> Source:
    path = folder / _VERSION_FILE
    text = path.read_text(encoding="utf-8")
    if version is not None:
        if _VERSION.fullmatch(version) is None:
            raise ValueError(f"{version!r} is no version like 1.2.3")
        text = _RELEASE.sub(f'RELEASE: Final = "{version}"', text)
    if release is not None:
        text = _NUMBER.sub(f"RELEASE_NUMBER: Final = {release}", text)
    path.write_text(text, encoding="utf-8")
    named, number = _RELEASE.search(text), _NUMBER.search(text)
    if named is None or number is None:
        raise ValueError(f"{_VERSION_FILE} names no RELEASE or no RELEASE_NUMBER")
    return Source(folder=folder, version=named["value"], release=int(number["value"]))


def own_modules(folder: Path) -> list[str]:
    """Every module of the appliance: its commands are imported by name, so nothing leads there."""
    found: list[str] = []
    for path in sorted((folder / "appliance").rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def own_data(folder: Path) -> list[tuple[str, str]]:
    """Files of the appliance that are no modules, with the folder each goes to.

    The .proto sources and the dashboard's sources stay behind: nothing reads them at run time.
    """
    found: list[tuple[str, str]] = []
    for path in sorted((folder / "appliance").rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or path.suffix in {".py", ".proto", ".pyi", ".md"}:
            continue
        found.append((str(path), relative.parent.as_posix()))
    return found
