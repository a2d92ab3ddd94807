"""The faces under the real server: protocols with a real client, sockets, stopping."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import httpx
import pytest
from connectrpc.code import Code
from connectrpc.codec import proto_json_codec
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType
from pyqwest import Client, HTTPTransport, HTTPVersion

from appliance.api.server import open_listener
from appliance.base.errors import UnmetError
from appliance.config.model import ApiSettings, Settings
from appliance.gen.sdk.events.v1.events_connect import EventsServiceClient
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest
from appliance.gen.shared.profiles.v1.profiles_connect import ProfilesServiceClient
from appliance.gen.shared.profiles.v1.profiles_pb import ListRequest
from tests.support.api_services import PUBLIC_KEY, SLOW_SECONDS, api_process
from tests.support.ports import free_port
from tests.support.rpc import BATCH_CREATE, PRIVATE, PUBLIC, event, refused

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

JSON = {**PUBLIC, "content-type": "application/json"}
WAIT_SECONDS = 60
BATCH = BatchCreateRequest.from_json(json.dumps({"events": [event(1), event(2)]}))


@pytest.fixture(scope="module")
def port() -> Generator[int]:
    with api_process() as (number, _):
        yield number


@pytest.fixture(params=[HTTPVersion.HTTP1, HTTPVersion.HTTP2], ids=["http1", "h2c"])
async def http(request: pytest.FixtureRequest) -> AsyncGenerator[Client]:
    async with HTTPTransport(http_version=request.param) as transport:
        yield Client(transport)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("codec", [None, proto_json_codec()], ids=["proto", "json"])
@pytest.mark.parametrize("protocol", [ProtocolType.CONNECT, ProtocolType.GRPC_WEB])
async def test_client_of_the_library(
    port: int, http: Client, protocol: ProtocolType, codec: object, packed: bool
):
    """Connect and gRPC-Web, both forms, packed or not, over HTTP/1.1 and cleartext HTTP/2."""
    client = EventsServiceClient(
        f"http://127.0.0.1:{port}",
        http_client=http,
        protocol=protocol,
        codec=codec,  # type: ignore[arg-type]
        send_compression=GzipCompression() if packed else None,
    )
    answer = await client.batch_create(BATCH, headers=PUBLIC)
    assert (answer.accepted, answer.dropped) == (2, 0)
    with pytest.raises(ConnectError) as refusal:
        await client.batch_create(BATCH)
    assert refusal.value.code is Code.UNAUTHENTICATED
    assert [d.type_name for d in refusal.value.details] == [
        "google.rpc.ErrorInfo",
        "google.rpc.RequestInfo",
    ]


@pytest.fixture(scope="module")
def grpc_port() -> Generator[int]:
    number = free_port()
    with api_process("--grpc", str(number)):
        yield number


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("codec", [None, proto_json_codec()], ids=["proto", "json"])
async def test_grpc_on_its_port(grpc_port: int, codec: object, packed: bool):
    """Native gRPC over h2c: success, refusal with details, a stream's error."""
    address = f"http://127.0.0.1:{grpc_port}"
    async with HTTPTransport(http_version=HTTPVersion.HTTP2) as transport:
        http = Client(transport)
        client = EventsServiceClient(
            address,
            http_client=http,
            protocol=ProtocolType.GRPC,
            codec=codec,  # type: ignore[arg-type]
            send_compression=GzipCompression() if packed else None,
        )
        answer = await client.batch_create(BATCH, headers=PUBLIC)
        assert (answer.accepted, answer.dropped) == (2, 0)
        with pytest.raises(ConnectError) as refusal:
            await client.batch_create(BATCH)
        assert refusal.value.code is Code.UNAUTHENTICATED
        assert len(refusal.value.details) == 2
        profiles = ProfilesServiceClient(address, http_client=http, protocol=ProtocolType.GRPC)
        with pytest.raises(ConnectError) as refusal:
            async for _ in profiles.list(ListRequest(), headers=PRIVATE):
                pass
        assert refusal.value.code is Code.UNAVAILABLE


