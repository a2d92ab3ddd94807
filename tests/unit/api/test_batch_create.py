"""`BatchCreate` on the wire, in every form an SDK or a person may send."""

import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import zstandard

from appliance.domain.ingest.event import Instant
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest, BatchCreateResponse
from tests.support.api_services import PRIVATE_KEY, PUBLIC_KEY, MemoryServices
from tests.support.rpc import BATCH_CREATE, PUBLIC, event, refused

pytestmark = pytest.mark.anyio

PROTO = {**PUBLIC, "content-type": "application/proto"}
JSON = {**PUBLIC, "content-type": "application/json"}


def binary(*events: object) -> bytes:
    return BatchCreateRequest.from_json(json.dumps({"events": events})).to_binary()


async def test_json(client: httpx.AsyncClient, services: MemoryServices):
    """A JSON batch is taken; `accepted` and `dropped` are both there [services 8]."""
    answer = await client.post(
        BATCH_CREATE, headers=JSON, content=json.dumps({"events": [event(1), event(2)]})
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"accepted": 2, "dropped": 0}
    assert services.ingest.batches[0].events[0].auto_properties == {"$platform": "web"}


async def test_binary(client: httpx.AsyncClient, services: MemoryServices):
    """A binary batch is taken and answered with the protobuf type [sdk-protocol 3]."""
    answer = await client.post(BATCH_CREATE, headers=PROTO, content=binary(event()))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/proto"
    message = BatchCreateResponse.from_binary(answer.content)
    assert (message.accepted, message.dropped) == (1, 0)
    assert message.has_field("accepted")
    assert message.has_field("dropped")
    assert services.ingest.batches[0].events[0].custom_properties == {"price": 1.5, "count": 7}


async def test_json_and_binary_mean_the_same(client: httpx.AsyncClient, services: MemoryServices):
    """Both forms of one batch become equal events."""
    content = event(customProperties={"when": {"timestampValue": "2026-01-01T00:00:00.5Z"}})
    await client.post(BATCH_CREATE, headers=JSON, content=json.dumps({"events": [content]}))
    await client.post(BATCH_CREATE, headers=PROTO, content=binary(content))
    assert services.ingest.batches[0] == services.ingest.batches[1]
    kept = services.ingest.batches[0].events[0].custom_properties
    assert kept == {"when": Instant(1_767_225_600_500)}


async def test_proto_names_and_unknown_fields(client: httpx.AsyncClient, services: MemoryServices):
    """Input takes proto names and ignores unknown fields [services 2.1]."""
    body = {"events": [{"event_id": event()["eventId"], "kind": "k", "new": {"x": 1}}], "y": 2}
    services.ingest.check = False
    answer = await client.post(BATCH_CREATE, headers=JSON, content=json.dumps(body))
    assert answer.json()["accepted"] == 1
    assert services.ingest.batches[0].events[0].event_id == event()["eventId"]


@pytest.mark.parametrize("headers", [JSON, PROTO])
async def test_empty_body_is_the_empty_batch(client: httpx.AsyncClient, headers: dict[str, str]):
    """An empty body is an empty message and a success [sdk-protocol 2]."""
    answer = await client.post(BATCH_CREATE, headers=headers, content=b"")
    assert answer.status_code == 200


async def test_chunked_body_without_length(client: httpx.AsyncClient):
    """A body that comes in pieces, without a length, as Node sends it [sdk-protocol 2]."""
    body = binary(event(1), event(2))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    answer = await client.post(BATCH_CREATE, headers=PROTO, content=pieces())
    assert BatchCreateResponse.from_binary(answer.content).accepted == 2


@pytest.mark.parametrize("headers", [JSON, PROTO])
@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)]
)
async def test_packed_body(
    client: httpx.AsyncClient, headers: dict[str, str], encoding: str, pack: object
):
    """gzip and zstd bodies are read."""
    assert callable(pack)
    plain = binary(event()) if headers is PROTO else json.dumps({"events": [event()]}).encode()
    answer = await client.post(
        BATCH_CREATE, headers={**headers, "content-encoding": encoding}, content=pack(plain)
    )
    assert answer.status_code == 200


async def test_content_type_parameters_and_case(client: httpx.AsyncClient):
    """A charset and capitals in the content type do no harm."""
    headers = {**PUBLIC, "content-type": "Application/JSON; charset=utf-8"}
    answer = await client.post(BATCH_CREATE, headers=headers, content=b"{}")
    assert answer.status_code == 200


