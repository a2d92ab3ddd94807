"""The queue's program on a socket that somebody else holds: nobody is refused, nothing is lost."""

import gc
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import nats
import pytest
from nats.errors import Error as NatsError

pytestmark = [
    # the client leaves the socket of a refused connection to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.timeout(1800),
]


@pytest.fixture(autouse=True)
def collected() -> Generator[None]:
    """The client leaves the socket of a refused connection to the collector; it goes here."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""
LISTENING = "0A"
SMALL_DISK_BYTES = 256 << 20
PIECE_BYTES = 1 << 16


@pytest.fixture
def program(unpacked: Path) -> Path:
    return unpacked / "engines/nats/nats-server"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


def write_config(folder: Path) -> Path:
    path = folder / "nats.conf"
    path.write_text(
        'listen: "127.0.0.1:-1"\nhttp: "127.0.0.1:-1"\n'
        'authorization { users = [ { user: pug, password: "right" } ] }\n'
        f'jetstream {{ store_dir: "{folder}/store", sync_interval: always }}\n'
    )
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs")
    if subprocess.run(["mount", *options, str(folder)], check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def started(
    program: Path, config: Path, door: socket.socket | None, *, status: int = 0
) -> Generator[int]:
    """The pid of a server that has said to be ready, as systemd would hear it.

    `status` is how it ends, by itself when that is not nought.
    """
    manager = config.with_name("notify")
    command = (str(program), "--config", str(config))
    environment = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(manager)}
    if door is not None:
        command = (sys.executable, "-c", HAND_OVER, str(door.fileno()), *command)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(manager))
        heard.settimeout(60)
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=() if door is None else (door.fileno(),),
            stderr=subprocess.DEVNULL,
        )
        try:
            assert heard.recv(100) == b"READY=1"
            yield process.pid
        finally:
            if status == 0:
                process.terminate()
            try:
                assert process.wait(timeout=60) == status
            finally:
                process.kill()
                manager.unlink()


def listening(pid: int) -> set[str]:
    """The listening TCP sockets of a process."""
    held = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return held & {f"socket:[{words[9]}]" for words in lines if words[3] == LISTENING}


async def test_who_connects_while_it_restarts_waits(program: Path, config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"nats://pug:right@127.0.0.1:{door.getsockname()[1]}"
        payload = os.urandom(512 << 10)
        with started(program, config, door):
            client = await nats.connect(address, connect_timeout=30)
            stream = client.jetstream(timeout=30)
            await stream.add_stream(name="events", subjects=["events"])
            assert (await stream.publish("events", payload)).seq == 1
            await client.close()
        early = socket.create_connection(door.getsockname()[:2], timeout=60)
        with early, started(program, config, door):
            assert early.recv(5) == b"INFO "
            client = await nats.connect(address, connect_timeout=30)
            found = await client.jetstream(timeout=30).get_msg("events", 1)
            assert found.data == payload
            await client.close()


def test_it_opens_no_socket_when_it_was_given_one(program: Path, config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        own = str(Path(f"/proc/self/fd/{door.fileno()}").readlink())
        with started(program, config, door) as pid:
            assert listening(pid) == {own}
    with started(program, config, None) as pid:
        assert len(listening(pid)) == 2  # for clients and for monitoring


async def test_the_password_is_asked_for(program: Path, config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, started(program, config, door):
        address = f"nats://pug:wrong@127.0.0.1:{door.getsockname()[1]}"
        with pytest.raises(NatsError):
            await nats.connect(
                address, connect_timeout=30, allow_reconnect=False, max_reconnect_attempts=0
            )


async def test_it_starts_anew_when_a_full_disk_has_room_again(
    program: Path, small_disk: Path
) -> None:
    """[targets T15] A stream whose write failed refuses everything until it is loaded again."""
    config = write_config(small_disk)
    filler = small_disk / "filler"
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"nats://pug:right@127.0.0.1:{door.getsockname()[1]}"
        with started(program, config, door, status=1):
            client = await nats.connect(
                address, connect_timeout=30, allow_reconnect=False, max_reconnect_attempts=0
            )
            stream = client.jetstream(timeout=10)
            await stream.add_stream(name="events", subjects=["events"])
            assert (await stream.publish("events", b"kept")).seq == 1
            fill(filler)
            with pytest.raises(NatsError):
                await stream.publish("events", os.urandom(PIECE_BYTES))
            filler.unlink()
            with pytest.raises(NatsError):
                await stream.publish("events", b"refused although there is room")
            await client.close()
        with started(program, config, door):
            client = await nats.connect(address, connect_timeout=30)
            stream = client.jetstream(timeout=30)
            assert (await stream.publish("events", b"taken")).seq > 1
            assert (await stream.get_msg("events", 1)).data == b"kept"
            await client.close()


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(PIECE_BYTES))
