"""Sustained ingest, end to end: posted, acknowledged on disk, inserted, in the roll-up.

    .venv/bin/python tests/bench/ingest.py --data-dir DIR [--seconds 20] [--format json|proto]
                                           [--connections 4] [--rate EVENTS_PER_SECOND]

Drives the running stack of `connection.json` over plain keep-alive sockets, so that the load
generator costs little: every batch is a template whose event ids are replaced. Prints one JSON
object: acknowledged events a second, latency of the POST, and the rate until everything is visible
in the trend (answered from the roll-up and from the raw events).
"""

import argparse
import json
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from appliance.config.connection import Connection, load_connection
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest

BATCH_EVENTS = 100
PLACEHOLDER = "00000000-0000-4000-8000-{:012d}"
BATCH_CREATE = "/sdk.events.v1.EventsService/BatchCreate"
QUERY = "/shared.insights.v1.InsightsService/Query"
VISIBLE_SECONDS_MAX = 120


def make_request(kind: str) -> dict[str, object]:
    """A batch of 100 events with 22 properties each, as a browser SDK sends them."""
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
            for number in range(BATCH_EVENTS)
        ]
    }


class Template:
    """A request whose event ids are replaced for each batch without changing its length."""

    def __init__(self, connection: Connection, kind: str, form: str) -> None:
        request = make_request(kind)
        body = json.dumps(request).encode()
        if form == "proto":
            body = BatchCreateRequest.from_json(body.decode()).to_binary()
        where = urlsplit(connection.url)
        head = (
            f"POST {BATCH_CREATE} HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Content-Type: application/{form}\r\nX-Api-Key: {connection.public_key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        self.size = len(body)
        text = head + body
        self._pieces = []
        for number in range(BATCH_EVENTS):
            before, _, text = text.partition(PLACEHOLDER.format(number).encode())
            self._pieces.append(before)
        self._tail = text

    def fill(self) -> bytes:
        """The bytes of one more batch, never sent before."""
        prefix = uuid4().hex
        start = f"{prefix[:8]}-{prefix[8:12]}-4{prefix[13:16]}-a{prefix[17:20]}-{prefix[20:24]}"
        parts = []
        for number, piece in enumerate(self._pieces):
            parts += [piece, f"{start}{number:08x}".encode()]
        parts.append(self._tail)
        return b"".join(parts)


def post_for(
    template: Template, where: tuple[str, int], end: float, pause: float, found: list[float]
) -> None:
    """Post batches until `end` on one connection; `found` gets the seconds of each POST."""
    with socket.create_connection(where) as connection:
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


def count_visible(connection: Connection, kind: str, *, raw: bool) -> float:
    """The trend of today and its neighbours, from the roll-up or the raw events."""
    day = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    event: dict[str, object] = {"kind": kind}
    if raw:
        event["filters"] = [{"property": "surely", "operator": "FILTER_OPERATOR_IS_NOT_SET"}]
    request = {
        "spec": {"insightType": "INSIGHT_TYPE_TRENDS", "events": [{"event": event}]},
        "granularity": "GRANULARITY_DAY",
        "timeRange": {
            "from": datetime.fromtimestamp(day - 86400, tz=UTC).isoformat(),
            "to": datetime.fromtimestamp(day + 2 * 86400, tz=UTC).isoformat(),
        },
    }
    answer = httpx.post(
        connection.url + QUERY,
        json=request,
        headers={"x-api-key": connection.private_key},
        timeout=60,
    )
    answer.raise_for_status()
    series = answer.json()["trends"].get("series", [])
    return sum(point["value"] for line in series for point in line["points"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--format", choices=["json", "proto"], default="json")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0, help="events a second; 0: unlimited")
    chosen = parser.parse_args()
    connection = load_connection(chosen.data_dir / "connection.json")
    kind = f"bench_{uuid4().hex[:8]}"
    template = Template(connection, kind, chosen.format)
    where = urlsplit(connection.url)
    assert where.hostname is not None
    assert where.port is not None
    pause = BATCH_EVENTS * chosen.connections / chosen.rate if chosen.rate else 0.0
    latencies: list[list[float]] = [[] for _ in range(chosen.connections)]
    began = perf_counter()
    threads = [
        threading.Thread(
            target=post_for,
            args=(template, (where.hostname, where.port), began + chosen.seconds, pause, found),
        )
        for found in latencies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    posted_seconds = perf_counter() - began
    found = sorted(seconds for part in latencies for seconds in part)
    sent = len(found) * BATCH_EVENTS
    limit = perf_counter() + VISIBLE_SECONDS_MAX
    while count_visible(connection, kind, raw=False) < sent and perf_counter() < limit:
        sleep(0.05)
    visible_seconds = perf_counter() - began
    print(
        json.dumps(
            {
                "format": chosen.format,
                "batch_bytes": template.size,
                "events": sent,
                "acknowledged_per_second": round(sent / posted_seconds),
                "visible_per_second": round(sent / visible_seconds),
                "lag_seconds_at_end": round(visible_seconds - posted_seconds, 2),
                "post_p50_ms": round(found[len(found) // 2] * 1000, 1),
                "post_p99_ms": round(found[int(len(found) * 0.99)] * 1000, 1),
                "counted_in_rollup": count_visible(connection, kind, raw=False),
                "counted_raw": count_visible(connection, kind, raw=True),
            }
        )
    )


if __name__ == "__main__":
    main()
