"""What a bundle declares: its release, what it needs, and every file with its checksum.

Invariant: a `Manifest` that exists is safe to act on: its paths stay inside the release, its modes
are from a closed set, its numbers are bounded. The signed bytes are the canonical encoding, so two
builds of the same release have the same manifest.
"""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

import msgspec

from appliance.base.errors import UnmetError

EXIT_BUNDLE_REFUSED: Final = 5
FORMAT: Final = 1
PRODUCT: Final = "pug-appliance"
MANIFEST_BYTES_MAX: Final = 32 << 20
FILES_MAX: Final = 100_000
TOTAL_BYTES_MAX: Final = 8 << 30
MODES: Final = frozenset({"0644", "0755", "0444", "0555"})
LINK_MODE: Final = "0777"

# Both lie beside the files they describe.
_RESERVED: Final = ("manifest.json", "manifest.sig")
_VERSION: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}([-+.][0-9A-Za-z.-]{1,40})?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_GLIBC: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")
_PATH_BYTES_MAX: Final = 1024
_KEYS_MAX: Final = 16
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=")


class BundleRefusedError(UnmetError):
    """A bundle that must not be used; nothing outside staging has changed."""

    exit_status = EXIT_BUNDLE_REFUSED


class FileEntry(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One file of a release: path from its folder, checksum, bytes, mode like `0755`.

    `link` is the target of a symbolic link, which has neither checksum nor bytes.
    """

    path: str
    sha256: str = ""
    size: int = 0
    mode: str = "0644"
    link: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The signed description of a release.

    `release` grows by one with every release. `upgrades_from` is the lowest release number this one
    can take over from. `schema` is the newest migration of each store; an older release can serve
    that schema when its own `schema` is at least `schema_compatible` (migrations expand first and
    contract a release later), which is what a rollback without restoring asks.
    `keys` are the public keys (base64) that are trusted for the next upgrade.
    """

    format: int
    product: str
    version: str
    release: int
    architecture: str
    glibc: str
    upgrades_from: int
    schema: dict[str, int]
    schema_compatible: dict[str, int]
    engines: dict[str, str]
    source_date: int
    keys: tuple[str, ...]
    files: tuple[FileEntry, ...]

    @property
    def total_bytes(self) -> int:
        """The bytes of all files."""
        return sum(entry.size for entry in self.files)


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes: sorted keys, no spaces, one line break at the end."""
    return msgspec.json.encode(manifest, order="deterministic") + b"\n"


def decode_manifest(content: bytes) -> Manifest:
    """Read and check a manifest.

    Raises BundleRefusedError with what is wrong.
    """
    if len(content) > MANIFEST_BYTES_MAX:
        raise refused("MANIFEST_TOO_LARGE", f"the manifest has {len(content)} bytes")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused("MANIFEST_UNREADABLE", f"the manifest cannot be read: {error}") from error
    _check_header(manifest)
    _check_files(manifest)
    if encode_manifest(manifest) != content:
        raise refused("MANIFEST_NOT_CANONICAL", "the manifest is not in its canonical form")
    return manifest


def refused(reason: str, message: str, *, hint: str = "") -> BundleRefusedError:
    """The error of a bundle that must not be used."""
    remedy = hint or "get the bundle again from its maker and compare its checksum"
    return BundleRefusedError(reason, message, hint=remedy)


def _check_header(manifest: Manifest) -> None:
    if manifest.format != FORMAT:
        raise refused(
            "MANIFEST_FORMAT",
            f"the manifest has format {manifest.format}, this release reads {FORMAT}",
            hint="upgrade to a release in between first",
        )
    numbers = (*manifest.schema.values(), *manifest.schema_compatible.values())
    sound = (
        manifest.product == PRODUCT
        and _VERSION.fullmatch(manifest.version)
        and _GLIBC.fullmatch(manifest.glibc)
        and re.fullmatch(r"[a-z0-9_]{1,20}", manifest.architecture)
        and 0 < manifest.release < 1 << 31
        and 0 <= manifest.upgrades_from <= manifest.release
        and all(0 <= number < 1 << 31 for number in numbers)
        and 0 <= manifest.source_date < 1 << 40
        and len(manifest.keys) <= _KEYS_MAX
        and all(_KEY.fullmatch(key) for key in manifest.keys)
    )
    if not sound:
        raise refused("MANIFEST_UNSOUND", "the manifest's description of the release is not sound")


def _check_files(manifest: Manifest) -> None:
    if len(manifest.files) > FILES_MAX or manifest.total_bytes > TOTAL_BYTES_MAX:
        raise refused("MANIFEST_TOO_LARGE", "the manifest names too many files or bytes")
    seen: set[str] = set(_RESERVED)
    for entry in manifest.files:
        check_path(entry.path)
        folded = unicodedata.normalize("NFKC", entry.path).casefold()
        if folded in seen:
            raise refused("PATH_TWICE", f"the manifest names {entry.path!r} twice")
        seen.add(folded)
        _check_entry(entry)
    folders = {
        str(parent) for entry in manifest.files for parent in PurePosixPath(entry.path).parents
    }
    paths = [entry.path for entry in manifest.files]
    inside = set(paths) & folders
    if inside:
        raise refused("PATH_UNSAFE", f"{min(inside)!r} is a file and a folder at once")
    if paths != sorted(paths):
        raise refused("MANIFEST_UNSOUND", "the manifest's files are not in the order of paths")


def check_path(path: str) -> None:
    """Refuse a path that could leave the release or that two systems would read differently."""
    parts = path.split("/")
    sound = (
        path
        and len(path.encode("utf-8", "surrogatepass")) <= _PATH_BYTES_MAX
        and all(part not in {"", ".", ".."} for part in parts)
        and path.isprintable()
        and "\\" not in path
        and unicodedata.is_normalized("NFC", path)
    )
    if not sound:
        raise refused("PATH_UNSAFE", f"the path {path!r} is not allowed in a bundle")


def _check_entry(entry: FileEntry) -> None:
    if entry.link:
        _check_link(entry)
        return
    if entry.mode not in MODES:
        raise refused("MODE_UNSAFE", f"{entry.path!r} has the mode {entry.mode!r}")
    if entry.size < 0 or not _SHA256.fullmatch(entry.sha256):
        raise refused("MANIFEST_UNSOUND", f"{entry.path!r} has no sound checksum or size")


def _check_link(entry: FileEntry) -> None:
    if entry.sha256 or entry.size or entry.mode != LINK_MODE:
        raise refused("MANIFEST_UNSOUND", f"the link {entry.path!r} has a content")
    parts = entry.link.split("/")
    climbs = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
    # Only at the beginning: behind a name that is a link itself, `..` could lead anywhere.
    sound = climbs <= entry.path.count("/") and ".." not in parts[climbs:]
    if not sound or climbs == len(parts):
        raise refused("LINK_UNSAFE", f"{entry.path!r} points to {entry.link!r}")
    try:
        check_path("/".join(parts[climbs:]))
    except BundleRefusedError as error:
        raise refused("LINK_UNSAFE", f"{entry.path!r} points to {entry.link!r}") from error
