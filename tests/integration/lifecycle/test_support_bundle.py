"""The bundle holds what helps, and nothing of what was planted in every one of its sources."""

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from appliance.config.endpoints import Ports
from appliance.lifecycle.doctor.gathering.scene import Scene, Wanted, find_scene
from appliance.lifecycle.host import CommandResult
from appliance.lifecycle.layout import Layout
from appliance.lifecycle.support import SupportReport, make_support_bundle
from appliance.supervisor.control import Answer, ControlServer, Request
from tests.support.clocks import FixedClock
from tests.support.doctor_facts import component, put
from tests.support.recording_host import RecordingHost

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PLANTED = {
    "address": "203.0.113.77",
    "address6": "2001:db8::4711",
    "mail": "ada.lovelace@people.example",
    "distinct id": "customer-4711",
    "api key": "prv_00112233445566778899",
    "public key": "pub_99887766554433221100",
    "url password": "sesame-in-a-url",
    "header": "QWRhOnNlc2FtZQ==",
    "cookie": "cookie-of-ada",
    "own secret": "an-own-secret-of-this-installation",
    "setting": "a-signing-key-from-the-settings",
    "session": "0e3f8d56-7c1b-4b5e-9d8f-1a2b3c4d5e6f",
    "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl",
    "value": "gold plan of ada",
}
SENTENCE = (
    f"client {PLANTED['address']} and {PLANTED['address6']} wrote {PLANTED['mail']} "
    f"distinct_id={PLANTED['distinct id']} key {PLANTED['api key']} and {PLANTED['public key']} "
    f"to https://user:{PLANTED['url password']}@db.example/x?plan=none "
    f"{PLANTED['own secret']} {PLANTED['setting']} {PLANTED['session']} {PLANTED['token']} "
    f"Key (plan)=({PLANTED['value']}) exists, Authorization: Basic {PLANTED['header']}"
)
COOKIE = f"Cookie: sid={PLANTED['cookie']}; theme=dark"
HELPFUL = "the worker paused at sequence 31"


class NoRedaction:
    """The control arm: what the bundle would hold without the filter."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def text(self, text: str, *, literals: bool = False) -> str:
        del literals
        return text

    def value(self, value: object, *, name: str = "", literals: bool = False) -> object:
        del name, literals
        return value


def journalctl(argv: tuple[str, ...]) -> CommandResult:
    """systemd's tools, with planted lines in the journal."""
    told = f"{HELPFUL}\n{SENTENCE}\n{COOKIE}\n" if argv[0] == "journalctl" else ""
    return CommandResult(status=0, output=told, errors="")


