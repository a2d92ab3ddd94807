"""Entries on their way to syslog servers: real sockets, a real rsyslogd, and servers that fail."""

import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.base.clock import SystemClock
from appliance.lifecycle.tls import install, read_bundle
from appliance.supervisor.journal_socket import JournalSocket
from appliance.supervisor.lines import Entry
from appliance.supervisor.syslog import Forwarder, Target, parse_target
from tests.support.authority import Authority, write_pem
from tests.support.ports import free_port
from tests.support.stack import until
from tests.support.syslog_message import Message, parse_message, split_frames

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60


def entry(number: int, event: str = "counted") -> Entry:
    return Entry(
        timestamp="2026-05-10T09:30:00.123+00:00",
        level="warning",
        component="events",
        pid=7,
        restart=0,
        event=event,
        fields={"number": number},
    )


@contextmanager
def forwarding(target: Target, **options: object) -> Generator[Forwarder]:
    forwarder = Forwarder(target, hostname="box", **options)  # type: ignore[arg-type]
    try:
        yield forwarder
    finally:
        forwarder.close()


def numbers(messages: list[Message]) -> list[int]:
    return [int(message.fields["number"]) for message in messages]


def is_whole(stream: bytes) -> bool:
    """Whether no message is on its way."""
    try:
        split_frames(stream)
    except AssertionError:
        return False
    return True


class Receiver:
    """A server that reads everything of every connection."""

    def __init__(
        self, wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.streams: list[bytearray] = []
        self.connections: list[socket.socket] = []
        self._wrap = wrap
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            try:
                connection = self._wrap(plain)
            except OSError:
                continue  # a client that does not trust us says so, or just goes away
            stream = bytearray()
            self.streams.append(stream)
            self.connections.append(connection)
            threading.Thread(target=self._read, args=(connection, stream), daemon=True).start()

    @staticmethod
    def _read(connection: socket.socket, stream: bytearray) -> None:
        try:
            while chunk := connection.recv(65536):
                stream += chunk
        except OSError:
            return

    def messages(self) -> list[Message]:
        return [
            parse_message(one) for stream in self.streams for one in split_frames(bytes(stream))
        ]

    def waits_for(self, count: int) -> None:
        """Return when so many messages have come, the last one as a whole."""

        def came() -> bool | None:
            streams = [bytes(stream) for stream in self.streams]
            whole = [len(split_frames(stream)) for stream in streams if is_whole(stream)]
            return (len(whole) == len(streams) and sum(whole) == count) or None

        until(came, what=f"{count} messages", seconds=PATIENCE_SECONDS)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self.listener.close()


@pytest.fixture
def receiver() -> Generator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def test_datagrams():
    """UDP: one message a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        door.settimeout(PATIENCE_SECONDS)
        with forwarding(parse_target(f"udp://127.0.0.1:{door.getsockname()[1]}")) as forwarder:
            for number in range(20):
                forwarder.send(entry(number))
            got = [parse_message(door.recv(65536)) for _ in range(20)]
    assert numbers(got) == list(range(20))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["dgram", "stream"])
def test_unix_sockets(tmp_path: Path, kind: socket.SocketKind):
    """/dev/log is one of both kinds."""
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, kind) as door:
        door.bind(str(path))
        door.settimeout(PATIENCE_SECONDS)
        if kind is socket.SOCK_STREAM:
            door.listen()
        with forwarding(Target(scheme="unix", path=str(path))) as forwarder:
            forwarder.send(entry(1))
            if kind is socket.SOCK_STREAM:
                connection, _ = door.accept()
                with connection:
                    connection.settimeout(PATIENCE_SECONDS)
                    raw = connection.recv(65536)
            else:
                raw = door.recv(65536)
    assert parse_message(raw.rstrip(b"\n\x00")).app == "pug-events"


def test_a_stream_that_is_cut_goes_on(receiver: Receiver):
    """TCP: counted octets, a new connection after the server closed the old one."""
    with forwarding(parse_target(f"tcp://127.0.0.1:{receiver.port}")) as forwarder:
        for number in range(100):
            forwarder.send(entry(number))
        receiver.waits_for(100)
        receiver.connections[0].shutdown(socket.SHUT_RDWR)
        receiver.connections[0].close()
        for number in range(100, 200):
            forwarder.send(entry(number))
        receiver.waits_for(200)
    assert numbers(receiver.messages()) == list(range(200))
    assert len(receiver.streams) == 2


def test_tls_with_an_authority_of_ones_own_and_no_other(tmp_path: Path):
    """A server whose certificate is not trusted gets nothing."""
    authority = Authority()
    leaf = authority.issue(("127.0.0.1",))
    certificate, key = write_pem(tmp_path, leaf, authority.intermediate, key=authority.key)
    place = tmp_path / "server.pem"
    clock = SystemClock()
    install(read_bundle(certificate, key, None, clock=clock, passphrase=None), place)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place)
    receiver = Receiver(lambda plain: context.wrap_socket(plain, server_side=True))
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    ours.write_bytes(Authority.pem(authority.root))
    theirs.write_bytes(Authority.pem(Authority().root))
    target = parse_target(f"tls://127.0.0.1:{receiver.port}")
    try:
        with forwarding(target, authorities=theirs) as stranger:
            stranger.send(entry(0))
            with forwarding(target, authorities=ours) as forwarder:
                for number in range(1, 50):
                    forwarder.send(entry(number))
                receiver.waits_for(49)
        assert numbers(receiver.messages()) == list(range(1, 50))
    finally:
        receiver.close()


def test_nobody_waits_and_the_oldest_go_first():
    """While no server is there lines are dropped and counted; the count is told afterwards."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))  # taken, and refuses until it listens
        target = parse_target(f"tcp://127.0.0.1:{door.getsockname()[1]}")
        with forwarding(target, entries_max=50) as forwarder:
            for number in range(1000):
                forwarder.send(entry(number))
            assert forwarder.dropped >= 948
            door.listen()
            door.settimeout(PATIENCE_SECONDS)
            connection, _ = door.accept()
            with connection:
                connection.settimeout(PATIENCE_SECONDS)
                stream = b""
                while b'number="999"' not in stream or not is_whole(stream):
                    chunk = connection.recv(65536)
                    assert chunk, stream[-200:]
                    stream += chunk
    messages = [parse_message(one) for one in split_frames(stream)]
    told = [message for message in messages if message.id == "syslog_lines_dropped"]
    kept = numbers([message for message in messages if message.id == "counted"])
    assert sum(int(message.fields["lines"]) for message in told) == 1000 - len(kept)
    assert kept == sorted(kept)
    assert kept[-49:] == list(range(951, 1000))


def test_a_server_that_does_not_read_keeps_nobody():
    """Its buffers fill, the queue fills, lines are dropped, and the caller never notices."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        target = parse_target(f"tcp://127.0.0.1:{door.getsockname()[1]}")
        forwarder = Forwarder(target, hostname="box", entries_max=100)
        for number in range(20_000):
            forwarder.send(entry(number, event="x" * 4000))
        assert forwarder.dropped > 0
        forwarder.close()


def test_the_journal_gets_fields(tmp_path: Path):
    """A datagram of the journal's protocol; without a journal the line is not taken."""
    path = tmp_path / "journal"
    journal = JournalSocket(str(path))
    assert not journal.send(entry(1))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(path))
        door.settimeout(PATIENCE_SECONDS)
        assert journal.send(entry(1))
        lines = door.recv(65536).decode().splitlines()
    journal.close()
    assert "PRIORITY=4" in lines
    assert "PUG_COMPONENT=events" in lines


