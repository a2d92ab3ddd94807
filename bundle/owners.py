"""Which component a file of the build machine belongs to.

Invariant: an answer is found by record, not by resemblance: wheels list their files in RECORD, the
interpreter's files lie under its prefix, libraries of the build machine are named in a table. A
file nobody owns is an error, because nobody could say its licence.
"""

import sys
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

APPLIANCE: Final = "pug-appliance"
PYTHON: Final = "python"
BOOTLOADER: Final = "pyinstaller"

# Libraries that PyInstaller takes from the build machine, by the start of their names.
HOST_LIBRARIES: Final = {
    "libbz2.": "bzip2",
    "libcrypto.": "openssl",
    "libexpat.": "expat",
    "libffi.": "libffi",
    "libgcc_s.": "gcc",
    "liblzma.": "xz",
    "libpython": PYTHON,
    "libsqlite3.": "sqlite",
    "libssl.": "openssl",
    "libstdc++.": "gcc",
    "libuuid.": "util-linux",
    "libz.": "zlib",
}


def normalised(name: str) -> str:
    """A distribution's name as the lock spells it."""
    return name.lower().replace("_", "-").replace(".", "-")


def owner(source: Path) -> str:
    """The component of a file that lies outside our own source tree.

    Raises LookupError for a file that nobody owns.
    """
    found = _recorded().get(source.resolve())
    if found is not None:
        return found
    for start, component in HOST_LIBRARIES.items():
        if source.name.startswith(start):
            return component
    if source.resolve().is_relative_to(Path(sys.base_prefix).resolve()):
        return PYTHON
    raise LookupError(f"no component owns {source}; name it in bundle/owners.py")


@cache
def _recorded() -> dict[Path, str]:
    files: dict[Path, str] = {}
    for distribution in metadata.distributions(path=[sysconfig.get_path("purelib")]):
        name = normalised(distribution.metadata["Name"])
        for file in distribution.files or ():
            files[Path(str(distribution.locate_file(file))).resolve()] = name
    return files
