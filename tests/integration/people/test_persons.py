"""The vectors of persons: who is listed, who is found [profiles 4]."""

from datetime import datetime
from typing import Any

import pytest

from tests.support.control import Refusal
from tests.support.people import PeopleWorld
from tests.support.vectors import Case, cases_of

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def play(world: PeopleWorld, state: Any, project: str | None = None) -> None:
    """Write a vector's state."""
    for profile in state.get("profiles", ()):
        await world.add_profile(
            profile["id"],
            profile.get("externalId", ""),
            deleted=profile.get("deleted", False),
            project=project,
        )
    for alias_id, profile_id in state.get("aliases", ()):
        await world.add_alias(alias_id, profile_id, project=project)
    if state.get("events"):
        await world.seen(*state["events"], project=project)
    if "otherProject" in state:
        await play(world, state["otherProject"], project="another0000000000000")


@pytest.mark.parametrize("case", cases_of("persons"))
async def test_persons(world: PeopleWorld, form: str, case: Case) -> None:
    """Exactly the persons of the vector are listed, each found by its id, with its events."""
    await play(world, case["state"])
    listed = await world.list(form=form)
    assert sorted(one.id for one in listed) == sorted(case["persons"])
    for one in listed:
        assert await world.get(one.id, form) == one
    for name, distinct_ids in case.get("totalEventsIdentitySet", {}).items():
        (person,) = (one for one in listed if one.id == name)
        expected = sum(case["state"]["events"].count(each) for each in distinct_ids)
        assert person.activity is not None
        assert person.activity.total_events == expected


@pytest.mark.parametrize("case", cases_of("person_get"))
async def test_person_get(world: PeopleWorld, form: str, case: Case) -> None:
    """Get finds the vector's person, or says that there is none, naming what was asked."""
    await play(world, case["state"])
    if "person" in case:
        assert (await world.get(case["get"], form)).id == case["person"]
        return
    with pytest.raises(Refusal) as refused:
        await world.get(case["get"], form)
    assert (refused.value.code, refused.value.reason) == ("not_found", case["error"])
    assert refused.value.resource == ("profile", case["get"])


_FIELDS = {
    "totalEvents": "total_events",
    "pageviews": "pageviews",
    "sessions": "sessions",
    "country": "country",
}


@pytest.mark.parametrize("case", cases_of("activity"))
async def test_activity(world: PeopleWorld, form: str, case: Case) -> None:
    """The summary of the vector, over all of the person's ids, whatever order events came in."""
    await world.add_profile("P1", "e1")
    await world.add_alias("anon-a", "P1")
    ids = ("anon-a", "e1", "P1")
    for number, (moment, kind, session, country) in enumerate(case["events"]):
        await world.add_events(
            {
                "distinct_id": ids[number % len(ids)],
                "occur_time": moment.replace("T", " ").replace("Z", ""),
                "kind": kind,
                "session_id": f"00000000-0000-4000-8000-00000000000{session[1:]}",
                "country": country,
            }
        )
    activity = (await world.get("P1", form)).activity
    if case["out"] is None:
        assert activity is None
        return
    assert activity is not None
    for name, value in case["out"].items():
        if name in _FIELDS:
            assert getattr(activity, _FIELDS[name]) == value
        else:
            seen = activity.first_seen if name == "firstSeen" else activity.last_seen
            assert seen is not None
            assert seen.to_datetime() == datetime.fromisoformat(value)