async def test_grpc_deadline(grpc_port: int):
    """`Grpc-Timeout` ends the work [services 2.1]."""
    slow = BatchCreateRequest.from_json(json.dumps({"events": [event(kind="slow")]}))
    async with HTTPTransport(http_version=HTTPVersion.HTTP2) as transport:
        client = EventsServiceClient(
            f"http://127.0.0.1:{grpc_port}",
            http_client=Client(transport),
            protocol=ProtocolType.GRPC,
        )
        with pytest.raises(ConnectError) as refusal:
            await client.batch_create(slow, headers={**PUBLIC, "grpc-timeout": "50m"})
        assert refusal.value.code is Code.DEADLINE_EXCEEDED


async def test_grpc_is_refused_in_its_own_words(port: int):
    """This server has no trailers; a gRPC client learns that before anything is stored."""
    async with HTTPTransport(http_version=HTTPVersion.HTTP2) as transport:
        client = EventsServiceClient(
            f"http://127.0.0.1:{port}", http_client=Client(transport), protocol=ProtocolType.GRPC
        )
        with pytest.raises(ConnectError) as refusal:
            await client.batch_create(BATCH, headers=PUBLIC)
        assert refusal.value.code is Code.UNIMPLEMENTED
        assert "gRPC-Web" in refusal.value.message
        with pytest.raises(ConnectError) as refusal:
            await client.batch_create(BATCH)
        assert refusal.value.code is Code.UNAUTHENTICATED


@pytest.mark.parametrize("protocol", [ProtocolType.CONNECT, ProtocolType.GRPC_WEB])
async def test_streams(port: int, http: Client, protocol: ProtocolType):
    """A stream's error reaches the client."""
    client = ProfilesServiceClient(f"http://127.0.0.1:{port}", http_client=http, protocol=protocol)
    with pytest.raises(ConnectError) as refusal:
        async for _ in client.list(ListRequest(), headers=PRIVATE):
            pass
    assert refusal.value.code is Code.UNAVAILABLE


def talk(port: int, *pieces: bytes) -> bytes:
    """Write the pieces to a fresh connection and read until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as connection:
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
        return found


def test_chunks_on_the_socket(port: int):
    """A body in chunks without a length, written piece by piece [sdk-protocol 2]."""
    body = BATCH.to_binary()
    head = (
        f"POST {BATCH_CREATE}?api_key={PUBLIC_KEY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Type: application/proto\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    halves = (body[:50], body[50:])
    chunks = [f"{len(half):x}\r\n".encode() + half + b"\r\n" for half in halves]
    answer = talk(port, head, *chunks, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"content-type: application/proto" in answer


def test_announced_too_much(port: int):
    """A length over the limit is refused before the body comes."""
    head = (
        f"POST {BATCH_CREATE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"X-Api-Key: {PUBLIC_KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {1 << 40}\r\n\r\n"
    ).encode()
    answer = talk(port, head)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":"invalid_argument"' in answer


def test_broken_http(port: int):
    """What is not HTTP ends in 400 or a closed connection, and the server lives on."""
    assert b"200" not in talk(port, b"\x16\x03\x01 nonsense\r\n\r\n")[:20]
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok"


def test_running_requests_end_before_the_process():
    """The stop signal refuses new connections and waits for what runs [services 2.6]."""
    answers: list[httpx.Response] = []
    with api_process() as (port, process):
        url = f"http://127.0.0.1:{port}{BATCH_CREATE}"
        slow = {"events": [event(kind="slow")]}
        sender = threading.Thread(
            target=lambda: answers.append(
                httpx.post(url, headers=JSON, json=slow, timeout=WAIT_SECONDS)
            )
        )
        began = time.monotonic()
        sender.start()
        wait_until_busy(port)
        process.send_signal(signal.SIGTERM)
        sender.join(WAIT_SECONDS)
        assert process.wait(WAIT_SECONDS) == 0
        assert time.monotonic() - began >= SLOW_SECONDS
    assert answers[0].json() == {"accepted": 1, "dropped": 0}


def wait_until_busy(port: int) -> None:
    """Until the server has told in its metrics that the slow request is under way."""
    end = time.monotonic() + WAIT_SECONDS
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS) as client:
        while "rpc_requests_in_progress 1.0" not in client.get("/metrics").text:
            assert time.monotonic() < end, "the request never arrived"
            time.sleep(0.01)


def test_idle_connections_do_not_hold_the_process():
    """A client that keeps its connection open does not delay the stop."""
    with api_process() as (port, process), httpx.Client() as client:
        assert client.get(f"http://127.0.0.1:{port}/healthz").text == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(8) == 0


def test_socket_outlives_the_process():
    """With an inherited socket a request sent while no server runs is answered by the next."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        with api_process(listener=listener) as (port, process):
            assert port == listener.getsockname()[1]
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_SECONDS) == 0
        waiting: list[str] = []
        sender = threading.Thread(
            target=lambda: waiting.append(
                httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=WAIT_SECONDS).text
            )
        )
        sender.start()
        with api_process(listener=listener):
            sender.join(WAIT_SECONDS)
        assert waiting == ["ok"]


