"""Every refusal is a Connect JSON body with the right code [sdk-protocol 4, services 2.2]."""

import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import zstandard

from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    DamagedError,
    ExhaustedError,
    ForbiddenError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    Quota,
    Resource,
    TimedOutError,
    UnauthenticatedError,
    UnavailableError,
    UnmetError,
    Violation,
)
from tests.support.api_services import KEY_OF_BROKEN_LOOK_UP, PRIVATE_KEY, MemoryServices
from tests.support.rpc import BATCH_CREATE, PUBLIC, QUERY, details, event, refused
from tests.unit.api.conftest import BODY_BYTES_MAX

pytestmark = pytest.mark.anyio

JSON = {**PUBLIC, "content-type": "application/json"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInputError, 400, "invalid_argument"),
        (UnauthenticatedError, 401, "unauthenticated"),
        (ForbiddenError, 403, "permission_denied"),
        (NotFoundError, 404, "not_found"),
        (ConflictError, 409, "already_exists"),
        (UnmetError, 400, "failed_precondition"),
        (MisconfiguredError, 500, "internal"),
        (ExhaustedError, 429, "resource_exhausted"),
        (UnavailableError, 503, "unavailable"),
        (TimedOutError, 504, "deadline_exceeded"),
        (DamagedError, 500, "data_loss"),
    ],
)
async def test_kinds(
    client: httpx.AsyncClient,
    services: MemoryServices,
    error: type[ApplianceError],
    status: int,
    code: str,
):
    """Each kind has its code and status, the reason and the request id."""
    services.ingest.failure = error("SOME_REASON", "a sentence", hint="for the operator")
    answer = await client.post(BATCH_CREATE, headers=JSON, content=b"{}")
    content = refused(answer, status, code)
    assert content["message"] == "a sentence"
    found = details(content)
    assert list(found) == ["google.rpc.ErrorInfo", "google.rpc.RequestInfo"]
    assert found["google.rpc.ErrorInfo"] == {"reason": "SOME_REASON", "domain": "pug.sh"}
    identifier = found["google.rpc.RequestInfo"]["requestId"]
    assert len(identifier) == 20
    assert set(identifier) <= set("0123456789abcdefghijklmnopqrstuv")
    assert ("retry-after" in answer.headers) == (status in {429, 503})


async def test_resource(client: httpx.AsyncClient, services: MemoryServices):
    """What was not found is named in a third detail."""
    services.ingest.failure = NotFoundError(
        "PROFILE_NOT_FOUND", "no such profile", resource=Resource(kind="profile", name="p9")
    )
    answer = await client.post(BATCH_CREATE, headers=JSON, content=b"{}")
    found = details(refused(answer, 404, "not_found"))
    assert list(found)[2] == "google.rpc.ResourceInfo"
    assert found["google.rpc.ResourceInfo"] == {"resourceType": "profile", "resourceName": "p9"}


async def test_violations(client: httpx.AsyncClient, services: MemoryServices):
    """Broken rules are listed, an empty path for a rule on the whole."""
    services.ingest.failure = InvalidInputError(
        "INVALID_ARGUMENT",
        "two rules",
        violations=(
            Violation(field="events.session_id", description="is required"),
            Violation(field="", description="too much"),
        ),
    )
    answer = await client.post(BATCH_CREATE, headers=JSON, content=b"{}")
    found = details(refused(answer, 400, "invalid_argument"))
    assert found["google.rpc.BadRequest"] == {
        "fieldViolations": [
            {"field": "events.session_id", "description": "is required"},
            {"description": "too much"},
        ]
    }


async def test_a_bug_is_hidden(client: httpx.AsyncClient, services: MemoryServices):
    """An error nobody expected is `internal`, and its text stays inside."""
    services.ingest.failure = RuntimeError("password=hunter2")
    answer = await client.post(BATCH_CREATE, headers=JSON, content=b"{}")
    content = refused(answer, 500, "internal")
    assert "hunter2" not in answer.text
    assert details(content)["google.rpc.ErrorInfo"]["reason"] == "INTERNAL"


