"""`GET /live` under the real server, on a real queue and event store."""

import asyncio
import json
import signal
import socket
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from urllib.parse import urlsplit

import anyio.to_thread
import httpx
import pytest

from appliance.api.server import WORKERS_KILL_TIMEOUT_SECONDS
from appliance.base.tasks import poll
from appliance.config.model import Settings
from appliance.domain.access.roles import Role
from appliance.gen.shared.activity.v1.activity_pb import GetEventExplorerRequest
from appliance.services.live import PROJECT_EVENTS_BURST
from appliance.services.live_watcher import HELD_BYTES_MAX
from appliance.services.wiring import Services
from appliance.storage.postgres.projects import KeyKind
from appliance.storage.streams.publish import EVENTS_STREAM, EVENTS_SUBJECT
from tests.support.api_services import api_process
from tests.support.live import (
    WAIT_SECONDS,
    Frame,
    Watched,
    event,
    join,
    make_watched,
    post,
    watching,
)
from tests.support.rpc import refused

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(300)]

WIDE = {f"p{number}": {"stringValue": "x" * 1000} for number in range(20)}
"""Properties of 20 KB, of which few fill the buffers of a socket."""


def key(watched: Watched) -> dict[str, str]:
    return {"x-api-key": watched.private}


def signed_in(token: str, project: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "x-project-id": project}


async def test_events_arrive_as_the_explorer_shows_them(
    client: httpx.AsyncClient, services: Services, watched: Watched
) -> None:
    """What is told is what the explorer answers once the same row is stored, in every field."""
    async with watching(client, key(watched)) as reader:
        sent = event("purchase", customProperties={"a\nb": {"stringValue": "x\r\ny\u2028\x85z"}})
        plain = event(autoProperties={"$mobile": {"boolValue": True}}, customProperties={})
        ids = await post(client, watched.public, sent, plain)
        await reader.until("both events", lambda: len(reader.ids) == 2)
    assert reader.ids == ids
    jetstream = await services.stores.streams.jetstream()
    message = await jetstream.get_last_msg(EVENTS_STREAM, EVENTS_SUBJECT)
    assert message.data is not None
    await services.stores.clickhouse.insert_ndjson("events", [message.data], {})
    answer = await services.activity.explorer(watched.project, GetEventExplorerRequest())
    shown = {one.event_id: json.loads(one.to_json()) for one in answer.events}
    assert shown == {one["eventId"]: one for one in reader.of("event")}


async def test_other_projects_and_other_events_never_arrive(
    client: httpx.AsyncClient, services: Services, watched: Watched
) -> None:
    """A stream tells the events of its project that pass its filter; no other is counted."""
    other = await make_watched(services)
    async with (
        watching(client, key(watched)) as everything,
        watching(client, key(watched), kind=["purchase", "sign_up"]) as kinds,
        watching(client, key(watched), distinct_id="u2") as person,
        watching(client, key(other)) as foreign,
    ):
        mine: list[str] = []
        for number in range(5):
            await post(client, other.public, *(event() for _ in range(10)))
            mine += await post(
                client,
                watched.public,
                event(distinctId=f"u{number}"),
                event("purchase", distinctId="u9"),
            )
        (last,) = await post(client, watched.public, event("sign_up", distinctId="u2"))
        for reader in (everything, kinds, person):
            await reader.until("the last one", lambda reader=reader: last in reader.ids)
        await foreign.until("the others", lambda: len(foreign.ids) == 50)
    assert everything.ids == [*mine, last]
    assert kinds.ids == [*mine[1::2], last]
    assert person.ids == [mine[4], last]
    assert not {*foreign.ids} & {*everything.ids}
    assert everything.dropped == kinds.dropped == person.dropped == foreign.dropped == 0


async def test_a_repeated_batch_is_told_once(client: httpx.AsyncClient, watched: Watched) -> None:
    """A client that sends again what was taken counts once here too."""
    async with watching(client, key(watched)) as reader:
        again = event()
        for _ in range(3):
            await post(client, watched.public, again)
        await post(client, watched.public, event("last"))
        await reader.until("the last one", lambda: len(reader.ids) == 2)
    assert [one["kind"] for one in reader.of("event")] == ["page_view", "last"]


async def test_fifty_watch(client: httpx.AsyncClient, watched: Watched) -> None:
    """Each of fifty watchers hears every event, in order."""
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(watching(client, key(watched))) for _ in range(50)
        ]
        ids: list[str] = []
        for _ in range(10):
            ids += await post(client, watched.public, *(event() for _ in range(5)))
        for reader in readers:
            await reader.until("all", lambda reader=reader: len(reader.ids) == len(ids))

        async def are_told() -> bool | None:
            return "live_watchers 50.0" in (await client.get("/metrics")).text or None

        told = await poll(are_told, every_seconds=0.1, timeout_seconds=WAIT_SECONDS)
        assert told, "those of other tests are gone, these are counted"
    assert all(reader.ids == ids for reader in readers)