@pytest.mark.skipif(shutil.which("rsyslogd") is None, reason="rsyslogd is not installed")
@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_rsyslog_understands_every_part(tmp_path: Path, scheme: str):
    """The server that most machines have takes header, structured data and text apart."""
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    port = free_port(kind)
    out = tmp_path / "out"
    configuration = tmp_path / "rsyslog.conf"
    configuration.write_text(f"""
module(load="im{scheme}")
input(type="im{scheme}" port="{port}" address="127.0.0.1")
template(name="parts" type="string"
  string="%pri% %hostname% %app-name% %procid% %msgid% %structured-data% %msg%\\n")
action(type="omfile" file="{out}" template="parts" asyncWriting="off" flushOnTXEnd="on")
""")
    daemon = subprocess.Popen(
        ["rsyslogd", "-n", "-f", str(configuration), "-i", str(tmp_path / "pid")],
        stderr=subprocess.DEVNULL,
    )
    sent = 0

    def arrived() -> bool | None:
        nonlocal sent
        sent += 1  # a datagram before the daemon listens is lost
        forwarder.send(entry(sent, 'a "quoted" ] text'))
        return True if out.exists() and out.read_text() else None

    try:
        with forwarding(parse_target(f"{scheme}://127.0.0.1:{port}")) as forwarder:
            until(arrived, what="a line", seconds=PATIENCE_SECONDS)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(PATIENCE_SECONDS)
    line = out.read_text().splitlines()[0]
    assert line.startswith(
        '28 box pug-events 7 - [pug@32473 component="events" restart="0" number="'
    )
    assert line.endswith('a "quoted" ] text')
