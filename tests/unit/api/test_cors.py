"""What browsers need to see, in both classes [services 2.8, sdk-protocol 5]."""

import httpx
import pytest

from tests.support.rpc import BATCH_CREATE, PUBLIC, QUERY

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example"
JSON = {**PUBLIC, "content-type": "application/json"}


async def preflight(
    client: httpx.AsyncClient, path: str, *, origin: str, method: str = "POST", names: str = ""
) -> httpx.Response:
    headers = {"origin": origin, "access-control-request-method": method}
    if names:
        headers["access-control-request-headers"] = names
    return await client.options(path, headers=headers)


async def test_preflight_of_fetch(client: httpx.AsyncClient):
    """The SDK's fetch may send its three headers; nobody authenticates a preflight."""
    names = "connect-protocol-version,content-type,x-api-key"
    answer = await preflight(client, BATCH_CREATE, origin=SHOP, names=names)
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == names.replace(",", ", ")
    assert answer.headers["access-control-max-age"] == "7200"
    assert answer.headers["vary"] == (
        "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    )


async def test_preflight_of_a_beacon(client: httpx.AsyncClient):
    """A credentialed beacon needs the origin echoed, credentials, and content-type by name."""
    path = BATCH_CREATE + "?api_key=pub_x"
    answer = await preflight(client, path, origin=SHOP, names="content-type")
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == "content-type"
    assert answer.headers["access-control-allow-methods"] == "POST"


@pytest.mark.parametrize(
    ("method", "names"), [("DELETE", ""), ("POST", "cookie"), ("POST", "content-type, x-evil")]
)
async def test_refused_preflight(client: httpx.AsyncClient, method: str, names: str):
    """A preflight for more than is granted is 204 without CORS headers."""
    answer = await preflight(client, BATCH_CREATE, origin=SHOP, method=method, names=names)
    assert answer.status_code == 204
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-headers" not in answer.headers


@pytest.mark.parametrize("origin", [SHOP, "null", "http://localhost:5173"])
async def test_answers_of_the_sdk(client: httpx.AsyncClient, origin: str):
    """Successes echo the origin and vary by it."""
    answer = await client.post(BATCH_CREATE, headers={**JSON, "origin": origin}, content=b"{}")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("POST", {"content-type": "application/json"}, b"{}", 401),
        ("POST", {**PUBLIC, "content-type": "text/plain"}, b"{}", 415),
        ("GET", PUBLIC, b"", 405),
        ("POST", JSON, b"{", 400),
        ("POST", JSON, b" " * 60_000, 400),
        ("POST", {**JSON, "content-encoding": "gzip"}, b"no", 400),
    ],
)
async def test_errors_of_the_sdk(
    client: httpx.AsyncClient, method: str, headers: dict[str, str], body: bytes, status: int
):
    """Without CORS headers a browser hides the status and sends for ever [sdk-protocol 4]."""
    answer = await client.request(
        method, BATCH_CREATE, headers={**headers, "origin": SHOP}, content=body
    )
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["access-control-allow-credentials"] == "true"


async def test_without_origin(client: httpx.AsyncClient):
    """Who is no browser gets no CORS headers but still `Vary`."""
    answer = await client.post(BATCH_CREATE, headers=JSON, content=b"{}")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example", True),
        ("HTTPS://APP.example", True),
        ("https://eu.pugs.example", True),
        ("https://app.example.evil", False),
        ("https://pugs.example", False),
        ("http://app.example", False),
    ],
)
async def test_listed_origins(client: httpx.AsyncClient, origin: str, allowed: bool):
    """Dashboard and shared services answer the operator's origins only; `*` stands once."""
    answer = await client.post(
        QUERY, headers={"origin": origin, "content-type": "application/json"}, content=b"{}"
    )
    assert answer.status_code == 401
    assert (answer.headers.get("access-control-allow-origin") == origin) is allowed


async def test_preflight_of_dashboards(client: httpx.AsyncClient):
    """Dashboards may send a token and a project, never an API key."""
    origin = "https://app.example"
    names = "authorization,connect-protocol-version,content-type,x-project-id"
    answer = await preflight(client, QUERY, origin=origin, names=names)
    assert answer.headers["access-control-allow-headers"] == names.replace(",", ", ")
    answer = await preflight(client, QUERY, origin=origin, names="x-api-key")
    assert "access-control-allow-origin" not in answer.headers
