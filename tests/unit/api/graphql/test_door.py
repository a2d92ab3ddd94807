"""The way of a question through the door, on services in memory."""

import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.graphql.credentials import asking_caller, require_own_page
from appliance.api.graphql.door import BODY_BYTES_MAX
from appliance.base.errors import ForbiddenError, UnauthenticatedError
from appliance.config.model import ApiSettings, Settings
from tests.support.api_services import PRIVATE_KEY, PUBLIC_KEY, MemoryServices

pytestmark = pytest.mark.anyio

PROVIDERS = {"query": "{ oidcProviders { id } }"}
ORIGIN = "http://pug.example"


async def opened(
    settings: Settings, services: MemoryServices | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    application = create_app(services or MemoryServices(), settings)
    transport = httpx.ASGITransport(application, client=("203.0.113.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as found:
        yield found


@pytest.fixture(scope="module")
async def door(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    async for found in opened(Settings()):
        yield found


@pytest.fixture(scope="module")
async def workshop(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """The door in development mode."""
    async for found in opened(Settings(api=ApiSettings(development=True))):
        yield found


def reason(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error, *_ = answer.json()["errors"]
    assert set(error["extensions"]) >= {"code", "reason", "requestId"}
    assert error["message"]
    return error["extensions"]["reason"]


async def test_nobody_sees_the_providers(door: httpx.AsyncClient) -> None:
    answer = await door.post("/graphql", json=PROVIDERS)
    assert (answer.status_code, answer.json()) == (200, {"data": {"oidcProviders": []}})
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


async def test_the_type_of_answers_can_be_asked_for(door: httpx.AsyncClient) -> None:
    wanted = "application/graphql-response+json"
    answer = await door.post("/graphql", json=PROVIDERS, headers={"accept": wanted})
    assert answer.headers["content-type"] == wanted


async def test_only_json_by_post(door: httpx.AsyncClient) -> None:
    """No forms, which pages of others can send, and no questions in addresses."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        answer = await door.request(method, "/graphql", params=PROVIDERS)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = await door.post(
            "/graphql", content=b'{"query": "{ me { id } }"}', headers={"content-type": kind}
        )
        assert answer.status_code == 415
    answer = await door.post("/graphql", json=PROVIDERS, headers={"content-encoding": "gzip"})
    assert answer.status_code == 415


async def test_no_answer_grants_anything_to_another_origin(door: httpx.AsyncClient) -> None:
    foreign = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for answer in (
        await door.post("/graphql", json=PROVIDERS, headers=foreign),
        await door.options("/graphql", headers=foreign),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[{}]",
        b"null",
        b'{"query": 5}',
        b'{"query": null}',
        b'{"variables": {}}',
        b'{"query": "{ me { id } }", "variables": []}',
        b'{"query": "{ me { id } }", "operationName": {}}',
        b'{"query": ""}',
        b'{"query": "query a { me { id } } query b { me { id } }"}',
        b'{"query": "query a { me { id } }", "operationName": "b"}',
        b'{"query": "fragment a on Query { me { id } }"}',
        b'{"query": "{ me { id } }", "variables": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"query": "\xff"}',
        b'{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}',
    ],
)
async def test_bodies_that_ask_nothing(door: httpx.AsyncClient, body: bytes) -> None:
    answer = await door.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert reason(answer, 400) in {
        "GRAPHQL_BAD_REQUEST",
        "GRAPHQL_SYNTAX",
        "GRAPHQL_INVALID",
    }


async def test_large_bodies_are_refused_however_they_come(door: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    large = b" " * (BODY_BYTES_MAX + 1)
    assert reason(await door.post("/graphql", content=large, headers=headers), 400)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES_MAX // 1000 + 1):
            yield b" " * 1000

    assert reason(await door.post("/graphql", content=pieces(), headers=headers), 400)


@pytest.mark.parametrize(
    "text", ["mutation { a }", "subscription { a }", "mutation a { me { id } }"]
)
async def test_nothing_is_changed_here(door: httpx.AsyncClient, text: str) -> None:
    answer = await door.post("/graphql", json={"query": text})
    assert reason(answer, 400) == "GRAPHQL_READ_ONLY"


@pytest.mark.parametrize(
    "text", ["{ __schema { types { name } } }", '{ __type(name: "Query") { name } }']
)
async def test_the_shape_is_told_in_development_only(
    door: httpx.AsyncClient, workshop: httpx.AsyncClient, text: str
) -> None:
    assert reason(await door.post("/graphql", json={"query": text}), 400) == "GRAPHQL_INVALID"
    answer = await workshop.post("/graphql", json={"query": text})
    assert answer.status_code == 200
    assert "errors" not in answer.json()


async def test_names_are_guessed_in_development_only(
    door: httpx.AsyncClient, workshop: httpx.AsyncClient
) -> None:
    wrong = {"query": "{ oidcProvider { id } }"}
    assert "Did you mean" not in (await door.post("/graphql", json=wrong)).text
    assert "Did you mean" in (await workshop.post("/graphql", json=wrong)).text


async def test_the_page_is_shown_in_development_only(
    door: httpx.AsyncClient, workshop: httpx.AsyncClient
) -> None:
    """And it loads nothing from anywhere: the policy allows its own pieces and this origin."""
    assert (await door.get("/graphql")).status_code == 405
    page = await workshop.get("/graphql")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in page.text.replace("/graphql", "")
    assert "//" not in page.text.replace("\\n", "")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": PUBLIC_KEY},
        {"x-api-key": "prv_unknown0"},
        {"x-api-key": ""},
        {"authorization": "Bearer nonsense"},
        {"authorization": "Basic eDp5"},
        {"authorization": ""},
        {"cookie": "pug-access=nonsense", "x-graphql-csrf": "1"},
        {"cookie": "pug-access=a; pug-access=b", "x-graphql-csrf": "1"},
        {"x-api-key": PUBLIC_KEY, "authorization": "Bearer nonsense"},
    ],
)
async def test_a_credential_that_does_not_hold_is_never_passed_over(
    door: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    """Even for what needs none."""
    answer = await door.post("/graphql", json=PROVIDERS, headers=headers)
    assert reason(answer, 401) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-graphql-csrf": ""},
        {"x-graphql-csrf": "1", "sec-fetch-site": "cross-site"},
        {"x-graphql-csrf": "1", "sec-fetch-site": "same-site"},
        {"x-graphql-csrf": "1", "sec-fetch-site": "none"},
        {"x-graphql-csrf": "1", "origin": "https://evil.example"},
        {"x-graphql-csrf": "1", "origin": "null"},
        {"x-graphql-csrf": "1", "origin": "http://pug.example.evil.example"},
        {"x-graphql-csrf": "1", "origin": "http://pug.example:8080"},
        {"x-graphql-csrf": "1", "sec-fetch-site": "same-origin", "origin": "null"},
    ],
)
async def test_cookies_count_from_pages_of_ours_only(
    door: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    sent = {"cookie": "other=1; pug-access=token", **headers}
    answer = await door.post("/graphql", json=PROVIDERS, headers=sent)
    assert reason(answer, 403) == "CSRF_REFUSED"


async def test_behind_https_only_its_pages_and_its_cookie_count() -> None:
    """A page of the same host without TLS is whoever sits on the line."""
    headers = {"x-graphql-csrf": "1", "host": "pug.example"}
    require_own_page({**headers, "origin": "https://pug.example"}, secure=True)
    with pytest.raises(ForbiddenError):
        require_own_page({**headers, "origin": "http://pug.example"}, secure=True)
    services = MemoryServices()
    caller = await asking_caller(
        {**headers, "cookie": "pug-access=a"}, services.keys, services.control.access, secure=True
    )
    assert (caller.principal, caller.signed_in) == (None, None)
    with pytest.raises(UnauthenticatedError):
        await asking_caller(
            {**headers, "cookie": "__Host-pug-access=a"},
            services.keys,
            services.control.access,
            secure=True,
        )


async def test_a_key_is_no_person(door: httpx.AsyncClient) -> None:
    text = '{ me { id } organizations { edges { cursor } } organization(id: "a") { id } }'
    answer = await door.post("/graphql", json={"query": text}, headers={"x-api-key": PRIVATE_KEY})
    told = answer.json()
    assert told["data"] == {"me": None, "organizations": None, "organization": None}
    assert {one["extensions"]["reason"] for one in told["errors"]} == {"UNAUTHENTICATED"}


async def test_a_store_that_is_away_is_said_so(door: httpx.AsyncClient) -> None:
    """By its reason, without a word of the driver's; what needs no store is told all the same."""
    text = '{ project(id: "project1") { id } oidcProviders { id } }'
    answer = await door.post("/graphql", json={"query": text}, headers={"x-api-key": PRIVATE_KEY})
    assert answer.status_code == 200
    told = answer.json()
    assert told["data"] == {"project": None, "oidcProviders": []}
    (error,) = told["errors"]
    assert error["extensions"]["code"] == "unavailable"
    assert error["path"] == ["project"]
    assert "127.0.0.1" not in answer.text


async def test_bugs_are_hidden(door: httpx.AsyncClient, services: MemoryServices) -> None:
    """An error nobody expected is told by a sentence and its place only."""
    services.control.oidc._known = None  # type: ignore[assignment] a bug of ours
    async for broken in opened(Settings(), services):
        answer = await broken.post("/graphql", json=PROVIDERS)
        (error,) = answer.json()["errors"]
        assert error["extensions"]["code"] == "internal"
        assert error["path"] == ["oidcProviders"]
        assert "None" not in answer.text
        assert "values" not in answer.text


async def test_the_libraries_hooks_stay_away(door: httpx.AsyncClient) -> None:
    """Importing the graph changes nothing about errors that nobody catches."""
    before = sys.excepthook
    await door.post("/graphql", json=PROVIDERS)
    assert sys.excepthook is before
