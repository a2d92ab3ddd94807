"""Where settings come from: one TOML file, the environment, flags. Later wins.

Invariant: this is the only module that reads the environment. It converts nothing; every value
keeps its origin, so that a complaint can name the line to change.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, cast

import msgspec

from appliance.base.errors import MisconfiguredError
from appliance.base.files import unwritable
from appliance.config.model import DEFAULT_CONFIG_FILE, NO_EFFECT
from appliance.config.schema import leaf_by_environment_name

CONFIG_FILE_VARIABLE: Final = "PUG_CONFIG"
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
RUNTIME_VARIABLE: Final = "RUNTIME_DIRECTORY"
CREDENTIALS_COPY: Final = "credentials"
CREDENTIAL_CONFIG: Final = "appliance.toml"
"""The settings file among a unit's credentials; its presence tells that they are ours."""
DRILL_VARIABLE: Final = "PUG_DRILL"
"""Where a rehearsed power cut happens, like `release.begun`; see docs/install.md."""
_OUR_PREFIX: Final = "PUG_"
_PROCESS_DOORS: Final = frozenset(
    {CONFIG_FILE_VARIABLE, DRILL_VARIABLE, "PUG_READY_FD", "PUG_LISTEN_FD", "PUG_GRPC_LISTEN_FD"}
)


class OriginKind(StrEnum):
    """The four kinds of source, weakest first."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value was found: the kind of source and the file, variable or flag."""

    kind: OriginKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it was found, not yet checked."""

    key: str
    found: object
    origin: Origin


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found: values by key, unknown names, and names without effect."""

    candidates: dict[str, Candidate]
    unknown: tuple[Candidate, ...]
    without_effect: tuple[str, ...]


def process_environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ  # noqa: TID251 the one home of the environment


def collect(
    *, config_file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str]
) -> Collected:
    """Gather all values of all sources; later sources win.

    Raises MisconfiguredError when the file cannot be read or is not TOML.
    """
    found: list[Candidate] = []
    unknown: list[Candidate] = []
    credentials = credentials_folder(environment)
    path = _choose_file(config_file, environment, credentials)
    if path is not None:
        found.extend(_from_file(path))
    named = leaf_by_environment_name()
    if credentials is not None:
        origin = Origin(kind=OriginKind.ENVIRONMENT, name=CREDENTIALS_VARIABLE)
        found.append(Candidate(key="secrets_dir", found=str(credentials), origin=origin))
    for name, text in environment.items():
        origin = Origin(kind=OriginKind.ENVIRONMENT, name=name)
        if name in named:
            found.append(Candidate(key=named[name].key, found=text, origin=origin))
        elif name.startswith(_OUR_PREFIX) and name not in NO_EFFECT | dict.fromkeys(
            _PROCESS_DOORS, ""
        ):
            unknown.append(Candidate(key=name, found=text, origin=origin))
    found.extend(
        Candidate(key=key, found=text, origin=Origin(kind=OriginKind.FLAG, name=f"--set {key}"))
        for key, text in flags.items()
    )
    return Collected(
        candidates={candidate.key: candidate for candidate in _preferred(found)},
        unknown=tuple(unknown),
        without_effect=tuple(name for name in NO_EFFECT if name in environment),
    )


def _preferred(found: list[Candidate]) -> Iterator[Candidate]:
    """Weakest first; of two environment names of one key the one the model lists first wins."""
    named = leaf_by_environment_name()

    def rank(candidate: Candidate) -> tuple[int, int]:
        kinds = list(OriginKind)
        if candidate.origin.kind is not OriginKind.ENVIRONMENT:
            return kinds.index(candidate.origin.kind), 0
        if candidate.origin.name == CREDENTIALS_VARIABLE:
            return kinds.index(candidate.origin.kind), -len(leaf_by_environment_name())
        names = named[candidate.origin.name].environment
        return kinds.index(candidate.origin.kind), -names.index(candidate.origin.name)

    yield from sorted(found, key=rank)


def credentials_folder(environment: Mapping[str, str]) -> Path | None:
    """The credentials that our unit got from systemd; a folder of somebody else's is none.

    systemd before 253 keeps them from commands that run after the start, so `engine exec` leaves
    a copy for the one that follows it.
    """
    given = environment.get(CREDENTIALS_VARIABLE)
    own = environment.get(RUNTIME_VARIABLE)
    for folder in (given and Path(given), own and Path(own, CREDENTIALS_COPY)):
        if folder and os.access(folder / CREDENTIAL_CONFIG, os.R_OK):
            return folder
    return None


def _choose_file(
    config_file: Path | None, environment: Mapping[str, str], credentials: Path | None
) -> Path | None:
    if config_file is not None:
        return config_file
    if environment.get(CONFIG_FILE_VARIABLE):
        return Path(environment[CONFIG_FILE_VARIABLE])
    if credentials is not None:
        return credentials / CREDENTIAL_CONFIG
    return DEFAULT_CONFIG_FILE if os.access(DEFAULT_CONFIG_FILE, os.R_OK) else None


def _from_file(path: Path) -> Iterator[Candidate]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MisconfiguredError(
            "CONFIG_MISSING",
            f"the configuration file {path} does not exist",
            hint="create it, or name another with --config",
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MisconfiguredError(
            "CONFIG_UNREADABLE", f"{path} is not TOML: {error}", hint="correct that line"
        ) from error
    yield from _flatten(tree, "", Origin(kind=OriginKind.FILE, name=str(path)))


def _flatten(tree: Mapping[str, object], prefix: str, origin: Origin) -> Iterator[Candidate]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(cast("dict[str, object]", value), f"{prefix}{name}.", origin)
        else:
            yield Candidate(key=f"{prefix}{name}", found=value, origin=origin)
