"""What one event costs in the domain: `python -m tests.bench.ingest_domain`.

One batch as the browser SDK sends it, plus custom properties of every slot: 20 properties each.
Each step is measured apart, best of many rounds, in microseconds an event; user agent and URL
caches are warm, as they are after the first batch of a page. Enrichment changes maps in place, so
its rounds get fresh copies, and the copying is not counted.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from typing import Final

from appliance.base.clock import SystemClock
from appliance.domain.ingest.chain import ENRICHMENT, Draft, run_steps
from appliance.domain.ingest.event import decode_batch
from appliance.domain.ingest.facts import gather_facts
from appliance.domain.ingest.rows import encode_rows
from appliance.domain.ingest.validate import check_batch

_AUTO: Final = {
    "$projectId": "cqm0u8k3l0a1b2c3d4e5",
    "$platform": "web",
    "$referrer": "https://www.google.com/",
    "$locale": "en-us",
    "$screenWidth": "1512",
    "$screenHeight": "982",
    "$sdkVersion": "0.1.0",
    "$pageTitle": "Green tea",
    "$browser": "Google Chrome",
    "$browserVersion": "131",
    "$os": "Windows",
    "$osVersion": "10",
    "$mobile": "false",
}
_CUSTOM: Final = {
    "plan": {"stringValue": "pro"},
    "price": {"doubleValue": 12.5},
    "count": {"intValue": "3"},
    "gift": {"boolValue": True},
    "sku": {"stringValue": "SKU-123"},
    "deliveredAt": {"timestampValue": "2026-01-01T00:00:00Z"},
}
_HEADERS: Final = {
    "User-Agent": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/131.0.0.0 Safari/537.36"
    ),
    "CF-IPCountry": "AT",
    "CF-IPCity": "Graz",
    "CF-Bot-Score": "99",
}


def _body(events: int) -> bytes:
    batch = [
        {
            "eventId": f"6f1d9f62-0c7b-4d0e-8a55-{number:012x}",
            "kind": "page_view",
            "occurTime": f"2026-03-04T05:06:{number % 60:02}.{number % 1000:03}Z",
            "distinctId": "cust-42",
            "sessionId": "c3b1a7e4-5d20-4f7e-9a10-0b8c6d4e2f11",
            "autoProperties": {
                "$url": {
                    "stringValue": f"https://shop.acme.test/menu/{number % 20}"
                    "?utm_source=google&utm_medium=cpc"
                },
                **{key: {"stringValue": value} for key, value in _AUTO.items()},
            },
            "customProperties": _CUSTOM,
        }
        for number in range(events)
    ]
    return json.dumps({"events": batch}).encode()


def _best(run: Callable[[], float], rounds: int) -> float:
    return min(run() for _ in range(rounds))


def measure(events: int, rounds: int) -> dict[str, float]:
    """Microseconds an event, by step."""
    clock = SystemClock()
    body = _body(events)
    facts = gather_facts(_HEADERS.items())
    batch = decode_batch(body)
    checked = check_batch(batch)
    micros: dict[str, float] = {}

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            work()
            return (time.perf_counter() - started) * 1e6 / events

        return run

    micros["decode"] = _best(timed(lambda: decode_batch(body)), rounds)
    micros["check"] = _best(timed(lambda: check_batch(batch)), rounds)
    fresh = [Draft(events=copy.deepcopy(checked)) for _ in range(rounds)]
    passages = [run_steps(ENRICHMENT, draft, facts, clock=clock) for draft in fresh]
    for place, step in enumerate(ENRICHMENT):
        micros[step.name.value] = min(
            passage.reports[place].seconds * 1e6 / events for passage in passages
        )
    kept = passages[0].draft.events
    micros["rows"] = _best(timed(lambda: encode_rows("cqm0u8k3l0a1b2c3d4e5", kept)), rounds)
    micros["total"] = sum(micros.values())
    micros["bytes in"] = len(body) / events
    micros["bytes out"] = len(encode_rows("cqm0u8k3l0a1b2c3d4e5", kept)) / events
    return micros


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    for name, value in measure(options.events, options.rounds).items():
        print(f"{name:12} {value:9.2f}")


if __name__ == "__main__":
    main()
