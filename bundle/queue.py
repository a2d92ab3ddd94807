"""The queue's program: the NATS server with a door of ours, compiled from `bundle/nats-server`.

Invariant: compiler, modules and flags are pinned (a wheel, go.sum, this file), so the same sources
give the same bytes in every folder; nothing is taken from a Go that the machine happens to have.
"""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from bundle.places import ARCHITECTURE, REPOSITORY

SOURCES: Final = "bundle/nats-server"
VENDORED: Final = REPOSITORY / "offline-wheels" / "go-modules" / "cache" / "download"
SERVER: Final = "github.com/nats-io/nats-server/v2"
COMPILER: Final = "go"
# Beside the compiler, so that clones in other folders need not compile the same modules again.
_KEPT: Final = Path(sys.prefix) / "go"
_MODULES: Final = _KEPT / "modules"
_PROXY: Final = "https://proxy.golang.org"
_MODULE: Final = re.compile(
    r"^\s*(?:require )?(?P<name>\S+\.\S+/\S+) (?P<version>v\S+)", re.MULTILINE
)
_MACHINES: Final = {"x86_64": "amd64"}
_SECONDS_MAX: Final = 1800.0


def compile_queue(folder: Path, target: Path) -> Path:
    """Compile the sources of a staged tree into `target`.

    Raises RuntimeError with what the compiler said.
    """
    _go(
        folder / SOURCES,
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags=-s -w -buildid=",
        "-o",
        str(target),
        ".",
    )
    return target


@cache
def modules() -> dict[str, str]:
    """The version of every Go module that go.mod names, by its path."""
    text = (REPOSITORY / SOURCES / "go.mod").read_text(encoding="utf-8")
    return {found["name"]: found["version"] for found in _MODULE.finditer(text)}


def compiled_in(program: Path) -> list[str]:
    """The modules whose code is in a compiled program, and the compiler's own."""
    told = _go(program.parent, "version", "-m", str(program)).splitlines()
    lines = [line.split() for line in told]
    return [COMPILER, *(words[1] for words in lines if words[:1] == ["dep"])]


def module_folder(name: str) -> Path:
    """Where the sources of a module lie after it was compiled."""
    return _MODULES / f"{name}@{modules()[name]}"


def _go(folder: Path, *arguments: str, modules: Path = _MODULES) -> str:
    program = Path(sys.prefix) / "bin" / "go"
    if not program.exists():
        raise RuntimeError("the Go compiler is missing; start scripts/bundle, which installs it")
    done = subprocess.run(
        [str(program), *arguments],
        cwd=folder,
        env=_environment(modules),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the queue's program cannot be compiled:\n{done.stderr[-4000:]}")
    return done.stdout


def _environment(modules: Path) -> dict[str, str]:
    proxies = [os.environ.get("GOPROXY", _PROXY)]
    if VENDORED.is_dir():
        proxies.insert(0, f"file://{VENDORED}")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(_KEPT),
        "GOPATH": str(_KEPT),
        "GOCACHE": str(_KEPT / "cache"),
        "GOMODCACHE": str(modules),
        "GOENV": "off",
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOPROXY": ",".join(proxies),
        # go.sum has every checksum; one that is missing ends the build.
        "GOSUMDB": "off",
        "GOTOOLCHAIN": "local",
        "GOTELEMETRY": "off",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOOS": "linux",
        "GOARCH": _MACHINES[ARCHITECTURE],
        "GOAMD64": "v1",
    }
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return environment


def main() -> int:
    """`python -m bundle.queue vendor`: fetch every module for builds without network."""
    if sys.argv[1:] != ["vendor"]:
        print("usage: python -m bundle.queue vendor", file=sys.stderr)
        return 2
    kept = VENDORED.parents[1]
    _go(REPOSITORY / SOURCES, "mod", "download", modules=kept)
    # Only what was downloaded is wanted; it is unpacked again where it is compiled.
    for path in kept.iterdir():
        if path.name != VENDORED.parent.name:
            shutil.rmtree(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
