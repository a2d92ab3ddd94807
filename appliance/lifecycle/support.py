"""One file to carry out to whoever helps: logs, state, settings; no secrets, no personal data.

Invariant: every byte of a source passes through one `Redactor`, the file is complete or absent and
readable by its owner only, and it is made also when nothing runs.
"""

import gzip
import io
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, cast

import msgspec

from appliance.base.files import PRIVATE_FILE, write_atomic
from appliance.lifecycle.doctor.facts import Facts
from appliance.lifecycle.doctor.gathering.run import gather
from appliance.lifecycle.doctor.gathering.scene import Scene
from appliance.lifecycle.redaction import Redactor
from appliance.lifecycle.support_sources import Form, Source, known_secrets, read_sources

TOTAL_BYTES_MAX: Final = 64 << 20
DAYS_DEFAULT: Final = 7
_README: Final = "README.txt"
_LEVEL: Final = 6


class Redaction(Protocol):
    """What takes things out of text; the tests have one that does nothing."""

    counts: dict[str, int]

    def text(self, text: str, *, literals: bool = False) -> str:
        """Text without secrets and personal data."""
        ...

    def value(self, value: object, *, name: str = "", literals: bool = False) -> object:
        """A JSON value without secrets and personal data."""
        ...


class PackedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the bundle and its size."""

    name: str
    bytes: int


class SupportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `support-bundle --json` prints; `removed` counts what was taken out, by kind."""

    path: str
    bytes: int
    files: tuple[PackedFile, ...]
    left_out: tuple[str, ...]
    removed: dict[str, int]


async def make_support_bundle(
    scene: Scene, output: Path, *, days: int, redaction: Redaction | None = None
) -> SupportReport:
    """Write the bundle to `output`, with the logs of the last `days`.

    Raises MisconfiguredError when the file cannot be written.
    """
    facts = await gather(scene)
    chosen = redaction or Redactor(await known_secrets(scene))
    packed: dict[str, bytes] = {}
    left_out: list[str] = []
    room = TOTAL_BYTES_MAX
    async for source in read_sources(scene, facts, days):
        content = clean(source, chosen)
        if len(content) > room:
            left_out.append(source.name)
            continue
        room -= len(content)
        packed[chosen.text(source.name)] = content
    packed[_README] = _readme(facts, packed, left_out, chosen, days).encode()
    content = pack(packed, facts.place.now)
    write_atomic(output, content, mode=PRIVATE_FILE)
    return SupportReport(
        path=str(output),
        bytes=len(content),
        files=tuple(PackedFile(name=name, bytes=len(packed[name])) for name in sorted(packed)),
        left_out=tuple(left_out),
        removed=dict(sorted(chosen.counts.items())),
    )


def clean(source: Source, redaction: Redaction) -> bytes:
    """A source without secrets and personal data."""
    if source.form is Form.ENTRIES:
        return b"".join(_clean_entry(line, redaction) for line in source.content.splitlines())
    text = source.content.decode("utf-8", "replace")
    if source.form is Form.OWN:
        value = _clean_own(msgspec.json.decode(text), redaction)
        return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
    lines = text.splitlines()
    return "".join(f"{redaction.text(line, literals=source.literals)}\n" for line in lines).encode()


def _clean_entry(line: bytes, redaction: Redaction) -> bytes:
    if not line.strip():
        return b""
    try:
        entry = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return redaction.text(line.decode("utf-8", "replace"), literals=True).encode() + b"\n"
    return msgspec.json.encode(redaction.value(entry, literals=True)) + b"\n"


def _clean_own(value: object, redaction: Redaction) -> object:
    """Filter the texts of a document of ours, whose fields are named by us."""
    match value:
        case str():
            return redaction.text(value)
        case list():
            return [_clean_own(one, redaction) for one in cast("list[object]", value)]
        case dict():
            pairs = cast("dict[str, object]", value).items()
            return {redaction.text(name): _clean_own(one, redaction) for name, one in pairs}
        case _:
            return value


def pack(files: dict[str, bytes], now: datetime) -> bytes:
    """A compressed archive whose bytes depend on nothing but the files and the time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"pug-support/{name}")
            entry.size = len(files[name])
            entry.mode = PRIVATE_FILE
            entry.mtime = int(now.timestamp())
            archive.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(plain.getvalue(), _LEVEL, mtime=int(now.timestamp()))


def _readme(
    facts: Facts, packed: dict[str, bytes], left_out: list[str], redaction: Redaction, days: int
) -> str:
    place = facts.place
    removed = ", ".join(f"{count} {kind}" for kind, count in sorted(redaction.counts.items()))
    lines = [
        f"Support bundle of {place.data_dir} ({place.mode}), release {place.release},",
        f"made at {place.now:%Y-%m-%d %H:%M} UTC with the logs of the last {days} days.",
        "",
        f"Taken out and numbered: {removed or 'nothing'}.",
        "The same number stands for the same value. Look through it before you hand it on.",
        "",
        *(f"{len(packed[name]):>10}  {name}" for name in sorted(packed)),
    ]
    if left_out:
        lines += ["", f"Left out for lack of room: {', '.join(left_out)}."]
    if facts.unseen:
        lines += ["", "Could not be looked at:"]
        lines += [f"  {one.what}: {one.why}" for one in facts.unseen]
    return redaction.text("\n".join(lines)) + "\n"