async def test_rules_of_the_domain(client: httpx.AsyncClient):
    """A batch that breaks rules is refused whole, with every violation."""
    bad = event(2, kind="no spaces", sessionId="x")
    answer = await client.post(
        BATCH_CREATE, headers=JSON, content=json.dumps({"events": [event(1), bad]})
    )
    found = details(refused(answer, 400, "invalid_argument"))
    fields = [v["field"] for v in found["google.rpc.BadRequest"]["fieldViolations"]]
    assert sorted(fields) == ["events.kind", "events.session_id"]


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({}, {}),
        ({"x-api-key": ""}, {}),
        ({"x-api-key": "pub_"}, {}),
        ({"x-api-key": "pub_" + "f" * 20}, {}),
        ({"x-api-key": "sec_" + "a" * 20}, {}),
        ({"authorization": "Bearer " + PRIVATE_KEY}, {}),
        ({}, {"api_key": PRIVATE_KEY}),
        ({"x-api-key": "pub_" + "f" * 20}, {"api_key": "pub_" + "a" * 20}),
    ],
)
async def test_credentials_of_the_sdk(
    client: httpx.AsyncClient, headers: dict[str, str], params: dict[str, str]
):
    """Only a known key in the header, or without the header a public one in the query."""
    answer = await client.post(
        BATCH_CREATE,
        params=params,
        headers={**headers, "content-type": "application/json"},
        content=b"{broken",
    )
    found = details(refused(answer, 401, "unauthenticated"))
    assert found["google.rpc.ErrorInfo"]["reason"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("headers", [{}, PUBLIC, {"authorization": "Bearer x.y.z"}])
async def test_credentials_of_shared_services(client: httpx.AsyncClient, headers: dict[str, str]):
    """Shared services take private keys, never public ones [services 3.1]."""
    answer = await client.post(
        QUERY, headers={**headers, "content-type": "application/json"}, content=b"{"
    )
    refused(answer, 401, "unauthenticated")


async def test_failed_look_up_is_unavailable(client: httpx.AsyncClient):
    """A look-up that fails is not the caller's fault [services 12 #23]."""
    headers = {"x-api-key": KEY_OF_BROKEN_LOOK_UP, "content-type": "application/json"}
    answer = await client.post(BATCH_CREATE, headers=headers, content=b"{}")
    refused(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods(client: httpx.AsyncClient, method: str):
    """Anything but POST is 405 with `Allow`, as a Connect body."""
    answer = await client.request(method, BATCH_CREATE, headers=JSON)
    refused(answer, 405, "unimplemented")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/xml", "application/connect+json", "json"]
)
async def test_other_content_types(client: httpx.AsyncClient, content_type: str):
    """A type nobody understands is 415 with `Accept-Post`, as a Connect body."""
    answer = await client.post(
        BATCH_CREATE, headers={**PUBLIC, "content-type": content_type}, content=b"{}"
    )
    if content_type == "application/connect+json":
        assert answer.status_code == 200
        assert b"invalid_argument" in answer.content
    else:
        refused(answer, 415, "invalid_argument")
    assert "application/proto" in answer.headers["accept-post"]


async def test_unknown_method(client: httpx.AsyncClient):
    """An unknown method is 404, but only after authentication."""
    path = "/sdk.events.v1.EventsService/BatchDelete"
    refused(await client.post(path, headers=JSON, content=b"{}"), 404, "unimplemented")
    stranger = {"content-type": "application/json"}
    refused(await client.post(path, headers=stranger, content=b"{}"), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/sdk.devices.v1.DevicesService/Subscribe", "unimplemented"),
        ("/shared.campaigns.v1.CampaignService/Get", "unimplemented"),
        ("/no/such/page", "not_found"),
        ("/sdk.events.v1.EventsServiceX/BatchCreate", "unimplemented"),
    ],
)
async def test_unknown_paths(client: httpx.AsyncClient, path: str, code: str):
    """What is not served is 404 and permanent for SDKs [services 11]."""
    answer = await client.post(path, headers={**JSON, "origin": "https://a.b"}, content=b"{}")
    refused(answer, 404, code)
    if path.startswith("/sdk.devices"):
        assert answer.headers["access-control-allow-origin"] == "https://a.b"


