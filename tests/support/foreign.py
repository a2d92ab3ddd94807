"""Real clients of other products, from npm and PyPI, driven as their users drive them.

Invariant: the packages are those of `foreign_clients/`, unchanged, installed into a cache folder
the first time; every client runs in a process of its own and ends with the test. `Forgetful` is the
bad network between a client and us.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

FOLDER: Final = Path(__file__).parent / "foreign_clients"
CACHE: Final = Path.home() / ".cache" / "pug-appliance" / "tests"
INSTALL_SECONDS_MAX: Final = 300
CLIENT_SECONDS_MAX: Final = 180
PYTHON_PACKAGES: Final = {
    "segment-python": "segment-analytics-python==2.4.0",
    "segment-python-2.3": "segment-analytics-python==2.3.3",
    "analytics-python": "analytics-python==1.2.9",
    "rudder-python": "rudder-sdk-python==2.1.9",
    "posthog-python": "posthog==7.91.1",
    "posthog-python-3": "posthog==3.7.4",
}
NODE_CLIENTS: Final = ("segment-node", "rudder-node", "posthog-node", "posthog-node-4")
BROWSER_CLIENTS: Final = (
    "segment-next",
    "segment-next-batching",
    "rudder-js",
    "rudder-js-beacon",
    "posthog-js",
    "posthog-js-1.200",
)
COOKIELESS_CLIENT: Final = "posthog-js-cookieless"
_UNREACHABLE: Final = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "dns error",
    "connect",
)
_ASKED_AND_TOLD: Final = ("content-length", "transfer-encoding", "connection", "host")


def has_node() -> bool:
    """Whether this machine can run the clients of npm."""
    return shutil.which("node") is not None and shutil.which("npm") is not None


def installed_node() -> Path:
    """The folder in which the npm packages and our programs for them are."""
    locked = ("package.json", "package-lock.json")
    folder = CACHE / f"foreign-node-{_digest(*(FOLDER / name for name in locked))}"
    with _lock("foreign-node"):
        if not (folder / "installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in locked:
                shutil.copyfile(FOLDER / name, folder / name)
            # Not `npm ci`: it insists on packages for other systems that not every index has.
            _install(["npm", "install", "--no-save", "--ignore-scripts", "--no-audit"], folder)
            (folder / "installed").touch()
        for program in (*FOLDER.glob("*.mjs"), *FOLDER.glob("*.js")):
            shutil.copyfile(program, folder / program.name)
    return folder


def installed_python(package: str) -> Path:
    """The folder in which a package of PyPI and what it needs are."""
    folder = CACHE / f"foreign-{package}"
    with _lock("foreign-python"):
        if not (folder / "installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            CACHE.mkdir(parents=True, exist_ok=True)
            python = ["--python", sys.executable]
            uv = str(Path(sys.executable).parent / "uv")
            _install([uv, "pip", "install", *python, "--target", str(folder), package], CACHE)
            (folder / "installed").touch()
    return folder


def run_client(name: str, host: str, key: str) -> dict[str, Any]:
    """Run one client to its end; what it tells about itself, which is nothing but for browsers."""
    if name in PYTHON_PACKAGES:
        packages = installed_python(PYTHON_PACKAGES[name])
        arguments = [sys.executable, str(FOLDER / "server.py"), name, host, key]
        _run(arguments, FOLDER, {"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin"})
        return {}
    folder = installed_node()
    browser = name in {*BROWSER_CLIENTS, COOKIELESS_CLIENT}
    program = "browser.mjs" if browser else "server.mjs"
    told = _run(["node", program, name, host, key], folder, None)
    return json.loads(told) if browser else {}


def run_program(program: str, *arguments: str) -> dict[str, Any]:
    """Run one of our programs on libraries of npm; what it tells."""
    return json.loads(_run(["node", program, *arguments], installed_node(), None))


def descriptors(folder: Path) -> Path:
    """The contract as the descriptor set from which such libraries make their clients."""
    made = folder / "pug.binpb"
    buf = str(Path(sys.executable).parent / "buf")
    _install([buf, "build", "appliance/proto", "-o", str(made)], FOLDER.parents[2])
    return made


class Forgetful(ThreadingHTTPServer):
    """Passes requests on to `target`, but loses the answers to the first `losses` that bring
    something: the client hears 503 although all is stored.
    """

    daemon_threads = True

    def __init__(self, target: str, losses: int) -> None:
        super().__init__(("127.0.0.1", 0), _PassingOn)
        self.target = target
        self.losses = losses
        self.requests: list[str] = []
        self.guard = threading.Lock()

    @property
    def url(self) -> str:
        """Where clients are pointed at."""
        return f"http://127.0.0.1:{self.server_port}"


class _PassingOn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Forgetful  # pyright: ignore[reportIncompatibleVariableOverride] # ours

    def do_POST(self) -> None:
        body = self._body()
        headers = [(n, v) for n, v in self.headers.items() if n.lower() not in _ASKED_AND_TOLD]
        answer = httpx.request(
            self.command, self.server.target + self.path, headers=headers, content=body, timeout=60
        )
        with self.server.guard:
            self.server.requests.append(f"{self.command} {self.path} {answer.status_code}")
            lost = self.command == "POST" and bool(body) and self.server.losses > 0
            self.server.losses -= lost
        told = b"" if lost else answer.content
        self.send_response(503 if lost else answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in {*_ASKED_AND_TOLD, "date", "server", "content-encoding"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_OPTIONS = do_POST  # noqa: N815 the names of the library

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name of the library
        """Say nothing."""


@contextmanager
def forgetful(target: str, losses: int = 1) -> Generator[Forgetful]:
    """A bad network for the length of a block."""
    server = Forgetful(target, losses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _run(arguments: Sequence[str], folder: Path, environment: dict[str, str] | None) -> str:
    ended = subprocess.run(
        arguments,
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS_MAX,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _install(arguments: Sequence[str], folder: Path) -> None:
    """Run an installer; without its package index the test is skipped."""
    ended = subprocess.run(
        arguments,
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
    )
    if ended.returncode and any(sign in ended.stderr for sign in _UNREACHABLE):
        pytest.skip(f"{arguments[0]} cannot reach its package index")
    assert ended.returncode == 0, ended.stderr


@contextmanager
def _lock(name: str) -> Generator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()[:16]
