"""Every path of the installation with its mode and owner, and how strong the secrets are.

Invariant: a secret is read only to measure it, and only the measure leaves this module.
"""

import math
import os
import pwd
import stat
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from appliance.config.secrets import Secret, SecretName, secret_path
from appliance.lifecycle.doctor.facts import (
    FilesFacts,
    PathFacts,
    SecretFacts,
    SecretsFacts,
    Subject,
)
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.doctor.gathering.scene import ROOT_ONLY, Scene
from appliance.lifecycle.layout import Layout
from appliance.supervisor.account import may_read
from appliance.supervisor.spec import Account

_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
_SHARED_FOLDER: Final = 0o755
_PUBLIC_FILE: Final = 0o644
_RELEASE_MARK: Final = "release.json"
"""Lies in every data directory that was ever started on."""
_RELEASE_FILES_MAX: Final = 20_000
_SECRET_BYTES_MAX: Final = 1 << 16
_PERMISSIONS: Final = 0o7777
_HEXADECIMAL: Final = frozenset("abcdef")
_ALPHABETS: Final = (
    (frozenset(string.digits), 10),
    (_HEXADECIMAL, 6),
    (frozenset(string.ascii_lowercase) - _HEXADECIMAL, 20),
    (frozenset(string.ascii_uppercase), 26),
    (frozenset(string.punctuation + " "), 33),
)
_OTHER_LETTERS: Final = 64
_REPEATED_SHARE: Final = 4  # a text with fewer kinds of letters than a quarter of itself repeats


async def gather_files(scene: Scene) -> FilesFacts:
    """Modes and owners, as they are."""
    wanted = _wanted_installed(scene.layout) if scene.layout else _wanted_developer(scene)
    found = await in_thread(lambda: tuple(_look(scene, one) for one in wanted))
    return FilesFacts(
        paths=tuple(one for one in found if one is not None),
        barred=await in_thread(lambda: tuple(_barred(scene))),
    )


def _barred(scene: Scene) -> Iterator[tuple[str, str]]:
    """The folder on the way to each store that its owner cannot pass through."""
    for path in _engine_folders(scene):
        owner = _owner(path)
        if owner is not None and not may_read(path, owner):
            closed = [folder for folder in path.parents if not _is_open(folder)]
            yield str(closed[-1] if closed else path), _account_name(owner.uid)


def _owner(path: Path) -> Account | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return Account(uid=state.st_uid, gid=state.st_gid)


def _is_open(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IXOTH)
    except OSError:
        return True


def _wanted_developer(scene: Scene) -> Iterator[PathFacts]:
    folders = scene.folders
    used = _exists(folders.root / _RELEASE_MARK)
    yield _folder(folders.root, _SHARED_FOLDER, required=True)
    for folder in (folders.secrets, folders.run, folders.logs, *_engine_folders(scene)):
        yield _folder(folder, _PRIVATE_FOLDER, required=used)
    yield from _secret_files(folders.secrets, owner="")
    for file in (folders.ports_file, folders.connection_file, folders.control_socket):
        yield _file(file, _PRIVATE_FILE)
    yield from _private_files(folders.root / "tls")


def _engine_folders(scene: Scene) -> Iterator[Path]:
    settings, folders = scene.settings, scene.folders
    for url, folder in (
        (settings.postgres.url, folders.postgres),
        (settings.nats.url, folders.nats),
        (settings.clickhouse.url, folders.clickhouse),
    ):
        if url is None:
            yield folder


def _wanted_installed(layout: Layout) -> Iterator[PathFacts]:
    for folder in layout.folders():
        yield PathFacts(
            path=str(folder.path),
            mode=folder.mode,
            owner=folder.owner,
            exact=True,
            required=folder.path != layout.staging,
            folder=True,
        )
    yield _file(layout.config_file, _PRIVATE_FILE, owner="root", required=True)
    yield from _secret_files(layout.secrets, owner="root")
    yield from _private_files(layout.tls, owner="root")
    for path in _listed(layout.trusted_keys):
        yield _file(path, _PUBLIC_FILE, owner="root")
    for path in sorted(layout.unit_dir.glob("pug*")):
        if path.is_file():
            yield _file(path, _PUBLIC_FILE, owner="root")
    yield from _release_files(layout)


def _release_files(layout: Layout) -> Iterator[PathFacts]:
    """Nobody but root may change a program that systemd starts."""
    count = 0
    for parent, folders, names in os.walk(layout.current.resolve()):
        for name in (*folders, *names):
            count += 1
            if count > _RELEASE_FILES_MAX:
                return
            path = Path(parent, name)
            yield PathFacts(path=str(path), mode=_SHARED_FOLDER, owner="root", folder=path.is_dir())