def test_nobody_is_cut_off_when_one_of_two_leaves():
    """Clients on kept connections, none of which repeats anything, move to the other server."""
    failures: list[str] = []
    answered = 0
    leaving = threading.Event()
    done = threading.Event()

    def send(number: int) -> None:
        nonlocal answered
        with httpx.Client(base_url=f"http://127.0.0.1:{number}", timeout=WAIT_SECONDS) as client:
            while not done.is_set():
                try:
                    answer = client.post(BATCH_CREATE, headers=JSON, json={"events": [event(1)]})
                    answer.raise_for_status()
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                answered += leaving.is_set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        with api_process(listener=listener) as (port, first):
            senders = [threading.Thread(target=send, args=(port,)) for _ in range(4)]
            for sender in senders:
                sender.start()
            try:
                with api_process(listener=listener):
                    leaving.set()
                    first.send_signal(signal.SIGTERM)
                    assert first.wait(WAIT_SECONDS) == 0
                    before = answered
                    wait_until(lambda: answered > before + 20)
                    done.set()
                    for sender in senders:
                        sender.join(WAIT_SECONDS)
            finally:
                done.set()
    assert failures == []


def wait_until(holds: Callable[[], bool]) -> None:
    """Until something holds."""
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_taken_port():
    """A port in use is one sentence with a remedy."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        settings = Settings(api=ApiSettings(host="127.0.0.1", port=number))
        with pytest.raises(UnmetError, match=f"port {number}"):
            open_listener(settings)


def test_server_answers_after_a_refused_body(port: int):
    """A refused body leaves the connection usable or closes it cleanly."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        refused(client.post(BATCH_CREATE, headers=JSON, content=b"{"), 400, "invalid_argument")
        assert client.post(BATCH_CREATE, headers=JSON, content=b"{}").status_code == 200


def test_a_body_that_was_not_read_ends_its_connection(port: int):
    """A client with a pool is told so: its next request never meets the closing connection."""
    large = b'{"events":[' + b" " * (17 << 20) + b"]}"
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=WAIT_SECONDS) as client:
        for _ in range(20):
            answer = client.post(BATCH_CREATE, headers=JSON, content=large)
            refused(answer, 400, "invalid_argument")
            assert answer.headers["connection"] == "close"
            answer = client.post(BATCH_CREATE, headers=JSON, content=b"{}")
            assert answer.status_code == 200
            assert "connection" not in answer.headers, "the control: this one was read"


def test_services_that_cannot_open_end_the_process():
    """A start that fails is told by the exit status; nothing hangs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.api_services", "--broken"],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode != 0
    assert "the HTTP server ended by itself" in done.stderr
