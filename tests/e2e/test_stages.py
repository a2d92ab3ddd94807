"""What a running appliance tells about its stages, and the habits of senders on servers."""

import gzip
import http.client
import json
import os
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import zstandard
from prometheus_client.parser import text_string_to_metric_families

from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest, BatchCreateResponse
from tests.support.figures import stage_families
from tests.support.stack import BATCH_CREATE, Json, Stack, make_event, pug, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TOLD_SECONDS = 60
"""A process that was started again is shown when its predecessor has been silent for 15 s."""

Numbers = dict[tuple[str, str], float]


def shown(stack: Stack) -> Numbers:
    """Every number of `/metrics`, by name and by its labels as `name=value` in order."""
    text = stack.client.get("/metrics").text
    return {
        (
            sample.name,
            ",".join(f"{name}={sample.labels[name]}" for name in sorted(sample.labels)),
        ): (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def reaches(stack: Stack, name: str, labels: str, wanted: float) -> float:
    """Wait until a number is told and at least `wanted`; one that is not told is not 0."""

    def found() -> float | None:
        value = shown(stack).get((name, labels))
        return value if value is not None and value >= wanted else None

    return until(found, what=f"{name} {labels} at {wanted}", seconds=TOLD_SECONDS, pause=0.2)


def falls_to_0(stack: Stack, name: str, labels: str) -> None:
    """Wait until a number is told and 0."""

    def found() -> bool | None:
        return shown(stack).get((name, labels)) == 0 or None

    until(found, what=f"{name} {labels} at 0", seconds=TOLD_SECONDS, pause=0.2)


def whole(stack: Stack, wanted: set[tuple[str, str]], names: set[str]) -> Numbers:
    """Wait for a scrape that tells everything: the queue's part is missing while that is late, and
    a process's part while it has not reported lately.
    """
    missing: set[object] = set()

    def found() -> Numbers | None:
        nonlocal missing
        numbers = shown(stack)
        missing = {*(wanted - numbers.keys()), *(names - {name for name, _ in numbers})}
        return numbers if not missing and numbers["queue_up", ""] == 1 else None

    try:
        return until(found, what="a whole scrape", seconds=TOLD_SECONDS, pause=0.2)
    finally:
        if missing:
            print("missing in the last scrape:", missing)


@contextmanager
def stopped(stack: Stack, component: str) -> Generator[None]:
    """A component that stands still for the length of a block."""
    process = psutil.Process(stack.pid(component))
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_numbers_of_every_stage(stack: Stack) -> None:
    """Rows, freshness, the queue and every process; the names are those that alerts name."""
    before = reaches(stack, "worker_freshness_seconds_count", "worker=events", 0)
    stack.post([make_event("stages") for _ in range(20)])
    stack.trend_reaches("stages", 20)
    reaches(stack, "worker_freshness_seconds_count", "worker=events", before + 20)
    up = ("queue_up", "")
    cpu = ("worker_process_cpu_seconds_total", "process=events")
    memory = ("worker_process_memory_bytes", "process=background")
    bytes_max = ("queue_bytes_max", "stream=events")
    age = ("queue_age_seconds", "consumer=events-writer-durable,stream=events")
    names = {
        family.name + ("_bucket" if family.kind == "histogram" else "")
        for family in stage_families()
    }
    numbers = whole(stack, {up, cpu, memory, bytes_max, age}, names)
    assert numbers[cpu] > 0
    assert numbers[memory] > 1 << 20
    assert numbers[bytes_max] >= 1 << 30
    assert numbers[age] < 60


def test_a_worker_that_stands_still_is_seen(stack: Stack) -> None:
    """Depth and age grow although the worker itself says nothing; afterwards they are 0 again."""
    waiting = "consumer=events-writer-durable,stream=events"
    with stopped(stack, "events"):
        for _ in range(3):
            assert stack.post([make_event("standing")]).status_code == 200
        reaches(stack, "queue_waiting_messages", waiting, 3)
        reaches(stack, "queue_age_seconds", waiting, 2)
        reaches(stack, "worker_report_age_seconds", "process=events", 6)
    stack.trend_reaches("standing", 3)
    falls_to_0(stack, "queue_waiting_messages", waiting)
    late = reaches(stack, "worker_freshness_seconds_count", "worker=events", 3)
    assert late >= 3


def test_a_scrape_while_the_queue_stands_still(stack: Stack) -> None:
    """Without the queue the numbers of the API are there all the same, and say so."""
    with stopped(stack, "nats"):
        falls_to_0(stack, "queue_up", "")
        assert ("rpc_requests_in_progress", "") in shown(stack)
    reaches(stack, "queue_up", "", 1)


def body_of(events: list[Json]) -> bytes:
    return BatchCreateRequest.from_json(json.dumps({"events": events})).to_binary()


def answered(answer: httpx.Response, accepted: int) -> None:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/proto"
    assert BatchCreateResponse.from_binary(answer.content).accepted == accepted


def test_packed_bodies(stack: Stack) -> None:
    """gzip and Zstandard, JSON and binary; the same batch in any of these forms counts once."""
    events = [make_event("packed") for _ in range(5)]
    text = json.dumps({"events": events}).encode()
    key = {"x-api-key": stack.connection.private_key}
    for name, pack in (("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)):
        for form, body in (("json", text), ("proto", body_of(events))):
            headers = {**key, "content-type": f"application/{form}", "content-encoding": name}
            answer = stack.client.post(BATCH_CREATE, content=pack(body), headers=headers)
            assert answer.status_code == 200, answer.text
    stack.trend_reaches("packed", 5)
    stack.trend_reaches("packed", 5, raw=True)


def test_a_beacon(stack: Stack) -> None:
    """The key in the query, no header of ours, the origin echoed with credentials allowed."""
    headers = {"content-type": "application/proto", "origin": "https://shop.example"}
    events = [make_event("beacon")]
    answer = stack.client.post(
        BATCH_CREATE,
        params={"api_key": stack.connection.public_key},
        content=body_of(events),
        headers=headers,
    )
    answered(answer, 1)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    private = {"api_key": stack.connection.private_key}
    refused = stack.client.post(
        BATCH_CREATE, params=private, content=body_of(events), headers=headers
    )
    assert refused.status_code == 401
    stack.trend_reaches("beacon", 1)


def test_one_connection_for_everything(stack: Stack) -> None:
    """Chunked bodies, refusals and successes follow each other on one kept connection."""
    where = urlsplit(stack.connection.url)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    headers = {
        "content-type": "application/proto",
        "connect-protocol-version": "1",
        "connect-timeout-ms": "10000",
        "x-api-key": stack.connection.private_key,
    }
    connection.connect()
    sock = connection.sock
    for turn in range(30):
        body = body_of([make_event("kept")])
        pieces = [body[:40], body[40:]] if turn % 3 else [b"\xff\xff"]
        connection.request("POST", BATCH_CREATE, iter(pieces), headers, encode_chunked=True)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == (200 if turn % 3 else 400), content
        assert connection.sock is sock, "the server has kept the connection"
    connection.close()
    stack.trend_reaches("kept", 20)


def test_lost_answers(stack: Stack) -> None:
    """A sender that hangs up before the answer and sends the same again: counted once."""
    where = urlsplit(stack.connection.url)
    assert where.hostname is not None
    bodies = [body_of([make_event("hung_up") for _ in range(10)]) for _ in range(5)]
    headers = {"content-type": "application/proto", "x-api-key": stack.connection.public_key}
    for body in bodies:
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
        connection.request("POST", BATCH_CREATE, body, headers)
        connection.close()
    for body in bodies * 2:
        answered(stack.client.post(BATCH_CREATE, content=body, headers=headers), 10)
    stack.trend_reaches("hung_up", 50)
    stack.trend_reaches("hung_up", 50, raw=True)


def test_shared_calls_with_a_private_key(stack: Stack) -> None:
    """What servers ask with their private key; a public one may not."""
    for path in (
        "/shared.insights.v1.InsightsService/GetFilterSchema",
        "/shared.profiles.v1.ProfilesService/GetByExternalId",
    ):
        headers = {"content-type": "application/json"}
        private = {**headers, "x-api-key": stack.connection.private_key}
        public = {**headers, "x-api-key": stack.connection.public_key}
        answer = stack.client.post(path, content=b"{}", headers=private)
        assert answer.status_code not in {401, 403}, answer.text
        refused = stack.client.post(path, content=b"{}", headers=public)
        assert refused.status_code == 401
        assert re.fullmatch("[a-z_]+", refused.json()["code"])


def test_a_limit_on_a_running_stack(stack: Stack) -> None:
    """The command changes what the running API does within seconds, both ways."""

    made = json.loads(
        pug("project", "create", f"L{os.getpid()}", "--json", data_dir=stack.data_dir).stdout
    )
    key = made["public_key"]["key"]
    pug("project", "limits", made["id"], "--per-second", "1", data_dir=stack.data_dir)

    def limited() -> httpx.Response | None:
        answer = stack.post([make_event("limited") for _ in range(50)], key=key)
        return answer if answer.status_code == 429 else None

    answer = until(limited, what="429", seconds=TOLD_SECONDS, pause=0.2)
    assert int(answer.headers["retry-after"]) >= 1
    assert stack.post([make_event("not_limited")]).status_code == 200, "another project"
    pug("project", "limits", made["id"], "--per-second", "none", data_dir=stack.data_dir)

    def free() -> bool | None:
        return stack.post([make_event("limited")], key=key).status_code == 200 or None

    until(free, what="200 again", seconds=TOLD_SECONDS, pause=0.2)
