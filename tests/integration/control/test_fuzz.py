"""Whatever JSON is sent, the control plane never breaks: no 500, and errors of the one form."""

import json
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.config.model import Settings
from tests.integration.control.test_isolation import FIELDS, Running
from tests.support.messages import ANY_JSON, CONTROL, bodies, request_descriptors
from tests.support.worlds import Worlds

pytestmark = pytest.mark.integration

REQUESTS = request_descriptors(CONTROL)
BREAKS = frozenset({500, 502, 503, 504})
UNAVAILABLE_HERE = "public.auth.v1.AuthService/DemoSignIn"
"""Its documented answer where there is no demo [services 5]."""


def breaks(path: str, status: int) -> bool:
    return status in BREAKS and not (path == UNAVAILABLE_HERE and status == 503)


@pytest.fixture(scope="module")
def running(engines: Settings) -> Generator[Running]:
    opened = Running(engines)
    yield opened
    opened.close()


async def send(worlds: Worlds, path: str, body: object, *, signed_in: bool, project: bool) -> None:
    await worlds.reinstate()
    answer = await worlds.post(
        path,
        body,
        token=worlds.mine.admin.token if signed_in else "",
        project=worlds.mine.ids["project_id"] if project else "",
    )
    assert not breaks(path, answer.status_code), answer.text
    if answer.status_code != 200:
        told = json.loads(answer.text)
        assert told["code"]
        assert told["message"]


@pytest.mark.parametrize("path", sorted(REQUESTS))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_no_body_breaks_it(running: Running, path: str, data: st.DataObject) -> None:
    worlds = running.worlds
    known = {name: st.just(worlds.mine.ids[name]) for name in FIELDS}
    body = data.draw(bodies(REQUESTS[path], known) | ANY_JSON)
    signed_in = data.draw(st.integers(0, 9)) > 0
    running.runner.run(
        send(worlds, path, body, signed_in=signed_in, project=data.draw(st.booleans()))
    )


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"{" * 100_000])
@pytest.mark.parametrize("path", sorted(REQUESTS))
def test_what_is_no_json_is_an_invalid_argument(running: Running, path: str, raw: bytes) -> None:
    worlds = running.worlds

    async def ask() -> int:
        answer = await worlds.post_raw(
            path, raw, token=worlds.mine.admin.token, project=worlds.mine.ids["project_id"]
        )
        return answer.status_code

    assert not breaks(path, running.runner.run(ask()))
