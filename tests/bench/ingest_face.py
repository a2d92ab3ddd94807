"""How many events a second the ingest face takes alone, with no store behind it.

Prints one line for each form. The load generator runs in a process of its own on the same cores.

    .venv/bin/python -m tests.bench.ingest_face [--seconds 5] [--connections 8] [--events 100]
"""

import argparse
import asyncio
import json
import random
from time import perf_counter, process_time

import psutil

from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest
from tests.support.api_services import PUBLIC_KEY, api_process

PATH = "/sdk.events.v1.EventsService/BatchCreate"
BATCHES = 64


def event(number: int, dice: random.Random) -> dict[str, object]:
    """One page view with 22 properties, a third of them different each time."""
    page = dice.randrange(200)
    auto = {
        "$projectId": "dc0ih2od02im4i4pssrg",
        "$platform": "web",
        "$url": f"https://shop.example/plants/{page}?utm_source=mail",
        "$referrer": f"https://search.example/?q={page % 20}",
        "$locale": dice.choice(["en-GB", "de-DE", "ne-NP"]),
        "$screenWidth": dice.choice(["1920", "1366", "390"]),
        "$screenHeight": dice.choice(["1080", "768", "844"]),
        "$sdkVersion": "0.1.0",
        "$pageTitle": f"Plant {page}",
        "$browser": dice.choice(["Chrome", "Firefox", "Safari"]),
        "$browserVersion": dice.choice(["126", "127", "128"]),
        "$os": dice.choice(["Windows", "macOS", "Linux"]),
        "$osVersion": "10",
        "$utmSource": "mail",
    }
    custom: dict[str, dict[str, object]] = {
        "price": {"doubleValue": round(dice.random() * 100, 2)},
        "position": {"intValue": str(dice.randrange(50))},
        "cart_value": {"doubleValue": round(dice.random() * 500, 2)},
        "in_stock": {"boolValue": dice.random() < 0.9},
        "category": {"stringValue": dice.choice(["ferns", "palms", "cacti"])},
        "experiment": {"stringValue": "b"},
        "scroll": {"intValue": str(dice.randrange(100))},
        "note": {"stringValue": f"note {dice.randrange(10_000)}"},
    }
    visitor = dice.randrange(5000)
    return {
        "eventId": f"01890000-0000-7000-8000-{number:012d}",
        "kind": dice.choice(["page_view", "click", "add_to_cart"]),
        "distinctId": f"anon-01890000-0000-7000-8000-{visitor:012d}",
        "sessionId": f"01890000-0000-7000-9000-{visitor:012d}",
        "occurTime": f"2026-03-04T05:06:{number % 60:02d}.{number % 1000:03d}Z",
        "autoProperties": {key: {"stringValue": value} for key, value in auto.items()},
        "customProperties": custom,
    }


def requests(form: str, events: int) -> list[bytes]:
    """Whole HTTP requests, ready to be written."""
    dice = random.Random(7)
    found: list[bytes] = []
    for batch in range(BATCHES):
        first = batch * events
        content = {"events": [event(first + i, dice) for i in range(events)]}
        body = json.dumps(content, separators=(",", ":")).encode()
        if form == "proto":
            body = BatchCreateRequest.from_json(body).to_binary()
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {PUBLIC_KEY}\r\n"
            f"content-type: application/{form}\r\nconnect-protocol-version: 1\r\n"
            f"user-agent: bench\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


async def send_for(port: int, load: list[bytes], connections: int, seconds: float) -> int:
    """Send on every connection until the time is over; returns how many were answered 200."""
    end = perf_counter() + seconds
    done = 0

    async def run(first: int) -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = first
        while perf_counter() < end:
            writer.write(load[number % len(load)])
            number += 1
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            start = head.lower().index(b"content-length: ") + 16
            await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
            done += 1
        writer.close()

    async with asyncio.TaskGroup() as group:
        for connection in range(connections):
            group.create_task(run(connection * 7))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--checked", action="store_true", help="with the rules of the domain")
    arguments = parser.parse_args()
    flags = [] if arguments.checked else ["--unchecked"]
    with api_process(*flags) as (port, server):
        process = psutil.Process(server.pid)
        print(f"idle rss {process.memory_info().rss >> 20} MB")
        for form in ("json", "proto"):
            load = requests(form, arguments.events)
            asyncio.run(send_for(port, load, arguments.connections, 1.0))
            server_before, own_before = sum(process.cpu_times()[:2]), process_time()
            began = perf_counter()
            done = asyncio.run(send_for(port, load, arguments.connections, arguments.seconds))
            took = perf_counter() - began
            server_cpu = sum(process.cpu_times()[:2]) - server_before
            own_cpu = process_time() - own_before
            events = done * arguments.events
            print(
                f"{form}: {events / took:,.0f} events/s in requests of "
                f"{len(load[0]):,} bytes; server {server_cpu / events * 1e6:.1f} us/event, "
                f"generator {own_cpu / events * 1e6:.1f} us/event, "
                f"rss {process.memory_info().rss >> 20} MB"
            )


if __name__ == "__main__":
    main()
