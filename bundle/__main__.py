"""`python -m bundle`: make the tarball of a release. `scripts/bundle` prepares its environment."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from appliance.lifecycle.signature import load_key, public_half, sign
from bundle.archive import write_tarball
from bundle.contents import release_entries
from bundle.declare import (
    development_key,
    glibc_floor,
    manifest,
)
from bundle.freeze import freeze
from bundle.places import ENGINE_PACKAGES, MANIFEST, REPOSITORY, SIGNATURE, Entry, bundle_name
from bundle.source import stage_source


def main() -> int:
    """Make one bundle and say where it is."""
    options = _options()
    started = time.monotonic()
    output: Path = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    date = _source_date()
    build = REPOSITORY / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=build) as scratch:
        work = Path(scratch)
        source = stage_source(
            work / "source",
            overlay=options.overlay,
            version=options.version,
            release=options.release,
        )
        say(f"freezing {source.version} (release {source.release})")
        frozen = freeze(source, work, date=date)
        say(f"  {time.monotonic() - started:.1f} s; gathering")
        entries = release_entries(source, frozen)
        glibc = glibc_floor(entries, scratch=work / "elf")
        if options.key:
            key = load_key(options.key)
        else:
            key = development_key(output / "development.key")
            say(f"  signed with a development key, {output / 'development.key'}: not for users")
        declared = manifest(
            source,
            entries,
            engines={name: metadata.version(package) for name, package in ENGINE_PACKAGES.items()},
            glibc=glibc,
            date=date,
            keys=[public_half(key).text],
        )
        entries = [
            Entry(path=MANIFEST, component="pug-appliance", content=declared),
            Entry(path=SIGNATURE, component="pug-appliance", content=sign(key, declared)),
            *entries,
        ]
        name = bundle_name(source.version)
        target = output / f"{name}.tar.gz"
        say(f"  {time.monotonic() - started:.1f} s; packing {len(entries)} files, glibc {glibc}")
        write_tarball(target, name, entries, cache=output / ".cache")
    size = target.stat().st_size / 1e6
    say(f"{target}: {size:.1f} MB after {time.monotonic() - started:.1f} s")
    return 0


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bundle", description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "dist")
    parser.add_argument("--key", type=Path, help="the Ed25519 signing key (base64)")
    parser.add_argument("--version", help="another version than appliance/version.py says")
    parser.add_argument("--release", type=int, help="another release number")
    parser.add_argument("--overlay", type=Path, help="files laid over the source before freezing")
    return parser.parse_args()


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
