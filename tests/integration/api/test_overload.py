"""Too much at once, and too slowly: memory stays bounded and the usual batch gets through."""

import gzip
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, sleep

import httpx
import psutil
import pytest

from tests.support.api_services import PUBLIC_KEY, api_process
from tests.support.rpc import BATCH_CREATE, PUBLIC, event, refused
from tests.support.stack import until

pytestmark = pytest.mark.integration

JSON = {**PUBLIC, "content-type": "application/json"}
GROWTH_BYTES_MAX = 512 << 20
LARGE = 16 << 20
SLOW_ONES = 40
WAIT_SECONDS = 90


class Server:
    """A server in a process of its own, and how much memory it ever had."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}{BATCH_CREATE}"
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss
        self._peak = self._before
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        return httpx.post(self.url, content=body, headers={**JSON, **headers}, timeout=60)

    def small(self) -> httpx.Response:
        """What an SDK sends."""
        return self.post(json.dumps({"events": [event(1)]}).encode())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS)

    def end(self) -> int:
        """How much memory it took at most, beside what it had at first."""
        self._stop.set()
        self._watcher.join()
        return self._peak - self._before

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._peak = max(self._peak, self._process.memory_info().rss)
            sleep(0.02)


@pytest.fixture
def server() -> Generator[Server]:
    with api_process() as (port, process):
        made = Server(port, process.pid)
        try:
            yield made
        finally:
            grown = made.end()
            print(f"grown by {grown >> 20} MiB")
        assert grown < GROWTH_BYTES_MAX


def head(length: int) -> bytes:
    return (
        f"POST {BATCH_CREATE} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {PUBLIC_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def at_once(number: int, work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(number) as pool:
        for done in [pool.submit(work) for _ in range(number)]:
            done.result()


def test_halves_of_large_bodies(server: Server):
    """A hundred clients that send half of 16 MiB and stop there: 800 MiB that are not held."""
    connections: list[socket.socket] = []

    def push() -> None:
        connection = server.connect()
        connections.append(connection)
        with suppress(OSError):  # refused while it sends
            connection.sendall(head(LARGE) + b" " * (LARGE // 2))

    at_once(100, push)
    assert server.small().status_code == 200, "a small batch passes meanwhile"
    answers: Counter[bytes] = Counter()

    def are_refused() -> bool | None:
        for connection in connections:
            with suppress(OSError):
                connection.settimeout(0.01)
                answers[connection.recv(65536)[:12]] += 1
        return answers[b"HTTP/1.1 503"] > 50 or None

    try:
        until(are_refused, what="refusals", seconds=WAIT_SECONDS)
    finally:
        for connection in connections:
            connection.close()


def test_large_batches_in_work(server: Server):
    """Decoded batches that wait for something are counted until they are done."""
    events = [event(number, kind="slow") for number in range(1000)]
    for number, one in enumerate(events):
        one["customProperties"] = {f"k{n}": {"stringValue": f"{number}" * 20} for n in range(20)}
    body = json.dumps({"events": events}).encode()
    answers: list[httpx.Response] = []
    at_once(80, lambda: answers.append(server.post(body)))
    told = Counter(one.status_code for one in answers)
    assert set(told) == {200, 503}, told
    for one in answers:
        if one.status_code == 503:
            refused(one, 503, "unavailable")
            assert one.headers["retry-after"] == "1"
    assert server.post(body).status_code == 200, "what was held is free again"


def test_bombs_at_once(server: Server):
    """Bodies of a few bytes that unpack to the limit, and beyond it."""
    fits = gzip.compress(b'{"events":[' + b" " * (LARGE - 100) + b"]}")
    bursts = gzip.compress(b'{"events":[' + b" " * (4 * LARGE) + b"]}")
    packed = {"content-encoding": "gzip"}
    answers: list[int] = []
    for body in (fits, bursts, bursts, bursts):

        def send(body: bytes = body) -> None:
            answers.append(server.post(body, **packed).status_code)

        at_once(30, send)
    told = Counter(answers)
    assert set(told) <= {200, 400, 503}, told
    assert told[400] == 90


def test_refused_bodies_are_let_go(server: Server):
    """What is refused is forgotten at once: 0.6 GiB of bodies, one after the other."""
    for body in (
        b'{"events":[' + b" " * (LARGE - 1000),
        b'{"events":[{}]}' + b" " * (LARGE - 1000),
    ):
        for _ in range(20):
            assert server.post(body).status_code == 400


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_slow_clients(server: Server):
    """Heads and bodies that trickle are given up, each told so where it can be read; meanwhile
    everybody else is served.
    """
    heads = [server.connect() for _ in range(SLOW_ONES)]
    bodies = [server.connect() for _ in range(SLOW_ONES)]
    for connection in heads:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")
    for connection in bodies:
        connection.sendall(head(1000) + b"{")
    ended: Counter[str] = Counter()

    def trickle() -> None:
        """One more byte a second for each, until all were given up."""
        end = monotonic() + WAIT_SECONDS
        while (heads or bodies) and monotonic() < end:
            for kind, connections in (("head", heads), ("body", bodies)):
                for connection in list(connections):
                    if _is_over(connection, ended, kind):
                        connections.remove(connection)
            assert server.small().status_code == 200
            sleep(1)

    trickle()
    assert ended["head"] == SLOW_ONES
    assert ended["body 504"] + ended["body"] == SLOW_ONES
    assert ended["body 504"], ended


def _is_over(connection: socket.socket, ended: Counter[str], kind: str) -> bool:
    connection.settimeout(0.001)
    try:
        answer = connection.recv(65536)
    except TimeoutError:
        with suppress(OSError):
            connection.send(b"x")
        return False
    except OSError:
        answer = b""
    status = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 504") else ""
    ended[f"{kind} {status}".strip()] += 1
    connection.close()
    return True
