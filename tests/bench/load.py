"""Batches of events over plain keep-alive sockets, so that the load generator costs little.

Every batch is a template whose event ids are replaced: the bytes differ, the work is the same.
"""

import json
import socket
import threading
from datetime import UTC, datetime
from time import perf_counter, sleep
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from appliance.config.connection import Connection
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest

PLACEHOLDER = "00000000-0000-4000-8000-{:012d}"
BATCH_CREATE = "/sdk.events.v1.EventsService/BatchCreate"
ANSWER_SECONDS_MAX = 30


def make_request(kind: str, events: int) -> dict[str, object]:
    """A batch of events with 22 properties each, as a browser SDK sends them."""
    now = datetime.now(tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    automatic = {
        "$url": "https://shop.example/plants/ferns/window-fern?utm_source=newsletter",
        "$referrer": "https://www.google.com/",
        "$pageTitle": "Window Fern",
        "$platform": "web",
        "$browser": "Google Chrome",
        "$browserVersion": "131",
        "$os": "Windows",
        "$osVersion": "10",
        "$device": "Desktop",
        "$locale": "de-AT",
        "$screenWidth": "1920",
        "$screenHeight": "1080",
        "$sdkVersion": "0.1.0",
        "$country": "AT",
        "$city": "Graz",
    }
    custom = {
        "productId": {"stringValue": "window-fern"},
        "productName": {"stringValue": "Window Fern"},
        "category": {"stringValue": "ferns"},
        "price": {"doubleValue": 14.5},
        "quantity": {"intValue": "2"},
        "member": {"boolValue": True},
        "currency": {"stringValue": "EUR"},
    }
    return {
        "events": [
            {
                "eventId": PLACEHOLDER.format(number),
                "kind": kind,
                "occurTime": now,
                "distinctId": f"anon-{number % 37}",
                "sessionId": f"00000000-0000-4000-9000-{number % 37:012d}",
                "autoProperties": {key: {"stringValue": text} for key, text in automatic.items()},
                "customProperties": custom,
            }
            for number in range(events)
        ]
    }


class Template:
    """A request whose event ids are replaced for each batch without changing its length."""

    def __init__(self, connection: Connection, kind: str, form: str, events: int) -> None:
        body = json.dumps(make_request(kind, events)).encode()
        if form == "proto":
            body = BatchCreateRequest.from_json(body.decode()).to_binary()
        where = urlsplit(connection.url)
        head = (
            f"POST {BATCH_CREATE} HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Content-Type: application/{form}\r\nX-Api-Key: {connection.public_key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        self.events = events
        self.size = len(body)
        text = head + body
        self._pieces: list[bytes] = []
        for number in range(events):
            before, _, text = text.partition(PLACEHOLDER.format(number).encode())
            self._pieces.append(before)
        self._tail = text

    def fill(self) -> bytes:
        """The bytes of one more batch, never sent before."""
        prefix = uuid4().hex
        start = f"{prefix[:8]}-{prefix[8:12]}-4{prefix[13:16]}-a{prefix[17:20]}-{prefix[20:24]}"
        parts: list[bytes] = []
        for number, piece in enumerate(self._pieces):
            parts += [piece, f"{start}{number:08x}".encode()]
        parts.append(self._tail)
        return b"".join(parts)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What was acknowledged, how long that took, and the seconds of each POST in order of size."""

    batches: int
    seconds: float
    latencies: list[float]

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the POSTs does not exceed."""
        if not self.latencies:
            return 0.0
        place = min(int(len(self.latencies) * share), len(self.latencies) - 1)
        return round(self.latencies[place] * 1000, 1)


def send_for(
    template: Template, connection: Connection, *, seconds: float, connections: int, rate: float
) -> Sent:
    """Post batches on every connection until the time is over; `rate` events a second, 0: all."""
    where = urlsplit(connection.url)
    assert where.hostname is not None
    assert where.port is not None
    pause = template.events * connections / rate if rate else 0.0
    found: list[list[float]] = [[] for _ in range(connections)]
    failures: list[Exception] = []
    began = perf_counter()

    def work(latencies: list[float]) -> None:
        try:
            _post_until(template, (where.hostname, where.port), began + seconds, pause, latencies)
        except Exception as error:  # noqa: BLE001 told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(each,)) for each in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = perf_counter() - began
    if failures:
        raise failures[0]
    latencies = sorted(one for each in found for one in each)
    return Sent(batches=len(latencies), seconds=took, latencies=latencies)


def _post_until(
    template: Template, where: tuple[object, object], end: float, pause: float, found: list[float]
) -> None:
    host, port = str(where[0]), int(str(where[1]))
    with socket.create_connection((host, port), timeout=ANSWER_SECONDS_MAX) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        due = perf_counter()
        while perf_counter() < end:
            request = template.fill()
            if pause:
                due += pause
                sleep(max(0.0, due - perf_counter()))
            began = perf_counter()
            connection.sendall(request)
            status = reader.readline()
            length = 0
            while (line := reader.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = reader.read(length)
            assert b" 200 " in status, (status, body)
            found.append(perf_counter() - began)
