"""The engine as a process of its own, and a plain HTTP client for it."""

import base64
import http.client
import os
import select
import signal
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from appliance.base.ready import parse_ready
from appliance.clickhouse_http.server import EngineOptions

USER = "pug"
PASSWORD = "correct horse"
START_SECONDS = 90
STOP_SECONDS = 60
# PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, which Linux has since 6.3.
_DENY_WRITABLE_CODE = """
import ctypes
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0
"""
_PROGRAM = """
import sys, msgspec, pathlib
from appliance.base.log import configure_logging
from appliance.clickhouse_http.server import EngineOptions, serve
configure_logging(component="clickhouse", readable=False)
options = msgspec.json.decode(sys.argv[1], type=EngineOptions, dec_hook=lambda kind, raw: kind(raw))
serve(options)
"""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class EngineProcess:
    """One running engine."""

    process: subprocess.Popen[bytes]
    port: int
    data_dir: Path
    connection_args: dict[str, object] = field(default_factory=dict)

    def ask(
        self,
        body: bytes | str | None = None,
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        path: str = "/",
        auth: bool = True,
        **parameters: object,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method,
                f"{path}?{urllib.parse.urlencode(parameters)}" if parameters else path,
                body.encode() if isinstance(body, str) else body,
                {**(self.auth if auth else {}), **(headers or {})},
            )
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            try:
                return Reply(response.status, names, response.read())
            except http.client.IncompleteRead as error:
                return Reply(response.status, names, error.partial, broken=True)
        finally:
            connection.close()

    def rows(self, query: str, **parameters: object) -> list[list[object]]:
        reply = self.ask(query, default_format="JSONCompactEachRow", **parameters)
        assert reply.status == 200, reply.text
        return [msgspec.json.decode(line) for line in reply.body.splitlines()]

    @property
    def auth(self) -> dict[str, str]:
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return {"Authorization": f"Basic {token}"}

    @property
    def driver(self) -> dict[str, object]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "username": USER,
            "password": PASSWORD,
            **self.connection_args,
        }

    def resident_bytes(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


def spawn(
    data_dir: Path,
    *,
    ready_fd: int | None = None,
    password: str = PASSWORD,
    writable_code: bool = True,
    **options: object,
) -> subprocess.Popen[bytes]:
    """Without `writable_code` memory that was written cannot be executed, as in its unit."""
    password_file = data_dir.parent / f"{data_dir.name}.password"
    password_file.write_text(password)
    given = {
        "data_dir": data_dir,
        "port": 0,
        "user": USER,
        "password_file": password_file,
        "memory_bytes_max": 2 << 30,
        **options,
    }
    raw = msgspec.json.encode(EngineOptions(**given), enc_hook=str).decode()
    environment = dict(os.environ)
    if ready_fd is not None:
        environment["PUG_READY_FD"] = str(ready_fd)
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM if writable_code else _DENY_WRITABLE_CODE + _PROGRAM, raw],
        env=environment,
        pass_fds=[fd for fd in (ready_fd, options.get("listening")) if isinstance(fd, int)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


def start(data_dir: Path, **options: object) -> EngineProcess:
    """Start an engine and wait for its READY line."""
    reader, writer = os.pipe()
    try:
        process = spawn(data_dir, ready_fd=writer, **options)
    finally:
        os.close(writer)
    try:
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([reader], [], [], START_SECONDS)
            piece = os.read(reader, 4096) if ready else b""
            if not piece:
                process.kill()
                _, complaint = process.communicate()
                raise AssertionError(complaint.decode())
            line += piece
    finally:
        os.close(reader)
    readiness = parse_ready(line)
    assert readiness is not None
    assert readiness.port is not None
    return EngineProcess(process, readiness.port, data_dir)


def end(engine: EngineProcess) -> None:
    """Make sure that nothing is left."""
    if engine.process.poll() is None:
        engine.process.kill()
        engine.process.wait(STOP_SECONDS)
    if engine.process.stderr is not None:
        engine.process.stderr.close()
