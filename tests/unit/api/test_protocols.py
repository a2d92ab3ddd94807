"""The other protocols on the same paths: gRPC-Web in both forms, Connect streams, gRPC."""

import json
import zlib
from base64 import b64decode, b64encode
from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.grpc_web_text import decode
from appliance.config.model import Settings
from appliance.gen.google.rpc.status_pb import Status
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest, BatchCreateResponse
from tests.support.api_services import MemoryServices
from tests.support.rpc import BATCH_CREATE, PRIVATE, PUBLIC, envelope, envelopes, event

pytestmark = pytest.mark.anyio

LIST = "/shared.profiles.v1.ProfilesService/List"
GRPC_WEB = {**PUBLIC, "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
TRAILER_FLAG = 0x80


def binary(*events: object) -> bytes:
    return BatchCreateRequest.from_json(json.dumps({"events": events})).to_binary()


def trailers(content: bytes) -> dict[str, str]:
    lines = content.decode().split("\r\n")
    return {k: v for k, _, v in (line.partition(": ") for line in lines if line)}


@pytest.mark.parametrize("content_type", ["application/grpc-web", "application/grpc-web+proto"])
async def test_grpc_web(client: httpx.AsyncClient, content_type: str):
    """A message and trailers, in one body."""
    headers = {**GRPC_WEB, "content-type": content_type}
    answer = await client.post(BATCH_CREATE, headers=headers, content=envelope(binary(event())))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/grpc-web")
    (flags, message), (end_flags, end) = envelopes(answer.content)
    assert flags == 0
    assert BatchCreateResponse.from_binary(message).accepted == 1
    assert end_flags == TRAILER_FLAG
    assert trailers(end)["grpc-status"] == "0"


async def test_grpc_web_json(client: httpx.AsyncClient):
    """gRPC-Web with JSON inside."""
    headers = {**GRPC_WEB, "content-type": "application/grpc-web+json"}
    content = envelope(json.dumps({"events": [event()]}).encode())
    answer = await client.post(BATCH_CREATE, headers=headers, content=content)
    assert json.loads(envelopes(answer.content)[0][1]) == {"accepted": 1, "dropped": 0}


async def test_grpc_web_packed(client: httpx.AsyncClient):
    """A packed message inside the envelope."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(binary(event())) + packer.flush()
    headers = {**GRPC_WEB, "grpc-encoding": "gzip"}
    answer = await client.post(BATCH_CREATE, headers=headers, content=envelope(packed, 1))
    assert BatchCreateResponse.from_binary(envelopes(answer.content)[0][1]).accepted == 1


@pytest.mark.parametrize(
    "content_type", ["application/grpc-web-text", "application/grpc-web-text+proto"]
)
async def test_grpc_web_text(client: httpx.AsyncClient, content_type: str):
    """The same in base64, in both directions."""
    headers = {**GRPC_WEB, "content-type": content_type}
    content = b64encode(envelope(binary(event())))
    answer = await client.post(BATCH_CREATE, headers=headers, content=content)
    assert answer.headers["content-type"] == "application/grpc-web-text+proto"
    (_, message), (end_flags, end) = envelopes(decode(answer.content))
    assert BatchCreateResponse.from_binary(message).accepted == 1
    assert end_flags == TRAILER_FLAG
    assert trailers(end)["grpc-status"] == "0"


async def test_grpc_web_text_in_padded_pieces(client: httpx.AsyncClient):
    """Base64 may be padded piece by piece."""
    whole = envelope(binary(event()))
    content = b64encode(whole[:10]) + b64encode(whole[10:20]) + b64encode(whole[20:])
    headers = {**GRPC_WEB, "content-type": "application/grpc-web-text"}
    answer = await client.post(BATCH_CREATE, headers=headers, content=content)
    assert BatchCreateResponse.from_binary(envelopes(decode(answer.content))[0][1]).accepted == 1


@pytest.mark.parametrize("content_type", ["application/grpc-web", "application/grpc-web-text"])
async def test_grpc_web_refused(client: httpx.AsyncClient, content_type: str):
    """Bad credentials are refused in the protocol of the request."""
    answer = await client.post(BATCH_CREATE, headers={"content-type": content_type}, content=b"")
    assert answer.status_code == 200
    assert answer.headers["grpc-status"] == "16"
    status = Status.from_binary(b64decode(answer.headers["grpc-status-details-bin"] + "==="))
    assert [d.type_url.rpartition("/")[2] for d in status.details] == [
        "google.rpc.ErrorInfo",
        "google.rpc.RequestInfo",
    ]


@pytest.mark.parametrize(
    "content",
    [
        envelope(b"\xff"),
        envelope(binary(event()))[:-1],
        b"\x00\x00",
        envelope(b"", flags=0x40),
        envelope(b"not gzip", flags=1),
    ],
)
async def test_grpc_web_bad_framing(
    client: httpx.AsyncClient, services: MemoryServices, content: bytes
):
    """Broken envelopes end in a status, and nothing is stored."""
    headers = {**GRPC_WEB, "grpc-encoding": "gzip"}
    answer = await client.post(BATCH_CREATE, headers=headers, content=content)
    assert answer.status_code == 200
    found = envelopes(answer.content)
    status = trailers(found[-1][1])["grpc-status"] if found else answer.headers["grpc-status"]
    assert status != "0"
    assert services.ingest.batches == []


async def test_grpc_web_violations(client: httpx.AsyncClient):
    """Details travel in the trailers."""
    headers = GRPC_WEB
    answer = await client.post(
        BATCH_CREATE, headers=headers, content=envelope(binary(event(kind="a b")))
    )
    end = trailers(envelopes(answer.content)[-1][1])
    assert end["grpc-status"] == "3"
    status = Status.from_binary(b64decode(end["grpc-status-details-bin"] + "==="))
    assert status.details[-1].type_url.endswith("google.rpc.BadRequest")


async def test_connect_stream_ends_with_the_error(client: httpx.AsyncClient):
    """A stream's failure stands in its last envelope, HTTP 200 [services 2.2]."""
    headers = {**PRIVATE, "content-type": "application/connect+json"}
    answer = await client.post(LIST, headers=headers, content=envelope(b"{}"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/connect+json"
    flags, content = envelopes(answer.content)[-1]
    assert flags == 2
    assert json.loads(content)["error"]["code"] == "unavailable"


async def test_connect_stream_refused(client: httpx.AsyncClient):
    """Bad credentials of a stream come as its end too."""
    answer = await client.post(
        LIST, headers={"content-type": "application/connect+proto"}, content=envelope(b"")
    )
    assert answer.status_code == 200
    flags, content = envelopes(answer.content)[-1]
    assert flags == 2
    assert json.loads(content)["error"]["code"] == "unauthenticated"


async def test_stream_called_like_a_unary(client: httpx.AsyncClient):
    """A streaming method refuses the unary types."""
    answer = await client.post(
        LIST, headers={**PRIVATE, "content-type": "application/json"}, content=b"{}"
    )
    assert answer.status_code == 415
    assert answer.json()["code"] == "invalid_argument"


async def call_with_trailers(
    services: MemoryServices, headers: dict[str, str], body: bytes, *, trailing: bool
) -> list[dict[str, Any]]:
    """Call the application as a server that has HTTP trailers (or not) would."""
    app = create_app(services, Settings())
    sent: list[dict[str, Any]] = []
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if given:
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": "POST",
        "scheme": "http",
        "path": BATCH_CREATE,
        "raw_path": BATCH_CREATE.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": ("203.0.113.9", 4711),
        "server": ("localhost", 80),
        "extensions": {"http.response.trailers": {}} if trailing else {},
        "state": {},
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    return sent


async def test_grpc_where_the_server_has_trailers(services: MemoryServices):
    """gRPC is spoken in full wherever HTTP trailers exist."""
    headers = {**PUBLIC, "content-type": "application/grpc", "te": "trailers"}
    sent = await call_with_trailers(services, headers, envelope(binary(event())), trailing=True)
    body = b"".join(m["body"] for m in sent if m["type"] == "http.response.body")
    assert BatchCreateResponse.from_binary(envelopes(body)[0][1]).accepted == 1
    assert dict(sent[-1]["headers"])[b"grpc-status"] == b"0"


async def test_grpc_where_the_server_has_none(services: MemoryServices):
    """Without trailers gRPC is refused in its own words, before anything is stored."""
    headers = {**PUBLIC, "content-type": "application/grpc", "te": "trailers"}
    sent = await call_with_trailers(services, headers, envelope(binary(event())), trailing=False)
    found = dict(sent[0]["headers"])
    assert found[b"content-type"] == b"application/grpc"
    assert found[b"grpc-status"] == b"12"
    assert services.ingest.batches == []
