"""A client that never sends anything twice, as a program: what happens to it is what happened.

Started in a guest's network namespace. Sends batches over kept connections until it is told to end
(SIGTERM), then prints one JSON object: batches acknowledged, refused and failed, the events of the
acknowledged ones, and the longest time without any acknowledgement.
"""

import argparse
import http.client
import json
import select
import signal
import socket
import sys
import threading
import time
from itertools import pairwise
from types import FrameType
from urllib.parse import urlsplit

import msgspec

from tests.support.stack import BATCH_CREATE, make_event

HTTP_OK = 200


class Report:
    """What all senders saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.acknowledged_batches = 0
        self.acknowledged_events = 0
        self.refused = 0
        self.failures: dict[str, int] = {}
        self.latencies: list[float] = []
        self.acknowledged_at: list[float] = []

    def failed(self, cause: str) -> None:
        with self.lock:
            self.failures[cause] = self.failures.get(cause, 0) + 1

    def acknowledged(self, events: int, latency: float) -> None:
        with self.lock:
            self.acknowledged_batches += 1
            self.acknowledged_events += events
            self.latencies.append(latency)
            self.acknowledged_at.append(time.monotonic())

    def summary(self) -> dict[str, object]:
        times = sorted(self.acknowledged_at)
        pauses = [after - before for before, after in pairwise(times)]
        ordered = sorted(self.latencies)
        return {
            "acknowledged_batches": self.acknowledged_batches,
            "acknowledged_events": self.acknowledged_events,
            "refused": self.refused,
            "failed": sum(self.failures.values()),
            "failures": self.failures,
            "longest_pause_seconds": round(max(pauses, default=0.0), 4),
            "longest_request_seconds": round(max(ordered, default=0.0), 4),
            "p99_seconds": round(ordered[int(len(ordered) * 0.99)], 4) if ordered else 0.0,
        }


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for; `rate` is batches a second of one sender."""

    url: str
    key: str
    kind: str
    senders: int
    events: int
    rate: float


def send_until(stop: threading.Event, arguments: Orders, report: Report) -> None:
    """One sender: one kept connection, one batch after the other, at most `rate` a second."""
    address = urlsplit(arguments.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    interval = 1 / arguments.rate
    while not stop.wait(interval):
        batch = [
            make_event(arguments.kind, distinct_id=f"anon-{number}")
            for number in range(arguments.events)
        ]
        body = json.dumps({"events": batch})
        started = time.monotonic()
        try:
            if connection.sock is not None and is_closed(connection.sock):
                connection.close()
            connection.request(
                "POST",
                BATCH_CREATE,
                body,
                {"x-api-key": arguments.key, "content-type": "application/json"},
            )
            answer = connection.getresponse()
            answer.read()
        except ConnectionRefusedError:
            with report.lock:
                report.refused += 1
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            report.failed(type(error).__name__)
            connection.close()
        else:
            if answer.status == HTTP_OK:
                report.acknowledged(arguments.events, time.monotonic() - started)
            else:
                report.failed(str(answer.status))


def is_closed(door: socket.socket) -> bool:
    """Whether the server has closed a connection that nobody uses; every HTTP client looks."""
    readable, _, _ = select.select([door], [], [], 0)
    return bool(readable)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--rate", type=float, default=25.0, help="batches a second and sender")
    arguments = msgspec.convert(vars(parser.parse_args()), Orders)
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    signal.signal(signal.SIGTERM, end)
    report = Report()
    senders = [
        threading.Thread(target=send_until, args=(stop, arguments, report))
        for _ in range(arguments.senders)
    ]
    for sender in senders:
        sender.start()
    print("sending", flush=True)
    stop.wait()
    for sender in senders:
        sender.join()
    json.dump(report.summary(), sys.stdout)
    print(flush=True)


if __name__ == "__main__":
    main()
