"""`python -m bundle`: make the tarball of a release. `scripts/bundle` prepares its environment."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final

from appliance.base.errors import ApplianceError
from appliance.lifecycle.delta import delta_name
from appliance.lifecycle.manifest import encode_manifest
from appliance.lifecycle.signature import load_key, public_half, sign
from bundle.archive import write_tarball
from bundle.bill import bill_of_materials
from bundle.components import licence_entries
from bundle.contents import embedded_components, release_entries
from bundle.declare import development_key, glibc_floor, manifest
from bundle.delta import delta_entries, read_base
from bundle.freeze import freeze
from bundle.official import official_clickhouse
from bundle.owners import APPLIANCE
from bundle.places import (
    ARCHITECTURE,
    BILL,
    ENGINE_PACKAGES,
    MANIFEST,
    REPOSITORY,
    SIGNATURE,
    Entry,
    bundle_name,
)
from bundle.queue import compile_queue
from bundle.source import Source, stage_source

_DEVELOPMENT_KEY: Final = "development.key"
_STARTED: Final = time.monotonic()
_USAGE: Final = 2


def main() -> int:
    """Make one bundle and print where it is; a failure is one sentence and status 1."""
    options = _options()
    try:
        return _make(options)
    except (ApplianceError, LookupError, OSError, RuntimeError, ValueError) as error:
        say(f"scripts/bundle: {error}")
        return 1


def _make(options: argparse.Namespace) -> int:
    output: Path = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    date = _source_date()
    with _scratch() as work:
        source = stage_source(
            work / "source",
            overlay=options.overlay,
            version=options.version,
            release=options.release,
        )
        say(f"freezing {source.version} (release {source.release})")
        entries = _gather(source, work, options, date=date)
        say("signing")
        key_file = options.key or output / _DEVELOPMENT_KEY
        key = load_key(key_file) if options.key else development_key(key_file)
        if not options.key:
            say(f"  with a development key, {key_file}: good for tests, not for users")
        declared = manifest(
            source,
            entries,
            engines={name: metadata.version(package) for name, package in ENGINE_PACKAGES.items()},
            glibc=glibc_floor(entries, scratch=work / "elf"),
            date=date,
            keys=[public_half(key).text],
        )
        content = encode_manifest(declared)
        sealed = [
            Entry(path=MANIFEST, component=APPLIANCE, content=content),
            Entry(path=SIGNATURE, component=APPLIANCE, content=sign(key, content)),
        ]
        files, name = entries, bundle_name(source.version)
        if options.base is not None:
            say("comparing")
            base = read_base(options.base, declared.files)
            described, files = delta_entries(base, entries)
            sealed.append(described)
            name = delta_name(source.version, base.manifest.version, ARCHITECTURE)
        target = output / f"{name}.tar.gz"
        say(f"packing {len(files)} files of {len(entries)}; glibc {declared.glibc} or newer")
        cache = REPOSITORY / "dist" / ".cache"
        write_tarball(target, name, sealed=sealed, files=files, cache=cache, fast=options.fast)
    say(f"done: {target.stat().st_size / 1e6:.1f} MB")
    print(target)
    return 0


def _gather(source: Source, work: Path, options: argparse.Namespace, *, date: int) -> list[Entry]:
    """Every file of the release except the manifest and its signature."""
    frozen = freeze(source, work, date=date)
    say("compiling the queue")
    queue = compile_queue(source.folder, work / "nats-server")
    say("gathering")
    entries = release_entries(source, frozen, queue=queue)
    if options.official_clickhouse is not None:
        entries += official_clickhouse(options.official_clickhouse, options.checksum, work)
    embedded = embedded_components(source, frozen, queue=queue)
    entries += licence_entries(sorted({entry.component for entry in entries} | set(embedded)))
    entries.sort(key=lambda entry: entry.path)
    bill = bill_of_materials(source, entries, embedded, date=date)
    entries.append(Entry(path=BILL, component=APPLIANCE, content=bill))
    return sorted(entries, key=lambda entry: entry.path)


def say(text: str) -> None:
    """Tell the person at the terminal what is done now, and for how long we are at it."""
    print(f"{time.monotonic() - _STARTED:6.1f} s  {text}", file=sys.stderr, flush=True)


@contextmanager
def _scratch() -> Iterator[Path]:
    build = REPOSITORY / "build"
    build.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="bundle-", dir=build))
    try:
        yield work
    except RuntimeError:
        # PyInstaller's log is wanted then.
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bundle", description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "dist")
    parser.add_argument("--key", type=Path, help="the Ed25519 signing key (base64, mode 0600)")
    parser.add_argument("--version", help="another version than appliance/version.py says")
    parser.add_argument("--release", type=int, help="another release number")
    parser.add_argument("--from", dest="base", type=Path, help="make a delta from this bundle")
    parser.add_argument("--overlay", type=Path, help="files laid over the source before freezing")
    parser.add_argument("--offline", action="store_true", help="use only wheels that lie here")
    parser.add_argument("--fast", action="store_true", help="deflate sooner done, 4 %% larger")
    parser.add_argument("--official-clickhouse", type=Path, help="a ClickHouse server tarball")
    parser.add_argument("--checksum", help="the SHA-256 of that tarball")
    options = parser.parse_args()
    if (options.official_clickhouse is None) != (options.checksum is None):
        parser.exit(_USAGE, "scripts/bundle: --official-clickhouse and --checksum go together\n")
    return options


def _source_date() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