def _secret_files(folder: Path, *, owner: str) -> Iterator[PathFacts]:
    names = {secret_path(folder, name) for name in SecretName} | set(_listed(folder))
    for path in sorted(names):
        yield _file(path, _PRIVATE_FILE, owner=owner)


def _private_files(folder: Path, *, owner: str = "") -> Iterator[PathFacts]:
    for path in _listed(folder):
        yield _file(path, _PRIVATE_FILE, owner=owner)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _listed(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted(path for path in folder.iterdir() if not path.is_dir()))
    except OSError:
        return ()


def _folder(path: Path, mode: int, *, owner: str = "", required: bool = False) -> PathFacts:
    return PathFacts(path=str(path), mode=mode, owner=owner, required=required, folder=True)


def _file(path: Path, mode: int, *, owner: str = "", required: bool = False) -> PathFacts:
    return PathFacts(path=str(path), mode=mode, owner=owner, required=required)


def _look(scene: Scene, wanted: PathFacts) -> PathFacts | None:
    found = look_at(wanted)
    if found is None:
        scene.blind(Subject.FILES, "some files", ROOT_ONLY)
    return found


def look_at(wanted: PathFacts) -> PathFacts | None:
    """The path as it is; None when we may not look."""
    try:
        state = os.lstat(wanted.path)
    except (FileNotFoundError, NotADirectoryError):
        return _replaced(wanted, found=False)
    except OSError:
        return None
    return _replaced(
        wanted,
        found=True,
        found_mode=state.st_mode & _PERMISSIONS,
        found_owner=_account_name(state.st_uid),
        found_folder=stat.S_ISDIR(state.st_mode),
        link=stat.S_ISLNK(state.st_mode),
    )


def _replaced(
    wanted: PathFacts,
    *,
    found: bool,
    found_mode: int = 0,
    found_owner: str = "",
    found_folder: bool = False,
    link: bool = False,
) -> PathFacts:
    return PathFacts(
        path=wanted.path,
        mode=wanted.mode,
        owner=wanted.owner,
        exact=wanted.exact,
        required=wanted.required,
        folder=wanted.folder,
        found=found,
        found_mode=found_mode,
        found_owner=found_owner,
        found_folder=found_folder,
        link=link,
    )


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


async def gather_secrets(scene: Scene) -> SecretsFacts:
    """How strong every secret is."""
    return await in_thread(lambda: SecretsFacts(secrets=tuple(_secrets(scene))))


def _secrets(scene: Scene) -> Iterator[SecretFacts]:
    settings = scene.settings
    external = {
        SecretName.POSTGRES: settings.postgres.url,
        SecretName.NATS: settings.nats.url,
        SecretName.CLICKHOUSE: settings.clickhouse.url,
        SecretName.SESSIONS: settings.sessions.signing_key,
    }
    for name in SecretName:
        if external.get(name) is None:
            path = secret_path(scene.folders.secrets, name)
            measured = _measure_file(scene, name.value, path)
            if measured is not None:
                yield measured
    yield from _chosen_secrets(scene)


def _measure_file(scene: Scene, name: str, path: Path) -> SecretFacts | None:
    try:
        with path.open("rb") as file:
            text = file.read(_SECRET_BYTES_MAX).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return SecretFacts(name=name, path=str(path), found=False)
    except OSError:
        scene.blind(Subject.SECRETS, "how strong the secrets are", ROOT_ONLY)
        return None
    return SecretFacts(name=name, path=str(path), found=True, bits=guessing_bits(text))


def _chosen_secrets(scene: Scene) -> Iterator[SecretFacts]:
    """What the operator chose in the settings: our key of sessions, passwords in URLs."""
    settings = scene.settings
    if settings.sessions.signing_key is not None:
        yield _chosen("sessions.signing_key", settings.sessions.signing_key.reveal())
    for key, url in (
        ("postgres.url", settings.postgres.url),
        ("nats.url", settings.nats.url),
        ("clickhouse.url", settings.clickhouse.url),
    ):
        if url is not None:
            password = _password_of(url)
            if password is not None:
                yield _chosen(key, password)


def _password_of(url: Secret) -> str | None:
    try:
        parts = urlsplit(url.reveal())
    except ValueError:
        return None
    return unquote(parts.password or "") if parts.username is not None else None


def _chosen(key: str, text: str) -> SecretFacts:
    return SecretFacts(name=key, path="", found=True, bits=guessing_bits(text), own=False)


def guessing_bits(text: str) -> int:
    """At most how many bits of guessing a text takes: its length in letters of its alphabet.

    A text that repeats few letters counts by how many different ones it has.
    """
    if not text:
        return 0
    alphabet = sum(size for letters, size in _ALPHABETS if letters & set(text)) or _OTHER_LETTERS
    different = len(set(text))
    counted = different if different * _REPEATED_SHARE < min(len(text), 32) else len(text)
    return int(counted * math.log2(alphabet))
