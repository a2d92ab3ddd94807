"""Nobody reaches into another organisation, whatever ids they send [services 4].

The attacker is an admin of an organisation of their own and knows every id of the other one. The
control arm makes the same calls as a member of the other organisation and must see secrets.
"""

import asyncio
import json
from collections.abc import Generator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protobuf import DescMessage

from appliance.config.model import Settings
from tests.support.control import control_stack
from tests.support.messages import ANALYTICS, CONTROL, bodies, request_descriptors
from tests.support.worlds import SECRET, Worlds, make_worlds

pytestmark = pytest.mark.integration

REQUESTS = request_descriptors((*CONTROL, *ANALYTICS))
DASHBOARD = {path: message for path, message in REQUESTS.items() if not path.startswith("public.")}
ID_CHARACTERS = 20
FIELDS = ("org_id", "customer_id", "member_id", "invitation_id", "api_key_id", "id", "email")


class Running:
    """The two worlds on one event loop, for tests that are not coroutines."""

    def __init__(self, engines: Settings) -> None:
        self.runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.worlds = self.runner.run(self._open(engines))

    async def _open(self, engines: Settings) -> Worlds:
        control = await self._stack.enter_async_context(control_stack(engines))
        return await make_worlds(control)

    def close(self) -> None:
        self.runner.run(self._stack.aclose())
        self.runner.close()


@pytest.fixture(scope="module")
def running(engines: Settings) -> Generator[Running]:
    opened = Running(engines)
    yield opened
    opened.close()


def ids_of(message: DescMessage, ids: dict[str, str]) -> dict[str, str]:
    return {field.json_name: ids[field.name] for field in message.fields if field.name in ids}


def _without_echo(text: str, body: object) -> str:
    """An answer without what the attacker sent: an id told back tells nothing."""
    sent = body.values() if isinstance(body, dict) else ()
    told = text.lower().replace(json.dumps(body).lower(), "")
    for value in sorted(map(str, sent), key=len, reverse=True):
        told = told.replace(value.lower(), "") if len(value) == ID_CHARACTERS else told
    return told


async def attack(worlds: Worlds, path: str, body: object, project: str) -> None:
    """Call as the attacker; nothing may show and nothing may change on the other side."""
    await worlds.reinstate()
    before = await worlds.others_state()
    answer = await worlds.post(path, body, token=worlds.mine.admin.token, project=project)
    assert SECRET not in _without_echo(answer.text, body), answer.text
    unsent = {
        value
        for value in worlds.others.ids.values()
        if value not in json.dumps(body) and value != project
    }
    assert not [value for value in unsent if value in answer.text], answer.text
    assert await worlds.others_state() == before, path


@pytest.mark.parametrize("path", sorted(DASHBOARD))
def test_ids_of_the_other_organisation_open_nothing(running: Running, path: str) -> None:
    """Every RPC with the other side's ids, under each project header."""
    worlds = running.worlds
    body = ids_of(DASHBOARD[path], dict(worlds.others.ids))
    for project in ("", worlds.mine.ids["project_id"], worlds.others.ids["project_id"]):
        running.runner.run(attack(worlds, path, body, project))


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_no_mixture_of_ids_opens_anything(running: Running, data: st.DataObject) -> None:
    """Any RPC, its id fields from either side, the rest anything."""
    worlds = running.worlds
    path = data.draw(st.sampled_from(sorted(DASHBOARD)))
    pool = st.sampled_from([*worlds.mine.ids.values(), *worlds.others.ids.values()])
    own = {
        name: st.sampled_from([worlds.mine.ids[name], worlds.others.ids[name]]) | pool
        for name in FIELDS
    }
    body = data.draw(bodies(DASHBOARD[path], own))
    project = data.draw(
        st.sampled_from(["", worlds.mine.ids["project_id"], worlds.others.ids["project_id"]])
    )
    running.runner.run(attack(worlds, path, body, project))


CONTROL_ARM: dict[str, Any] = {
    "dashboard.orgs.v1.OrgsService/Get": True,
    "dashboard.orgs.v1.OrgsService/ListMembers": True,
    "dashboard.projects.v1.ProjectsService/BatchGet": True,
    "dashboard.projects.v1.ProjectsService/Get": True,
    "dashboard.projects.v1.ProjectsService/ListApiKeys": True,
}


@pytest.mark.parametrize("path", sorted(CONTROL_ARM))
def test_a_member_does_see_what_the_attacker_must_not(running: Running, path: str) -> None:
    """The control arm: the same question from inside shows a secret."""
    worlds = running.worlds

    async def ask() -> httpx.Response:
        return await worlds.post(
            path,
            ids_of(DASHBOARD[path], dict(worlds.others.ids)),
            token=worlds.others.member.token,
            project=worlds.others.ids["project_id"],
        )

    answer = running.runner.run(ask())
    assert answer.status_code == 200, answer.text
    assert SECRET in answer.text.lower()