async def test_key_in_the_query(client: httpx.AsyncClient):
    """A beacon has the key in the query and no protocol header [sdk-protocol 2]."""
    answer = await client.post(
        BATCH_CREATE,
        params={"api_key": PUBLIC_KEY},
        headers={"content-type": "application/proto"},
        content=binary(event()),
    )
    assert answer.status_code == 200


async def test_private_key_in_the_header(client: httpx.AsyncClient):
    """SDK services take private keys in the header [services 3.1]."""
    headers = {**JSON, "x-api-key": PRIVATE_KEY}
    answer = await client.post(BATCH_CREATE, headers=headers, content=b"{}")
    assert answer.status_code == 200


async def test_drops_are_told_by_reason(client: httpx.AsyncClient, services: MemoryServices):
    """Dropped events are counted and named, in both forms."""
    services.ingest.dropped = {"day_out_of_range": 1}
    sent = {"events": [event(1), event(2)]}
    answer = await client.post(BATCH_CREATE, headers=JSON, content=json.dumps(sent))
    assert answer.json() == {
        "accepted": 1,
        "dropped": 1,
        "droppedByReason": {"day_out_of_range": 1},
    }
    answer = await client.post(BATCH_CREATE, headers=PROTO, content=binary(event()))
    message = BatchCreateResponse.from_binary(answer.content)
    assert message.dropped_by_reason == {"day_out_of_range": 1}


async def test_facts_of_the_request_reach_the_ingest(
    client: httpx.AsyncClient, services: MemoryServices
):
    """Headers the chain reads, the first of each, and the peer are handed on [ingestion 4.1].

    The peer is no proxy of ours: of what it says about others only that it said something remains.
    """
    headers = [
        *JSON.items(),
        ("user-agent", "Pug/1"),
        ("user-agent", "Pug/2"),
        ("x-forwarded-for", "198.51.100.1"),
        ("cf-ipcountry", "AT"),
        ("cookie", "a=b"),
    ]
    await client.post(BATCH_CREATE, headers=headers, content=b"{}")
    facts = services.ingest.facts[0]
    assert facts.peer == "203.0.113.9"
    assert facts.headers == {"user-agent": "Pug/1", "x-forwarded-for": "-"}


async def test_headers_in_other_alphabets(client: httpx.AsyncClient, services: MemoryServices):
    """A header that is no UTF-8 costs nobody their events; it reaches the chain as Latin-1."""
    headers = [(k.encode(), v.encode()) for k, v in JSON.items()]
    headers += [(b"user-agent", b"B\xe4r/1"), (b"x-any", b"\xff")]
    sent = json.dumps({"events": [event()]})
    answer = await client.post(BATCH_CREATE, headers=headers, content=sent)
    assert answer.json() == {"accepted": 1, "dropped": 0}
    assert services.ingest.facts[0].user_agent == "B\xe4r/1"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"events": 5}',
        b'{"events": [{"eventId": 5}]}',
        b'{"events": [{"occurTime": "yesterday"}]}',
        b'{"events": [{"customProperties": {"a": {"intValue": "x"}}}]}',
        b'\xff{"events": []}',
        b"[" * 100_0,
    ],
)
async def test_broken_json(client: httpx.AsyncClient, services: MemoryServices, body: bytes):
    """What is not the message is `invalid_argument` without details, and nothing is stored."""
    answer = await client.post(BATCH_CREATE, headers=JSON, content=body)
    content = refused(answer, 400, "invalid_argument")
    assert "details" not in content
    assert services.ingest.batches == []


@pytest.mark.parametrize(
    "body", [b"\x0a", b"\x0a\xff", b"\xff\xff\xff", b"\x0a\x03\x0a\x01\xff", b'{"events": []}']
)
async def test_broken_binary(client: httpx.AsyncClient, services: MemoryServices, body: bytes):
    """Bytes that are not the message are `invalid_argument`, and nothing is stored."""
    answer = await client.post(BATCH_CREATE, headers=PROTO, content=body)
    refused(answer, 400, "invalid_argument")
    assert services.ingest.batches == []


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [False, True])
async def test_broken_packing(client: httpx.AsyncClient, encoding: str, cut: bool):
    """A body that does not unpack is `invalid_argument`."""
    packed = gzip.compress(b"{}")[:-4] if cut and encoding == "gzip" else b"not packed"
    answer = await client.post(
        BATCH_CREATE, headers={**JSON, "content-encoding": encoding}, content=packed
    )
    refused(answer, 400, "invalid_argument")


async def test_unknown_packing(client: httpx.AsyncClient):
    """A packing nobody knows is refused with a permanent code."""
    answer = await client.post(
        BATCH_CREATE, headers={**JSON, "content-encoding": "rot13"}, content=b"{}"
    )
    refused(answer, 501, "unimplemented")
