"""Waiting for an installation to answer, and saying what keeps it from doing so."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import TimedOutError
from appliance.config.model import ApiSettings, Settings, Supervision
from appliance.lifecycle.host import CommandResult
from appliance.lifecycle.layout import Layout
from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.services import Services, local_address
from appliance.lifecycle.units import render_units
from tests.support.clocks import FixedClock
from tests.support.recording_host import RecordingHost

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def public_port(
    statuses: list[int], asked: Callable[[], object] = lambda: None
) -> AsyncGenerator[int]:
    """Answers one status after the other, the last one for ever; calls `asked` each time."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked()
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        writer.write(f"HTTP/1.0 {status} X\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def services(folder: Path, port: int, host: RecordingHost, clock: Clock | None = None) -> Services:
    layout = Layout(
        prefix=folder / "opt",
        config_file=folder / "etc/appliance.toml",
        data_dir=folder / "data",
        unit_dir=folder / "units",
    )
    settings = Settings(
        data_dir=layout.data_dir,
        secrets_dir=layout.secrets,
        supervision=Supervision.SYSTEMD,
        api=ApiSettings(host="0.0.0.0", port=port),
    )
    return Services(
        render_units(layout, settings),
        layout=layout,
        settings=settings,
        host=host,
        progress=SilentProgress(),
        clock=clock or SystemClock(),
    )


async def test_it_waits_until_everything_behind_the_port_is_ready(tmp_path: Path) -> None:
    async with public_port([503, 503, 200]) as port:
        await services(tmp_path, port, RecordingHost()).wait(30)


async def test_who_keeps_it_from_answering_is_named_with_its_last_line(tmp_path: Path) -> None:
    def answer(argv: tuple[str, ...]) -> CommandResult:
        if argv[:2] == ("systemctl", "is-active"):
            states = ["activating" if "postgres" in name else "active" for name in argv[2:]]
            return CommandResult(status=3, output="\n".join(states), errors="")
        said = "the disk is broken" if argv[-1] == "pug-postgres.service" else ""
        return CommandResult(status=0, output=said, errors="")

    async with public_port([503]) as port:
        with pytest.raises(TimedOutError) as caught:
            await services(tmp_path, port, RecordingHost(answer)).wait(0.2)
    assert "pug-postgres.service is activating: the disk is broken" in caught.value.message
    assert caught.value.exit_status == 7


@pytest.mark.parametrize("growing", [True, False])
async def test_a_slow_machine_is_waited_for_while_more_gets_ready(
    tmp_path: Path, *, growing: bool
) -> None:
    """Each answer takes half the limit; the control arm stands still and is given up."""
    active = 0

    def answer(argv: tuple[str, ...]) -> CommandResult:
        nonlocal active
        active += growing
        states = ["active"] * active + ["activating"] * len(argv)
        return CommandResult(status=3, output="\n".join(states[: len(argv) - 2]), errors="")

    clock = FixedClock()
    async with public_port([503] * 8 + [200], asked=lambda: clock.advance(30)) as port:
        waiting = services(tmp_path, port, RecordingHost(answer), clock).wait(60)
        if growing:
            await waiting
            return
        with pytest.raises(TimedOutError):
            await waiting


async def test_nobody_at_the_port_is_no_answer(tmp_path: Path) -> None:
    async with public_port([200]) as port:
        pass
    assert not await services(tmp_path, port, RecordingHost()).answers()


async def test_stale_units_are_removed_and_own_ones_written_once(tmp_path: Path) -> None:
    host = RecordingHost()
    work = services(tmp_path, 8080, host)
    folder = tmp_path / "units"
    folder.mkdir()
    (folder / "pug-old.service").write_text("[Unit]\n")
    (folder / "pug-appliance.service.d").mkdir()
    (folder / "other.service").write_text("[Unit]\n")
    await work.write()
    await work.write()
    assert not (folder / "pug-old.service").exists()
    assert (folder / "pug-appliance.service.d").is_dir()
    assert (folder / "other.service").exists()
    assert host.commands.count(("systemctl", "daemon-reload")) == 1
    assert host.commands.count(("systemctl", "enable", "pug.target")) == 2


@pytest.mark.parametrize(
    ("host", "asked"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.5", "10.0.0.5")]
)
def test_the_machine_itself_asks_a_reachable_address(host: str, asked: str) -> None:
    settings = msgspec.structs.replace(Settings(), api=ApiSettings(host=host, port=81))
    assert local_address(settings) == (asked, 81)