async def test_a_flood_is_cut_and_counted(client: httpx.AsyncClient, watched: Watched) -> None:
    """More than anybody reads is not told; how much came is."""
    async with watching(client, key(watched)) as reader:
        for _ in range(5):
            await post(client, watched.public, *(event() for _ in range(400)))
        await reader.until("everything", lambda: len(reader.ids) + reader.dropped == 2000)
    assert len(reader.ids) >= PROJECT_EVENTS_BURST
    assert reader.dropped > 0


async def test_a_slow_reader_is_told_what_it_missed(
    client: httpx.AsyncClient, url: str, watched: Watched
) -> None:
    """Somebody who does not read loses the oldest; the others lose nothing, and ingest goes on."""
    slow = await _connect(url, watched, receive_bytes=4096)
    sent = PROJECT_EVENTS_BURST - 20
    async with watching(client, key(watched), kind="last") as quick:
        for _ in range(sent // 5):
            await post(client, watched.public, *(event(customProperties=WIDE) for _ in range(5)))
        (last,) = await post(client, watched.public, event("last"))
        await quick.until("the last one", lambda: quick.ids == [last])
    writes = await anyio.to_thread.run_sync(_read_past, slow, b'"kind":"last"')
    slow.close()
    frames = [frame for write in writes for frame in write]
    told = [frame for frame in frames if frame.kind == "event"]
    missed = sum(frame.body["events"] for frame in frames if frame.kind == "dropped")
    assert quick.dropped == 0
    assert missed > 0
    assert len(told) + missed == sent + 1
    assert max(_told_bytes(write) for write in writes) <= HELD_BYTES_MAX


async def test_a_revoked_key_ends_its_streams(
    client: httpx.AsyncClient, services: Services, url: str, watched: Watched
) -> None:
    """Also that of a reader who does not read; other keys of the project stay."""
    second = await services.key_chain.create_key(watched.project, KeyKind.PRIVATE)
    other = {"x-api-key": second.key.reveal()}
    stuck = await _connect(url, watched, receive_bytes=4096)
    async with watching(client, key(watched)) as reader, watching(client, other) as control:
        await services.key_chain.revoke_key(watched.private_id)
        assert await reader.ended() == "UNAUTHENTICATED"
        await post(client, watched.public, event())
        await control.until("an event", lambda: len(control.ids) == 1)
        assert not control.closed.is_set()
    assert reader.ids == []
    writes = await anyio.to_thread.run_sync(_read_to_the_end, stuck)
    stuck.close()
    kinds = [frame.kind for write in writes for frame in write]
    assert [kind for kind in kinds if kind != "visitors"] == ["end"]


async def test_a_lost_membership_ends_the_stream(
    client: httpx.AsyncClient, services: Services, watched: Watched
) -> None:
    """Viewers may watch; whoever is removed hears no more."""
    viewer, token = await join(services, watched.org, Role.VIEWER)
    async with watching(client, signed_in(token, watched.project)) as reader:
        await post(client, watched.public, event())
        await reader.until("an event", lambda: len(reader.ids) == 1)
        await services.stores.postgres.execute(
            "DELETE FROM org_members WHERE customer_id = $1", viewer
        )
        assert await reader.ended() == "UNAUTHENTICATED"


async def test_who_may_not_watch(
    client: httpx.AsyncClient, services: Services, watched: Watched
) -> None:
    """The credentials of the explorer and no others; questions we do not know are refused."""
    _, token = await join(services, watched.org, Role.VIEWER)
    other = await make_watched(services)
    for headers in (
        {},
        {"x-api-key": watched.public},
        {"authorization": f"Bearer {token}"},
        signed_in(token, other.project),
        signed_in("nonsense", watched.project),
    ):
        refused(await client.get("/live", headers=headers), 401, "unauthenticated")
    for query in ("kinds=a", "kind=", "distinct_id=a&distinct_id=b", "kind=%ff", "since=1"):
        answer = await client.get(f"/live?{query}", headers=key(watched))
        refused(answer, 400, "invalid_argument")
    assert (await client.post("/live", headers=key(watched))).status_code == 405


async def test_visitors_are_counted(
    client: httpx.AsyncClient, services: Services, watched: Watched
) -> None:
    """People of the last five minutes, their pages and countries, of this project alone."""
    other = await make_watched(services)
    now = datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M:%S.000")
    rows = [
        *(_row(watched, now, f"u{n % 3}", pathname="/a", country="AT") for n in range(6)),
        _row(watched, now, "u7", pathname="/b", country="NO"),
        _row(watched, "2026-01-01 00:00:00.000", "long-gone", pathname="/a", country="AT"),
        *(_row(other, now, f"x{n}", pathname="/secret", country="PT") for n in range(9)),
    ]
    await services.stores.clickhouse.insert_ndjson("events", rows, {})
    async with watching(client, key(watched)) as reader:
        await reader.until("a number", lambda: bool(reader.of("visitors")))
    assert reader.of("visitors")[0] == {
        "visitors": 4,
        "pages": [{"value": "/a", "visitors": 3}, {"value": "/b", "visitors": 1}],
        "countries": [{"value": "AT", "visitors": 3}, {"value": "NO", "visitors": 1}],
        "windowSeconds": 300,
    }


async def test_a_browser_of_an_allowed_origin_may_read(
    client: httpx.AsyncClient, watched: Watched
) -> None:
    """A preflight is answered, and a refusal can be read; nothing is cached."""
    preflight = await client.options(
        "/live",
        headers={
            "origin": "http://localhost:5173",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization, x-project-id",
        },
    )
    assert preflight.status_code == 204
    async with client.stream("GET", "/live", headers=key(watched)) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_stop_ends_every_stream(engines: Settings, services: Services) -> None:
    """Readers are told why; one who reads nothing keeps the process no longer than a request."""
    watched = await make_watched(services)
    with api_process("--stores", str(engines.data_dir)) as (port, process):
        url = f"http://127.0.0.1:{port}"
        async with (
            httpx.AsyncClient(base_url=url, timeout=WAIT_SECONDS) as client,
            watching(client, key(watched)) as reader,
        ):
            stuck = await _connect(url, watched, receive_bytes=4096)
            for _ in range(20):
                await post(client, watched.public, *(event(customProperties=WIDE) for _ in "12345"))
            process.send_signal(signal.SIGTERM)
            assert await reader.ended() == "SHUTTING_DOWN"
            assert reader.broke is None
        status = await anyio.to_thread.run_sync(process.wait, WORKERS_KILL_TIMEOUT_SECONDS)
        stuck.close()
        assert status == 0


def _row(watched: Watched, at: str, who: str, **columns: object) -> bytes:
    made = event()
    row = {
        "event_id": made["eventId"],
        "project_id": watched.project,
        "distinct_id": who,
        "session_id": made["sessionId"],
        "kind": "page_view",
        "occur_time": at,
        **columns,
    }
    return json.dumps(row).encode() + b"\n"


async def _connect(url: str, watched: Watched, *, receive_bytes: int) -> socket.socket:
    """A reader that has asked, been answered, and reads nothing more by itself."""

    def connect() -> socket.socket:
        where = urlsplit(url)
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        made.settimeout(WAIT_SECONDS)
        made.connect((where.hostname, where.port))
        made.sendall(
            b"GET /live HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + watched.private.encode() + b"\r\n\r\n"
        )
        while not made.recv(4096, socket.MSG_PEEK).startswith(b"HTTP/1.1 200"):
            pass
        return made

    return await anyio.to_thread.run_sync(connect)


def _read_past(connection: socket.socket, text: bytes) -> list[list[Frame]]:
    """Every write up to the one that holds a text, read quickly from now on."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    received = bytearray()
    while text not in received[-65536:] or not received.endswith(b"\n\n\r\n"):
        piece = connection.recv(1 << 20)
        assert piece, "the stream has ended"
        received += piece
    return _writes(bytes(received))


def _read_to_the_end(connection: socket.socket) -> list[list[Frame]]:
    received = bytearray()
    while piece := connection.recv(1 << 16):
        received += piece
        if received.endswith(b"0\r\n\r\n"):
            break
    return _writes(bytes(received))


def _writes(received: bytes) -> list[list[Frame]]:
    """The frames of each write in what was read: the server sends a write as one chunk."""
    rest = received.partition(b"\r\n\r\n")[2]
    writes: list[list[Frame]] = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        number = int(size or b"0", 16)
        writes.append(_frames(rest[:number]))
        rest = rest[number + 2 :]
    return writes


def _frames(write: bytes) -> list[Frame]:
    frames: list[Frame] = []
    for text in write.split(b"\n\n")[:-1]:
        lines = dict(line.split(b": ", 1) for line in text.split(b"\n") if line[:1] != b":")
        if b"event" in lines:
            frames.append(Frame(lines[b"event"].decode(), json.loads(lines[b"data"])))
    return frames


def _told_bytes(write: list[Frame]) -> int:
    """The events of a write, as they were held: without blanks."""
    events = [frame.body for frame in write if frame.kind == "event"]
    return sum(len(json.dumps(event, separators=(",", ":")).encode()) for event in events)


async def test_the_command_prints_what_arrives(
    client: httpx.AsyncClient, engines: Settings, watched: Watched
) -> None:
    """`live` is a tail: it begins when it says so and ends after so many events."""
    words = ("live", "--project", watched.project, "--count", "2", "--kind", "purchase")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "appliance", *words, "--data-dir", str(engines.data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(WAIT_SECONDS):
            assert b"watching" in await process.stderr.readline()
            told = event("purchase", customProperties={"a": {"stringValue": "\x1b[2J\x9bK"}})
            await post(client, watched.public, event(), told, event("purchase"))
            printed = (await process.stdout.read()).decode()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
    lines = printed.splitlines()
    assert [line.split()[1:3] for line in lines] == [["purchase", "anon-1"]] * 2
    assert all(line.isprintable() for line in lines)
