"""What one call that names a person does, by the shared vectors, in real stores."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from appliance.base.clock import SystemClock
from appliance.config.model import Settings
from appliance.domain.people.messages import Alias, Identification, micros_of
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.gen.workers.profiles.v1.profiles_pb import ProfileAliasMessage, ProfileUpsertMessage
from appliance.storage.clickhouse.profiles_write import ProfileInserts
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.people import (
    ALIAS_SUBJECT,
    IDENTIFY_DURABLE,
    IDENTIFY_SUBJECT,
    UPSERT_SUBJECT,
)
from tests.support.naming_stage import MINE, OTHERS, NamingStage, open_naming_stage
from tests.support.vectors import Case, cases_of

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def stage(engines: Settings, anyio_backend: str) -> AsyncGenerator[NamingStage]:
    async with open_naming_stage(engines) as opened:
        yield opened


async def prepare(stage: NamingStage, given: dict[str, Any]) -> None:
    """What the vector takes as given."""
    for key, project in (("profiles", MINE), ("otherProjectProfiles", OTHERS)):
        for profile in given.get(key, []):
            await stage.add_profile(
                profile["id"],
                profile.get("externalId"),
                profile.get("properties"),
                deleted=profile.get("deleted", False),
                project=project,
            )
    for device in given.get("devices", []):
        await stage.add_device(device["id"], device["profile"])
    aliases = [
        Alias(
            project_id=MINE,
            alias_id=alias["alias"],
            profile_id=alias["profile"],
            external_id="e",
            version=1,
        )
        for alias in given.get("aliases", [])
    ]
    if aliases:
        await ProfileInserts(stage.stores.clickhouse).add_aliases(aliases)


def told(subject: str, payload: bytes, target: str) -> str:
    """A message of the read side in the words of the vectors."""
    if subject == ALIAS_SUBJECT:
        alias = ProfileAliasMessage.from_binary(payload)
        return f"alias {alias.alias_id} -> {'target' if alias.profile_id == target else '?'}"
    state = ProfileUpsertMessage.from_binary(payload)
    if state.is_deleted:
        assert state.external_id == ""
        assert state.properties is not None
        assert not state.properties.fields
        return f"delete marker {state.profile_id}"
    return f"upsert {'target' if state.profile_id == target else '?'}"


@pytest.mark.parametrize("case", cases_of("identify_flow"))
async def test_identify_flow(case: Case, stage: NamingStage) -> None:
    """Stores and messages after the call, and what the read side shows in the end."""
    await prepare(stage, case["given"])
    external_id = case["identify"]["externalId"]
    before = await stage.profile(external_id)
    others = await stage.profiles(OTHERS)
    await stage.name(case["identify"])
    async with stage.working("identify"):
        await stage.until_idle(IDENTIFY_DURABLE)
    target = await stage.profile(external_id)
    assert target is not None
    if before is not None:
        assert target["id"] == before["id"]
        assert target["update_time"] > before["update_time"]
    wanted = case.get("profile", {})
    assert target["id"] == wanted.get("id", target["id"])
    assert target["id"] != wanted.get("idIsNot")
    assert target["properties"] == wanted.get("properties", target["properties"])
    messages = [each for each in await stage.messages() if each[0] != IDENTIFY_SUBJECT]
    assert [told(*each, target["id"]) for each in messages] == case["publishes"]
    deleted = {one["id"] for one in await stage.profiles() if one["deleted"]}
    assert deleted >= set(case.get("softDeleted", []))
    if "devices" in case:
        assert await stage.devices() == {
            device["id"]: target["id"] if device["profile"] == "target" else device["profile"]
            for device in case["devices"]
        }
    assert await stage.profiles(OTHERS) == others
    async with stage.working("alias", "upsert"):
        await stage.until_idle()
    shown = await stage.shown()
    assert shown[target["id"]] == {
        "external_id": external_id,
        "properties": target["properties"],
        "deleted": False,
    }
    assert not await stage.shown(OTHERS)
    anonymous_id = case["identify"].get("anonymousId")
    if anonymous_id:
        assert shown[anonymous_id]["deleted"]
        assert await stage.aliases() == {anonymous_id: target["id"]}
    for alias, profile in case.get("currentAlias", {}).items():
        assert (await stage.aliases())[alias] == profile


def call(**changes: Any) -> Identification:
    at = micros_of(SystemClock().now())
    return Identification(
        **({"project_id": MINE, "external_id": "e1", "traits": {}, "accepted_at": at} | changes)
    )


@pytest.mark.parametrize(
    ("subject", "payload"),
    [
        (IDENTIFY_SUBJECT, b"\xff"),
        (IDENTIFY_SUBJECT, ProfileIdentifyMessage(project_id=MINE, external_id="").to_binary()),
        (
            IDENTIFY_SUBJECT,
            ProfileIdentifyMessage(project_id=MINE, external_id="cookieless-x").to_binary(),
        ),
        (IDENTIFY_SUBJECT, ProfileIdentifyMessage(external_id="e1").to_binary()),
        (
            IDENTIFY_SUBJECT,
            ProfileIdentifyMessage(project_id="gone", external_id="e1").to_binary(),
        ),
        (ALIAS_SUBJECT, ProfileAliasMessage(alias_id="a", project_id=MINE).to_binary()),
        (UPSERT_SUBJECT, ProfileUpsertMessage(profile_id="a").to_binary()),
        (
            UPSERT_SUBJECT,
            ProfileUpsertMessage(profile_id="a", project_id=MINE, version=-1).to_binary(),
        ),
    ],
)
async def test_what_can_never_be_handled_is_kept_aside(
    stage: NamingStage, subject: str, payload: bytes
) -> None:
    """A dead letter at the first delivery, with the payload as it was; others go on."""
    await stage.publish(subject, payload)
    await stage.hand_over([call(anonymous_id="anon-1")])
    async with stage.working():
        await stage.until_idle()
    dead_letters = DeadLetters(stage.stores.streams)
    found = [one async for one in dead_letters.summaries("profiles")]
    assert [one.original_subject for one in found] == [subject]
    target = await stage.profile("e1")
    assert target is not None
    assert (await stage.aliases())["anon-1"] == target["id"]


async def test_too_large_a_profile_undoes_everything(stage: NamingStage) -> None:
    """A state that no message can hold: nothing is stored, the call is kept aside."""
    half = "x" * (5 << 20)
    await stage.hand_over([call(traits={"a": half}), call(traits={"b": half})])
    async with stage.working():
        await stage.until_idle()
    target = await stage.profile("e1")
    assert target is not None
    assert len(target["properties"]) == 1
    assert len([one async for one in DeadLetters(stage.stores.streams).summaries("profiles")]) == 1