@pytest.mark.parametrize("way", ["length", "chunks", "gzip", "zstd"])
async def test_too_large(client: httpx.AsyncClient, services: MemoryServices, way: str):
    """Too much, announced, in pieces or packed, is `invalid_argument` [sdk-protocol 4]."""
    body = b'{"events": [' + b" " * (BODY_BYTES_MAX + 1) + b"]}"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 4096):
            yield body[start : start + 4096]

    content = {
        "length": body,
        "chunks": pieces(),
        "gzip": gzip.compress(body),
        "zstd": zstandard.compress(body),
    }[way]
    headers = {**JSON, "content-encoding": way} if way in {"gzip", "zstd"} else JSON
    answer = await client.post(BATCH_CREATE, headers=headers, content=content)
    found = details(refused(answer, 400, "invalid_argument"))
    assert found["google.rpc.ErrorInfo"]["reason"] == "INVALID_ARGUMENT"
    assert services.ingest.batches == []


async def test_as_large_as_allowed(client: httpx.AsyncClient):
    """The limit itself is allowed."""
    frame = b'{"events": []}'
    body = frame + b" " * (BODY_BYTES_MAX - len(frame))
    answer = await client.post(BATCH_CREATE, headers=JSON, content=body)
    assert answer.status_code == 200


async def test_refusals_carry_safety_headers(client: httpx.AsyncClient):
    """Every answer forbids sniffing and storing."""
    for answer in (
        await client.post(BATCH_CREATE, headers=JSON, content=b"{}"),
        await client.post(BATCH_CREATE, content=b"{}"),
        await client.get("/nothing"),
        await client.get("/readyz"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_limit_is_told_with_its_details(
    client: httpx.AsyncClient, services: MemoryServices
):
    """429 names the limit and when to come again, in the header and in the details."""
    services.ingest.refusal = ExhaustedError(
        "RATE_LIMITED",
        "too fast",
        quota=Quota(subject="project:p", description="10 events a second"),
        retry_seconds=2.25,
    )
    answer = await client.post(BATCH_CREATE, headers=JSON, json={"events": [event()]})
    told = details(refused(answer, 429, "resource_exhausted"))
    assert answer.headers.get_list("retry-after") == ["3"]
    assert told["google.rpc.ErrorInfo"]["reason"] == "RATE_LIMITED"
    assert told["google.rpc.QuotaFailure"]["violations"] == [
        {"subject": "project:p", "description": "10 events a second"}
    ]
    assert told["google.rpc.RetryInfo"]["retryDelay"] == "2.250s"
    assert not services.ingest.batches


async def test_a_limit_met_while_accepting(client: httpx.AsyncClient, services: MemoryServices):
    """The same from inside the handler, where the protocol library writes the answer."""
    services.ingest.failure = UnavailableError("QUEUE_FULL", "full", retry_seconds=5)
    answer = await client.post(BATCH_CREATE, headers=JSON, json={"events": [event()]})
    told = details(refused(answer, 503, "unavailable"))
    assert answer.headers.get_list("retry-after") == ["5"]
    assert told["google.rpc.RetryInfo"]["retryDelay"] == "5s"


async def test_admission_does_not_hide_who_is_calling(
    client: httpx.AsyncClient, services: MemoryServices
):
    """Strangers learn nothing about limits, and a wrong method stays a wrong method."""
    services.ingest.refusal = ExhaustedError("RATE_LIMITED", "too fast")
    stranger = await client.post(BATCH_CREATE, json={"events": [event()]})
    refused(stranger, 401, "unauthenticated")
    refused(await client.get(BATCH_CREATE, headers=PUBLIC), 405, "unimplemented")
