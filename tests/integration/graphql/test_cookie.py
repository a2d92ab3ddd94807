"""A sign-in gives a page of ours the cookie, its end takes it back [decision 0041]."""

from typing import Any

import pytest

from appliance.config.secrets import Secret
from appliance.domain.access.roles import Role
from tests.support.graph import Graph

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

AUTH = "/public.auth.v1.AuthService"
EMAIL, RIGHT = "biscuit@pug.test", "correct horse"
PAGE = {"origin": "http://pug.test", "sec-fetch-site": "same-origin"}
ME = {"query": "{ me { email } }"}


@pytest.fixture(scope="module", autouse=True)
async def account(graph: Graph) -> None:
    accounts = graph.control.services.control.accounts
    await accounts.create_user(EMAIL, Secret(RIGHT), role=Role.ADMIN)


async def call(graph: Graph, method: str, headers: dict[str, str], **message: str) -> Any:
    return await graph.client.post(f"{AUTH}/{method}", json=message, headers=headers)


async def signed_in(graph: Graph) -> str:
    """Sign in on a page of ours; the refresh token."""
    graph.client.cookies.clear()
    answer = await call(graph, "SignInWithEmail", PAGE, email=EMAIL, password=RIGHT)
    assert answer.status_code == 200, answer.text
    return answer.json()["refreshToken"]


async def who(graph: Graph) -> str | None:
    """Whom the cookie alone stands for."""
    headers = {**PAGE, "x-graphql-csrf": "1"}
    answer = await graph.client.post("/graphql", json=ME, headers=headers)
    found = (answer.json().get("data") or {}).get("me")
    return found["email"] if found else None


async def test_from_sign_in_to_sign_out(graph: Graph) -> None:
    token = await signed_in(graph)
    assert await who(graph) == EMAIL
    again = await call(graph, "RefreshSession", PAGE, refreshToken=token)
    assert graph.client.cookies["pug-access"] == again.json()["token"]
    assert await who(graph) == EMAIL
    ended = await call(graph, "SignOut", PAGE, refreshToken=again.json()["refreshToken"])
    assert ended.status_code == 200
    assert "pug-access" not in graph.client.cookies
    assert await who(graph) is None


async def test_the_end_of_a_session_takes_it_back(graph: Graph) -> None:
    """Also when another tab or a thief ended it; not when the answer says nothing about it."""
    token = await signed_in(graph)
    broken = await call(graph, "SignInWithEmail", PAGE, email=EMAIL, password="guess")
    assert broken.status_code == 401
    assert await who(graph) == EMAIL
    await call(graph, "SignOut", {}, refreshToken=token)
    assert "pug-access" in graph.client.cookies
    refused = await call(graph, "RefreshSession", PAGE, refreshToken=token)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert "pug-access" not in graph.client.cookies


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "https://board.example", "sec-fetch-site": "cross-site"}],
)
async def test_whoever_is_no_page_of_ours_is_answered_as_ever(
    graph: Graph, headers: dict[str, str]
) -> None:
    """Programs, the SDKs and a dashboard on an origin of its own."""
    graph.client.cookies.clear()
    opened = await call(graph, "SignInWithEmail", headers, email=EMAIL, password=RIGHT)
    token = opened.json()["refreshToken"]
    on = await call(graph, "RefreshSession", headers, refreshToken=token)
    ended = await call(graph, "SignOut", headers, refreshToken=on.json()["refreshToken"])
    over = await call(graph, "RefreshSession", headers, refreshToken=token)
    assert [one.status_code for one in (opened, on, ended, over)] == [200, 200, 200, 401]
    assert not [one for one in (opened, on, ended, over) if "set-cookie" in one.headers]
