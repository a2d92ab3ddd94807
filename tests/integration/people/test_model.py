"""Persons of random histories, compared with the rules written down in Python [profiles 4]."""

import random
from collections.abc import Mapping
from datetime import timedelta

import pytest
from msgspec import Struct

from appliance.base.errors import NotFoundError
from appliance.domain.people.person import Person
from appliance.gen.shared.profiles.v1.profiles_pb import ListRequest
from tests.support.people import NOON, PeopleWorld

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SEEDS = range(4)
IDS = [f"P{number}" for number in range(4)]
NAMES = ["", *(f"e{number}" for number in range(3)), "anon-0"]
VISITORS = [f"anon-{number}" for number in range(4)]
ANYONE = [*IDS, *NAMES, *VISITORS]


class Row(Struct, frozen=True, kw_only=True):
    external_id: str
    deleted: bool
    created: int
    updated: int


class History:
    """What was written, and what the rules make of it."""

    def __init__(self) -> None:
        self.profiles: dict[str, tuple[int, Row]] = {}
        self.aliases: dict[str, tuple[int, str]] = {}
        self.events: list[tuple[str, int]] = []

    async def play(self, world: PeopleWorld, project: str, seed: int) -> None:
        chance = random.Random(seed)
        versions = list(range(1, 40))
        chance.shuffle(versions)
        for version in versions[: chance.randrange(2, 14)]:
            if chance.random() < 0.6:
                await self._change_profile(world, project, chance, version)
            else:
                alias, owner = chance.choice([*VISITORS, "P3"]), chance.choice(IDS)
                await world.add_alias(alias, owner, project=project, version=version)
                if version > self.aliases.get(alias, (0, ""))[0]:
                    self.aliases[alias] = version, owner
        self.events = [
            (chance.choice(ANYONE), chance.randrange(10_000)) for _ in range(chance.randrange(20))
        ]
        if self.events:
            await world.add_events(
                *(
                    {
                        "distinct_id": name,
                        "occur_time": f"{NOON + timedelta(seconds=at):%Y-%m-%d %H:%M:%S}",
                    }
                    for name, at in self.events
                ),
                project=project,
            )

    async def _change_profile(
        self, world: PeopleWorld, project: str, chance: random.Random, version: int
    ) -> None:
        name = chance.choice(IDS)
        row = Row(
            external_id=chance.choice(NAMES),
            deleted=chance.random() < 0.25,
            created=IDS.index(name) * 1000,
            updated=chance.randrange(3),
        )
        await world.add_profile(
            name,
            row.external_id,
            deleted=row.deleted,
            created=NOON + timedelta(seconds=row.created),
            updated=NOON + timedelta(seconds=row.updated),
            project=project,
            version=version,
        )
        if version > self.profiles.get(name, (0, row))[0]:
            self.profiles[name] = version, row

    def alive(self) -> Mapping[str, Row]:
        return {name: row for name, (_, row) in self.profiles.items() if not row.deleted}

    def members(self, name: str) -> set[str]:
        """All distinct ids of a person."""
        if name not in self.alive():
            return {name}
        owned = {alias for alias, (_, owner) in self.aliases.items() if owner == name}
        return {name, self.alive()[name].external_id, *owned} - {""}

    def persons(self) -> dict[str, tuple[int, str]]:
        """Creation time and external id of everybody, by id."""
        claimed = {
            *self.aliases,
            *self.profiles,
            *(row.external_id for _, row in self.profiles.values()),
            "",
        }
        found = {name: (row.created, row.external_id) for name, row in self.alive().items()}
        for name in {name for name, _ in self.events} - claimed:
            found[name] = min(at for who, at in self.events if who == name), ""
        return found

    def get(self, name: str) -> str | None:
        if not name or name in self.persons():
            return name or None
        owner = self.aliases.get(name, (0, ""))[1]
        return owner if owner in self.alive() else None

    def get_external(self, external_id: str) -> str | None:
        found = [
            (row.updated, name)
            for name, row in self.alive().items()
            if external_id and row.external_id == external_id
        ]
        return max(found)[1] if found else None


def count(person: Person) -> int:
    return person.activity.events if person.activity else 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_histories(world: PeopleWorld, seed: int) -> None:
    """Lists, single persons and their numbers are those of the rules, whatever happened."""
    people = world.control.services.people
    for round_ in range(5):
        project = f"random{seed}x{round_}"
        history = History()
        await history.play(world, project, seed * 1000 + round_)
        expected = history.persons()
        listed = [one async for page in people.list(project, ListRequest()) for one in page.persons]
        order = sorted(expected, key=lambda name: (expected[name][0], name), reverse=True)
        assert [one.id for one in listed] == order
        for one in listed:
            assert one.external_id == expected[one.id][1]
            members = history.members(one.id)
            assert count(one) == sum(who in members for who, _ in history.events), one.id
        for name in ANYONE:
            assert await _id(people.get(project, name)) == history.get(name), name
            found = await _id(people.get_by_external_id(project, name))
            assert found == history.get_external(name), name


async def _id(asked) -> str | None:
    try:
        return (await asked).id
    except NotFoundError:
        return None