@asynccontextmanager
async def metrics_server() -> AsyncGenerator[int]:
    """Answers everything with planted text."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 200 OK\r\n\r\n{HELPFUL}\n{SENTENCE}\n{COOKIE}\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def supervisor(path: Path) -> AsyncGenerator[None]:
    """A control socket whose components tell planted causes."""
    told = put(component("api"), "cause", SENTENCE)

    def respond(_request: Request) -> Answer:
        return Answer(pid=os.getpid(), components=(told,))

    server = ControlServer(path, respond)
    await server.start()
    try:
        yield
    finally:
        await server.close()


def log_line(event: str, **fields: object) -> bytes:
    entry = {
        "timestamp": "2026-05-10T09:00:00.000+00:00",
        "level": "error",
        "component": "events",
        "pid": 1,
        "restart": 0,
        "event": event,
        **fields,
    }
    return msgspec.json.encode(entry) + b"\n"


def plant(root: Path, port: int) -> Layout:
    """An installation with planted values in every file that goes into a bundle."""
    layout = Layout(
        prefix=root / "opt",
        config_file=root / "etc" / "appliance.toml",
        data_dir=root / "data",
        unit_dir=root / "units",
    )
    dropin = layout.unit_dir / "pug-nats.service.d"
    logs, run, cluster = (layout.data_dir / name for name in ("logs", "run", "postgres/18"))
    for folder in (*(dropin, logs, run, cluster), *(layout.secrets, layout.journal)):
        folder.mkdir(parents=True)
    layout.releases.mkdir()
    layout.save()
    (layout.releases / "1.0.0").mkdir()
    layout.current.symlink_to("releases/1.0.0")
    layout.config_file.write_text(
        f'data_dir = "{layout.data_dir}"\nsecrets_dir = "{layout.secrets}"\n'
        f'sessions.signing_key = "{PLANTED["setting"]}"\n'
        f'email.sender = "{PLANTED["mail"]}"\n'
        f'postgres.url = "postgresql://pug:{PLANTED["url password"]}@127.0.0.1:1/pug"\n'
        f'nats.url = "nats://pug:{PLANTED["url password"]}@127.0.0.1:1"\n'
        f'api.cors_origins = ["https://{PLANTED["address"]}"]\n'
        f'no.such.key = "{SENTENCE}"\n'
    )
    (layout.secrets / "clickhouse-password").write_text(PLANTED["own secret"])
    ports = Ports(api=port, postgres=1, nats=1, nats_monitor=1, clickhouse=1)
    (run / "ports.json").write_bytes(msgspec.json.encode(ports))
    lines = (
        log_line(SENTENCE, distinct_id=PLANTED["distinct id"], peer=PLANTED["address"])
        + log_line(HELPFUL, nested={"email": PLANTED["mail"], "plan": SENTENCE})
        + log_line(COOKIE)
        + f"a damaged line {SENTENCE}\n{COOKIE}\n".encode()
    )
    (logs / "events.jsonl").write_bytes(lines)
    (logs / "events.jsonl.1").write_bytes(lines)
    (cluster / "operator.conf").write_text(f"# {HELPFUL}\n# {SENTENCE}\n# {COOKIE}\n")
    (layout.unit_dir / "pug-nats.service").write_text(f"# {SENTENCE}\n# {COOKIE}\n")
    (dropin / "own.conf").write_text(f"# {SENTENCE}\n# {COOKIE}\n")
    (layout.journal / "20260510T090000Z-upgrade-done.jsonl").write_bytes(
        msgspec.json.encode({"kind": "upgrade", "parameters": {"bundle": SENTENCE}}) + b"\n"
    )
    return layout


def unpack(path: Path) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:gz") as archive:
        members = archive.getmembers()
        assert {member.mode for member in members} == {0o600}
        names = [member.name for member in members]
        assert names == sorted(names)
        return {
            member.name.removeprefix("pug-support/"): read
            for member in members
            if (file := archive.extractfile(member)) is not None
            for read in [file.read()]
        }


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


def the_scene(layout: Layout) -> Scene:
    wanted = Wanted(prefix=layout.prefix)
    scene = find_scene(wanted, host=RecordingHost(journalctl), clock=FixedClock())
    scene.systemd = True
    return scene


@asynccontextmanager
async def planted(root: Path) -> AsyncGenerator[Layout]:
    async with metrics_server() as port:
        layout = plant(root, port)
        async with supervisor(layout.data_dir / "run" / "control.sock"):
            yield layout


async def make(layout: Layout, output: Path, *, filtered: bool = True) -> SupportReport:
    redaction = None if filtered else NoRedaction()
    return await make_support_bundle(the_scene(layout), output, days=7, redaction=redaction)


SOURCES = {
    "facts.json",
    "status.json",
    "settings.json",
    "metrics.txt",
    "logs/events.jsonl",
    "engines/operator.conf",
    "units/pug-nats.service",
    "units/pug-nats.service.d/own.conf",
    "operations/20260510T090000Z-upgrade-done.jsonl",
    "journal/units.txt",
    "journal/kernel.txt",
}


async def test_nothing_planted_leaves_the_machine(tmp_path: Path) -> None:
    """Every source had every value; the control arm shows that each would have carried it out."""
    async with planted(tmp_path) as layout:
        report = await make(layout, tmp_path / "out.tar.gz")
        await make(layout, tmp_path / "control.tar.gz", filtered=False)
    bundle, control = unpack(tmp_path / "out.tar.gz"), unpack(tmp_path / "control.tar.gz")
    assert set(bundle) >= SOURCES
    assert set(control) == set(bundle)
    carried = [name for name in SOURCES if PLANTED["address"].encode() in control[name]]
    assert set(carried) == SOURCES
    for what, value in PLANTED.items():
        assert any(value.encode() in content for content in control.values()), what
        leaks = [name for name, content in bundle.items() if value.encode() in content]
        assert leaks == [], what
    assert report.removed["mail"] > 10
    assert report.removed["secret"] > 10


async def test_what_helps_stays(tmp_path: Path) -> None:
    async with planted(tmp_path) as layout:
        await make(layout, tmp_path / "out.tar.gz")
    bundle = unpack(tmp_path / "out.tar.gz")
    for name in ("metrics.txt", "logs/events.jsonl", "engines/operator.conf", "journal/units.txt"):
        assert HELPFUL.encode() in bundle[name], name
    assert b"releases/1.0.0" in bundle["releases.txt"]
    assert b'"settings"' in bundle["doctor.json"]
    assert b"no.such.key" in bundle["settings.json"]


async def test_the_file_is_private_whole_and_the_same_twice(tmp_path: Path) -> None:
    async with planted(tmp_path) as layout:
        report = await make(layout, tmp_path / "out.tar.gz")
    path = tmp_path / "out.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == report.bytes
    listed = {one.name: one.bytes for one in report.files}
    assert listed == {name: len(content) for name, content in unpack(path).items()}
    assert leftovers(tmp_path) == []


async def test_old_lines_stay_here(tmp_path: Path) -> None:
    layout = plant(tmp_path, 1)
    log = layout.data_dir / "logs" / "events.jsonl"
    old = log_line("long ago").replace(b"2026-05-10", b"2026-04-01")
    log.write_bytes(old + log.read_bytes())
    await make(layout, tmp_path / "out.tar.gz")
    lines = unpack(tmp_path / "out.tar.gz")["logs/events.jsonl"]
    assert b"long ago" not in lines
    assert HELPFUL.encode() in lines


async def test_it_is_made_where_nothing_is(tmp_path: Path) -> None:
    """No installation, no engine, no folder: there is still a report to carry out."""
    wanted = Wanted(flags={"data_dir": str(tmp_path / "nothing")})
    scene = find_scene(wanted, host=RecordingHost(journalctl), clock=FixedClock())
    await make_support_bundle(scene, tmp_path / "out.tar.gz", days=7)
    bundle = unpack(tmp_path / "out.tar.gz")
    assert b"no appliance is running" in bundle["doctor.json"]
    assert b"could not be read" in bundle["migrations/postgres.txt"]
