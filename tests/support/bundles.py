"""Small bundles of invented releases, made by the rules of `lifecycle/archive.py`."""

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import zstandard
from nacl.signing import SigningKey

from appliance.lifecycle.archive import (
    END,
    GZIP_HEADER,
    file_header,
    folder_header,
    folders_inside,
    link_header,
    padding_bytes,
)
from appliance.lifecycle.bundle import Machine
from appliance.lifecycle.delta import (
    DELTA_NAME,
    WINDOW_LOG,
    Change,
    Delta,
    Form,
    carried_folders,
    delta_name,
    encode_delta,
)
from appliance.lifecycle.layout import Layout
from appliance.lifecycle.manifest import FileEntry, Manifest, encode_manifest
from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.signature import TrustedKeys, public_half, sign
from appliance.lifecycle.staging import StagedRelease, stage

KEY = SigningKey(bytes(range(32)))
STRANGER = SigningKey(bytes(range(1, 33)))
TRUSTED = TrustedKeys(keys=(public_half(KEY),))
MACHINE = Machine(architecture="x86_64", glibc="2.36")
FILES: Mapping[str, bytes] = {
    "_internal/base.zip": b"PK" + bytes(range(256)) * 40,
    "_internal/lib/libengine.so": bytes(range(256)) * 300,
    "engines/nats/nats-server": b"\x7fELF" + b"queue" * 500,
    "pug-appliance": b"\x7fELF" + b"program" * 3000,
    "sbom.cdx.json": b'{"bomFormat":"CycloneDX"}',
}
CHANGED: Mapping[str, bytes] = {
    **FILES,
    "pug-appliance": FILES["pug-appliance"] + b"fixed",
    "docs/new.md": b"news",
}
LINKS: Mapping[str, str] = {"engines/nats/latest": "nats-server"}


def entries_of(
    files: Mapping[str, bytes] = FILES, links: Mapping[str, str] = LINKS
) -> tuple[FileEntry, ...]:
    """The entries of a manifest over these files, by path."""
    found = [
        FileEntry(
            path=path,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            mode="0644" if path.endswith(("zip", "json")) else "0755",
        )
        for path, content in files.items()
    ]
    found += [FileEntry(path=path, mode="0777", link=target) for path, target in links.items()]
    return tuple(sorted(found, key=lambda entry: entry.path))


def manifest_of(
    files: Mapping[str, bytes] = FILES,
    *,
    version: str = "0.1.0",
    release: int = 1,
    links: Mapping[str, str] = LINKS,
    **changes: object,
) -> Manifest:
    """A sound manifest; `changes` replace its other fields."""
    manifest = Manifest(
        format=1,
        product="pug-appliance",
        version=version,
        release=release,
        architecture="x86_64",
        glibc="2.28",
        upgrades_from=1,
        schema={"postgres": 4},
        schema_compatible={"postgres": 1},
        engines={"postgres": "18.6"},
        source_date=1_790_000_000,
        keys=(public_half(KEY).text,),
        files=entries_of(files, links),
    )
    return msgspec.structs.replace(manifest, **changes)


def top_of(manifest: Manifest) -> str:
    """The folder in the tarball."""
    return f"pug-appliance-{manifest.version}-linux-{manifest.architecture}"


def sealed_head(top: str, manifest: Manifest, key: SigningKey) -> bytes:
    """The beginning of the tar stream: folder, manifest, signature."""
    content = encode_manifest(manifest)
    return (
        folder_header(top)
        + whole(f"{top}/manifest.json", content)
        + whole(f"{top}/manifest.sig", sign(key, content))
    )


def whole(name: str, content: bytes, *, mode: int = 0o644) -> bytes:
    """A file in the tar stream."""
    header = file_header(name, size=len(content), mode=mode)
    return header + content + bytes(padding_bytes(len(content)))


def tar_of(
    manifest: Manifest, files: Mapping[str, bytes] = FILES, *, key: SigningKey = KEY
) -> bytes:
    """The tar stream of a whole bundle."""
    top = top_of(manifest)
    parts = [sealed_head(top, manifest, key)]
    folders = folders_inside(entry.path for entry in manifest.files)
    parts += [folder_header(f"{top}/{folder}") for folder in folders]
    for entry in manifest.files:
        name = f"{top}/{entry.path}"
        if entry.link:
            parts.append(link_header(name, target=entry.link))
        else:
            parts.append(whole(name, files[entry.path], mode=int(entry.mode, 8)))
    return b"".join([*parts, END])


