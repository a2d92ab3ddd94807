"""The real ingest door on real stores, thrown at: what it answers, and what is stored at the end.

Invariant: every answer is compared with the oracle, and at the end the event store holds exactly
the events that were taken: nothing of what was refused, no dead letter, no row that is not text and
numbers of the contract's form. The server is a process of its own behind a real socket, the events
worker runs beside.
"""

import asyncio
import http.client
import json
import struct
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import Any, Final

from appliance.base.clock import SystemClock
from appliance.base.tasks import poll
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.ingest.cookieless import day_of, is_open_day
from appliance.domain.ingest.event import decode_batch
from appliance.gen.sdk.events.v1.events_pb import BatchCreateResponse
from appliance.services.projects import OPERATOR
from appliance.services.wiring import build_services
from appliance.storage.migrate import migrate_postgres
from appliance.storage.streams.publish import EVENTS_DURABLE, EVENTS_STREAM
from tests.fuzz.aside import IDENTIFY, Aside
from tests.fuzz.inputs import JSON, WEB, WEB_TEXT, Input
from tests.fuzz.oracle import Meaning, judge, read
from tests.support.api_services import api_process
from tests.support.pipeline import Stage, open_stage
from tests.support.queues import is_worked_off
from tests.support.rpc import BATCH_CREATE

ANSWER_SECONDS_MAX: Final = 20.0
STORED_SECONDS_MAX: Final = 120.0
_WORST_WEB_CODES: Final = frozenset({"2", "13", "15"})
"""unknown, internal, data_loss."""
_WORST_CODES: Final = frozenset({"unknown", "internal", "data_loss"})

Identity = tuple[str, str]

_NETWORKS: Final = b"""network,site,country,city,latitude,longitude
127.0.0.0/8,Here,AT,Graz,47.0707,15.4395
198.51.100.0/24,There,NP,Kathmandu,27.7172,85.324
"""

_STORED: Final = """
SELECT lower(toString(event_id)), kind FROM events WHERE project_id = {project:String} GROUP BY 1, 2
"""
_GARBAGE: Final = """
SELECT count() FROM events WHERE (
    mapContains(auto_properties, '$ip')
    OR arrayExists(key -> NOT startsWith(key, '$'), mapKeys(auto_properties))
    OR arrayExists(key -> startsWith(key, '$'), mapKeys(custom_properties))
    OR arrayExists(
        text -> NOT match(text, '^(s|i-?[0-9]+$|d-?[0-9.]+(e-?[0-9]+)?$|b(true|false)$|t.{23}$)')
            OR NOT isValidUTF8(text) OR lengthUTF8(text) > 1025,
        arrayConcat(mapValues(auto_properties), mapValues(custom_properties)))
    OR NOT match(kind, '^[A-Za-z0-9_.-]+$')
    OR empty(distinct_id) OR NOT isValidUTF8(distinct_id)
    OR (startsWith(distinct_id, 'cookieless-') AND length(distinct_id) != 33)
    OR NOT isValidUTF8(concat(url, pathname, hostname, utm_source, utm_medium, channel, country))
)
"""


class Finding(AssertionError):  # noqa: N818 what a game is played for
    """An answer that must not be; carries the input."""


