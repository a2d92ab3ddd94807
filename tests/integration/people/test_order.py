"""Calls that name persons in any order, some of them twice: always the same end."""

import os
import random
from collections.abc import AsyncGenerator, Sequence

import pytest

from appliance.config.model import Settings
from appliance.domain.people.messages import Identification
from appliance.storage.streams.deadletters import DeadLetters
from tests.support.naming_oracle import Outcome, carry_out, make_calls
from tests.support.naming_stage import MINE, NamingStage, open_naming_stage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CALLS = 150
DEVICES = ("d0", "d1", "d2")
SEEDS = [int(seed) for seed in os.environ.get("TEST_SEEDS", "1,2").split(",")]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def stage(engines: Settings, anyio_backend: str) -> AsyncGenerator[NamingStage]:
    async with open_naming_stage(engines) as opened:
        yield opened


async def both_sides(stage: NamingStage) -> tuple[Outcome, Outcome]:
    """What the write side and the read side say in the end."""
    living = [one for one in await stage.profiles() if not one["deleted"]]
    names = {one["id"]: one["external_id"] for one in living}
    assert len(set(names.values())) == len(names)
    shown = await stage.shown()
    aliases = {alias: names[owner] for alias, owner in (await stage.aliases()).items()}
    devices = {
        device: names[owner]
        for device, owner in (await stage.devices()).items()
        if owner is not None
    }
    assert all(shown[alias]["deleted"] for alias in aliases)
    written = {one["external_id"]: one["properties"] for one in living}
    read = {one["external_id"]: one["properties"] for one in shown.values() if not one["deleted"]}
    return Outcome(written, aliases, devices), Outcome(read, aliases, devices)


def mixed(calls: Sequence[Identification], seed: int) -> list[Identification]:
    """The calls in disorder, a quarter of them again."""
    chance = random.Random(seed)
    sent = [*calls, *chance.sample(calls, len(calls) // 4)]
    chance.shuffle(sent)
    return sent


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_order_ends_the_same(stage: NamingStage, seed: int) -> None:
    """Two sets of parallel workers, disorder and repetition: what the calls say in their order."""
    for device in DEVICES:
        await stage.add_device(device)
    calls = make_calls(CALLS, seed=seed, project=MINE)
    sent = mixed(calls, seed)
    wanted = carry_out(calls, DEVICES)
    assert carry_out(sent, DEVICES) != wanted, "the control: handled as they come, they end wrong"
    async with stage.working(), stage.working():
        await stage.hand_over(sent)
        await stage.until_idle()
    written, read = await both_sides(stage)
    assert written == wanted
    assert read == wanted
    dead = DeadLetters(stage.stores.streams).summaries("profiles")
    assert [letter async for letter in dead] == []


async def test_anonymous_profiles_fill_gaps_in_any_order(stage: NamingStage) -> None:
    """What an anonymous profile knew stays below what calls say, earlier or later ones."""
    await stage.add_profile("anon-1", None, {"plan": "anonymous", "src": "web"})
    await stage.add_device("d0", "anon-1")
    calls = [
        Identification(
            project_id=MINE,
            external_id="e1",
            traits=traits,
            anonymous_id=anonymous_id,
            accepted_at=at,
        )
        for at, anonymous_id, traits in (
            (30, "", {"plan": "late"}),
            (20, "anon-1", {}),
            (10, "", {"plan": "early", "src": "early", "n": 1}),
        )
    ]
    async with stage.working():
        await stage.hand_over(calls)
        await stage.until_idle()
    profile = await stage.profile("e1")
    assert profile is not None
    assert profile["properties"] == {"plan": "late", "src": "early", "n": 1}
    assert await stage.devices() == {"d0": profile["id"]}