def delta_tar_of(
    manifest: Manifest,
    files: Mapping[str, bytes],
    *,
    base: Manifest,
    base_files: Mapping[str, bytes],
    patched: frozenset[str] = frozenset(),
    key: SigningKey = KEY,
) -> bytes:
    """The tar stream of a delta; files named in `patched` are carried as patches."""
    top = delta_name(manifest.version, base.version, manifest.architecture)
    there = {(entry.sha256, entry.mode) for entry in base.files}
    carried: list[bytes] = []
    changes: list[Change] = []
    for entry in manifest.files:
        if entry.link or (entry.sha256, entry.mode) in there:
            continue
        if entry.path in patched:
            packed = patch(base_files[entry.path], files[entry.path])
            changes.append(
                Change(path=entry.path, form=Form.PATCH, base=entry.path, size=len(packed))
            )
            carried.append(whole(f"{top}/patches/{entry.path}", packed))
        else:
            changes.append(Change(path=entry.path, form=Form.WHOLE))
            mode = int(entry.mode, 8)
            carried.append(whole(f"{top}/files/{entry.path}", files[entry.path], mode=mode))
    told = Delta(
        format=1,
        base=hashlib.sha256(encode_manifest(base)).hexdigest(),
        base_version=base.version,
        changes=tuple(changes),
    )
    folders = [folder_header(f"{top}/{folder}") for folder in carried_folders(told.changes)]
    head = sealed_head(top, manifest, key) + whole(f"{top}/{DELTA_NAME}", encode_delta(told))
    return b"".join([head, *folders, *carried, END])


def patch(before: bytes, after: bytes) -> bytes:
    """A zstandard frame of `after` with `before` as its dictionary."""
    plain = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    parameters = zstandard.ZstdCompressionParameters.from_level(  # pyright: ignore[reportUnknownMemberType] untyped keywords
        19, window_log=WINDOW_LOG, enable_ldm=True
    )
    return zstandard.ZstdCompressor(dict_data=plain, compression_params=parameters).compress(after)


def gzip_of(tar: bytes, *, level: int = 6) -> bytes:
    """The tarball of a tar stream."""
    squeeze = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = squeeze.compress(tar) + squeeze.flush()
    tail = zlib.crc32(tar).to_bytes(4, "little") + (len(tar) & 0xFFFFFFFF).to_bytes(4, "little")
    return GZIP_HEADER + body + tail


def write_bundle(folder: Path, tar: bytes, name: str = "bundle.tar.gz") -> Path:
    """A tarball on disk."""
    path = folder / name
    path.write_bytes(gzip_of(tar))
    return path


def tree_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file, link and folder below a folder: mode and content."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in sorted(folder.rglob("*")):
        content = b""
        if path.is_symlink():
            content = str(path.readlink()).encode()
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, content)
    return found


class Box:
    """A prefix with a staging folder and a canary that no bundle may touch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(prefix=folder / "pug")
        self.layout.releases.mkdir(parents=True)
        (folder / "pug/canary").write_text("alive")
        (folder / "bundles").mkdir()

    async def stage(
        self, bundle: bytes, *, machine: Machine = MACHINE, installed: Path | None = None
    ) -> StagedRelease:
        path = self.folder / "bundles/bundle.tar.gz"
        path.write_bytes(bundle)
        return await stage(
            path,
            staging=self.layout.staging,
            trusted=TRUSTED,
            machine=machine,
            installed=installed,
            progress=SilentProgress(),
        )

    async def install(self) -> Path:
        """The first release, where releases are."""
        staged = await self.stage(gzip_of(tar_of(manifest_of())))
        target = self.layout.release(staged.manifest.version)
        staged.folder.rename(target)
        return target

    def outside(self) -> dict[str, tuple[int, bytes]]:
        """Everything that is neither staging nor the bundle itself."""
        return {
            name: found
            for name, found in tree_of(self.folder).items()
            if not name.startswith(("pug/staging", "bundles"))
        }
