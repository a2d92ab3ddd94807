"""Any text in any field of a read is a text: found where it is stored, never an error of ours."""

import random

import pytest

from appliance.domain.cursors import Cursor, encode_event_cursor, encode_person_cursor
from appliance.gen.common.v1.filter_schema_pb import PropertySource
from appliance.gen.common.v1.filters_pb import FilterOperator, PropertyFilter
from appliance.gen.shared.activity.v1.activity_pb import (
    GetActivityFeedRequest,
    GetActivityHeatmapRequest,
    GetEventExplorerRequest,
    GetProfileStatsRequest,
)
from appliance.gen.shared.profiles.v1.profiles_pb import FilterGroup, ListRequest
from tests.support.control import Refusal
from tests.support.people import PeopleWorld

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ACTIVITY = "shared.activity.v1.ActivityService"
ODD = (
    "\x00",
    "a\x00b",
    "\\",
    "\\N",
    "\\x41",
    "'; DROP TABLE events --",
    '"',
    "\n\r\t\b\f\v",
    "{p0:String}",
    "%00%27+&=#?",
    "\u2028\ufeff\u202e",
    "\U0001f436" * 3,
    " ",
    "[1,2]",
    "NULL",
    "x" * 100_000,
)


def made_up(chance: random.Random) -> str:
    """Some characters from all over Unicode."""
    return "".join(
        chr(chance.choice((chance.randrange(128), chance.randrange(0xD800), 0x1F436)))
        for _ in range(chance.randrange(1, 12))
    )


def texts() -> list[str]:
    chance = random.Random(5)
    return list(dict.fromkeys([*ODD, *(made_up(chance) for _ in range(24))]))


async def test_filters_find_what_is_stored(world: PeopleWorld) -> None:
    """Equality, lists and containment, of traits and of events."""
    every = texts()
    for place, text in enumerate(every):
        await world.add_profile(f"P{place:02d}", f"e{place}", properties={"word": text})
    for place, text in enumerate(every):
        for operator in (FilterOperator.EQUALS, FilterOperator.IN, FilterOperator.CONTAINS):
            test = PropertyFilter(property="word", operator=operator, source=PropertySource.PROFILE)
            if operator is FilterOperator.IN:
                test.values = [text]
            else:
                test.value = text
            found = {
                one.id
                for one in await world.list(
                    ListRequest(filter_groups=[FilterGroup(filters=[test])])
                )
            }
            if operator is FilterOperator.CONTAINS:
                expected = {f"P{other:02d}" for other, word in enumerate(every) if text in word}
            else:
                expected = {f"P{place:02d}"}
            assert found == expected, (operator, text[:20])


async def test_ids_are_found_as_they_are(world: PeopleWorld, form: str) -> None:
    """Distinct ids of any text, by every method that takes one."""
    every = texts()
    await world.seen(*every)
    for name in every:
        assert (await world.get(name, form)).id == name
        for method, request in (
            ("GetActivityFeed", GetActivityFeedRequest(distinct_id=name)),
            ("GetEventExplorer", GetEventExplorerRequest(distinct_id=name)),
        ):
            page = await world.call(f"{ACTIVITY}/{method}", request, form)
            assert [one.distinct_id for one in page.events] == [name]
        stats = await world.call(
            f"{ACTIVITY}/GetProfileStats", GetProfileStatsRequest(distinct_id=name), form
        )
        assert stats.stats.total_events == 1
        days = await world.call(
            f"{ACTIVITY}/GetActivityHeatmap", GetActivityHeatmapRequest(distinct_id=name), form
        )
        assert sum(day.count for day in days.days) <= 1
        with pytest.raises(Refusal) as refused:
            await world.get_external(name, form)
        assert refused.value.reason == "PROFILE_NOT_FOUND"


async def test_places_that_nobody_has(world: PeopleWorld, form: str) -> None:
    """Tokens of any time and id, sessions of any text, are answered or refused by their reason."""
    await world.seen("u1")
    uuid = "00000000-0000-4000-8000-000000000000"
    for micros in (-62_135_596_799_999_999, -1, 0, 4_102_444_800_000_000, 253_402_300_799_999_999):
        for name in ("a", *ODD[:4]):
            token = encode_person_cursor(Cursor(micros=micros, id=name))
            await world.pages(ListRequest(page_token=token), form)
        token = encode_event_cursor(Cursor(micros=micros, id=uuid))
        request = GetEventExplorerRequest(page_token=token)
        page = await world.call(f"{ACTIVITY}/GetEventExplorer", request, form)
        assert len(page.events) == (micros > 1_800_000_000_000_000)
    for text in ODD:
        request = GetEventExplorerRequest(session_id=text)
        page = await world.call(f"{ACTIVITY}/GetEventExplorer", request, form)
        assert list(page.events) == []