class Field:
    """One server, and a record of everything that it was told and has answered."""

    def __init__(self, port: int, key: str, aside_key: str) -> None:
        self._port = port
        self._key = key
        self._aside_key = aside_key
        self._connection = self._connect()
        self.inputs: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.taken: set[Identity] = set()
        self.slowest_seconds = 0.0
        self.liberal = 0

    def throw(self, given: Input) -> None:
        """Send one input and judge the answer; raises Finding."""
        began = perf_counter()
        told = {name: _header(value) for name, value in given.headers.items()}
        told |= {"Content-Type": given.content_type, "X-Api-Key": self._key}
        status, headers, body = self._send(BATCH_CREATE, given.body, told)
        self.slowest_seconds = max(self.slowest_seconds, perf_counter() - began)
        self.inputs[f"{given.label} {given.content_type.partition('/')[2]}"] += 1
        self.answers[str(status)] += 1
        if status >= 500 and not _unknown_packing(given, status, body):
            raise Finding(f"{status} {body[:500]!r} for {given}")
        receipt = _receipt(given, status, headers, body)
        message = read(given)
        meaning = None if message is None else judge(message)
        if receipt is None:
            if meaning is not None and not given.spoiled:
                self._refusal_was_right(given, meaning, body)
            return
        self.answers["taken"] += 1
        if meaning is None:
            self._note_liberal(given, receipt)
            return
        if not meaning.valid:
            raise Finding(f"taken although the rules forbid it: {receipt} for {given}")
        if receipt != (len(meaning.kept), meaning.sent - len(meaning.kept)):
            raise Finding(f"{receipt} instead of {meaning} for {given}")
        self.taken |= meaning.kept

    def throw_aside(self, given: Aside) -> None:
        """Send one input to another door; raises Finding when that falls."""
        told = {"X-Api-Key": self._aside_key}
        if given.content_type:
            told["Content-Type"] = given.content_type
        status, _, body = self._send(given.path, given.body, told)
        self.inputs["aside, Identify" if given.path == IDENTIFY else "aside, compat"] += 1
        self.answers[f"{status} aside"] += 1
        if status >= 500:
            raise Finding(f"{status} {body[:500]!r} for {given}")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _refusal_was_right(self, given: Input, meaning: Meaning, body: bytes) -> None:
        agent = given.headers.get("User-Agent", "").strip()
        if not meaning.valid or (meaning.cookieless and not agent):
            return
        raise Finding(f"refused without a reason: {body[:300]!r} for {given}")

    def _note_liberal(self, given: Input, receipt: tuple[int, int]) -> None:
        """The door reads some JSON that the library refuses: it must then keep the rules itself."""
        if given.content_type != JSON:
            raise Finding(f"taken although it is no message: {given}")
        batch = decode_batch(given.plain)
        kept = {
            (str(one.event_id).lower(), str(one.kind))
            for one in batch.events
            if not one.cookieless
            or is_open_day(day_of(one.occur_time_ms or 0), SystemClock().now())
        }
        if receipt != (len(kept), len(batch.events) - len(kept)):
            raise Finding(f"{receipt} for {given}")
        self.liberal += 1
        self.taken |= kept

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS_MAX)

    def _send(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        for attempt in range(2):
            try:
                self._connection.request("POST", path, body, dict(headers))
                answer = self._connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                self._connection = self._connect()
                if attempt:
                    raise Finding(f"no answer ({error!r}) for {path} {headers} {body}") from error
        raise AssertionError


def _header(value: str) -> str:
    return "".join(one if one.isprintable() and ord(one) < 256 else "?" for one in value)


def _unknown_packing(given: Input, status: int, body: bytes) -> bool:
    """The protocol's own answer to a compression that nobody knows is 501."""
    return status == 501 and "Content-Encoding" in given.headers and b"compression" in body


def _flagged_as_packed(given: Input) -> bool:
    """gRPC's own answer to a message that is packed in a way nobody named is `internal`."""
    body = b64decode(given.body) if given.content_type == WEB_TEXT else given.body
    return body[:1] != b"\x00"


def _receipt(
    given: Input, status: int, headers: http.client.HTTPMessage, body: bytes
) -> tuple[int, int] | None:
    """Accepted and dropped, None for a refusal; raises Finding for an answer of no form."""
    kind = headers.get("content-type", "")
    if status != 200:
        told: Any = json.loads(body)
        if not told["code"] or not told["message"] or told["code"] in _WORST_CODES:
            raise Finding(f"{body!r} for {given}")
        return None
    if kind == JSON:
        told = json.loads(body)
        return told["accepted"], told["dropped"]
    if given.content_type == WEB_TEXT:
        body = b64decode(body)
    if given.content_type in {WEB, WEB_TEXT}:
        content, web_status = _web_answer(headers, body)
        if web_status in _WORST_WEB_CODES and not _flagged_as_packed(given):
            raise Finding(f"grpc-status {web_status} for {given}")
        if web_status != "0":
            return None
        body = content
    receipt = BatchCreateResponse.from_binary(body)
    return receipt.accepted, receipt.dropped


def _web_answer(headers: http.client.HTTPMessage, body: bytes) -> tuple[bytes, str]:
    content, status = b"", headers.get("grpc-status", "")
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        part, body = body[5 : 5 + length], body[5 + length :]
        if flags & 128:
            trailers = dict(line.split(":", 1) for line in part.decode().splitlines() if line)
            status = trailers["grpc-status"].strip()
        else:
            content = part
    return content, status


@asynccontextmanager
async def open_field(engines: Settings) -> AsyncGenerator[tuple[Field, str, Stage]]:
    """A server, a project and a worker on these engines; the queue is emptied first."""
    endpoints = resolve_endpoints(engines)
    await migrate_postgres(endpoints.postgres, lambda _name: None)
    services = build_services(engines, name="test-fuzz")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(services.close)
        project = await services.projects.create_project(f"fuzz {perf_counter()}")
        other = await services.projects.create_project(f"fuzz aside {perf_counter()}")
        await services.geo.import_networks(_NETWORKS, actor=OPERATOR)
        stack.push_async_callback(services.geo.import_networks, b"network\n", actor=OPERATOR)
        stage = await stack.enter_async_context(open_stage(engines))
        await stack.enter_async_context(stage.working())
        with api_process("--stores", str(engines.data_dir)) as (port, process):
            keys = (one.public_key.key.reveal() for one in (project, other))
            field = Field(port, *keys)
            try:
                yield field, project.id, stage
            finally:
                field.close()
            assert process.poll() is None, "the server has ended"


async def check_stored(field: Field, project: str, stage: Stage) -> int:
    """Wait until everything taken is stored; how many events that are. Raises Finding."""
    asked = {"project": project}

    async def stored() -> set[Identity]:
        return {(str(row[0]), str(row[1])) for row in await stage.store.rows(_STORED, asked)}

    async def complete() -> bool | None:
        return len(await stored()) >= len(field.taken) or None

    await poll(complete, every_seconds=0.2, timeout_seconds=STORED_SECONDS_MAX)
    found = await stored()
    if found != field.taken:
        lost, extra = field.taken - found, found - field.taken
        raise Finding(f"lost {list(lost)[:5]} of {len(lost)}, extra {list(extra)[:5]}")
    jetstream = await stage.streams.jetstream()

    async def idle() -> bool | None:
        return await is_worked_off(jetstream, EVENTS_STREAM, EVENTS_DURABLE) or None

    if not await poll(idle, every_seconds=0.2, timeout_seconds=STORED_SECONDS_MAX):
        raise Finding("the worker does not come to an end")
    garbage = (await stage.store.rows(_GARBAGE))[0][0]
    if garbage not in {0, "0"}:
        raise Finding(f"{garbage} rows are garbage")
    dead = (await jetstream.stream_info("dlq-events")).state.messages
    if dead:
        raise Finding(f"{dead} messages were not readable for the worker")
    return len(found)


async def play(engines: Settings, game: Callable[[Field], None]) -> tuple[Field, int]:
    """Play on a fresh field; what was thrown and answered, and how many events are stored."""
    async with open_field(engines) as (field, project, stage):
        await asyncio.to_thread(game, field)
        return field, await check_stored(field, project, stage)
