"""List: order, pages, tokens, filters [profiles 4.4]."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pytest

from appliance.gen.common.v1.filter_schema_pb import PropertySource
from appliance.gen.common.v1.filters_pb import FilterOperator, LogicalOperator, PropertyFilter
from appliance.gen.shared.profiles.v1.profiles_pb import FilterGroup, ListRequest
from appliance.services import people as people_service
from tests.support.control import Refusal
from tests.support.people import NOON, PeopleWorld
from tests.support.vectors import load_sections

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TRAITS = {
    "name": "Ada",
    "age": 36,
    "score": 1.5,
    "rank": "12",
    "vip": True,
    "gone": None,
    "empty": "",
    "tags": ["a", "b"],
    "address": {"city": "Oslo", "floor": 3},
    "dotted.key": "x",
}
AUTO = PropertySource.AUTO
OR = LogicalOperator.OR


def asks(
    key: str,
    operator: str,
    value: str | Sequence[str] = "",
    source: PropertySource = PropertySource.UNSPECIFIED,
) -> PropertyFilter:
    """One filter; a list of values for the operators that take one."""
    made = PropertyFilter(property=key, operator=FilterOperator[operator], source=source)
    if isinstance(value, str):
        if value:
            made.value = value
    else:
        made.values = list(value)
    return made


def only(*filters: PropertyFilter, operator: LogicalOperator | None = None) -> ListRequest:
    """One group."""
    group = FilterGroup(filters=list(filters))
    if operator is not None:
        group.operator = operator
    return ListRequest(filter_groups=[group])


async def test_order_and_pages(world: PeopleWorld, form: str) -> None:
    """Newest first, ties by id, a hundred a message, a token on each but the last."""
    for number in range(130):
        await world.add_profile(f"P{number:03d}", f"e{number}", created=NOON)
    await world.add_profile("P-new", "new", created=NOON + timedelta(microseconds=1))
    await world.add_events(
        *(
            {"distinct_id": f"anon-{number:03d}", "occur_time": f"2026-05-09 12:00:00.{number:03d}"}
            for number in range(100)
        )
    )
    expected = [
        "P-new",
        *(f"P{number:03d}" for number in reversed(range(130))),
        *(f"anon-{number:03d}" for number in reversed(range(100))),
    ]
    pages = await world.pages(form=form)
    assert [len(page.profiles) for page in pages] == [100, 100, 31]
    assert [bool(page.next_page_token) for page in pages] == [True, True, False]
    assert [one.id for page in pages for one in page.profiles] == expected
    rest = await world.list(ListRequest(page_token=pages[0].next_page_token), form)
    assert [one.id for one in rest] == expected[100:]
    rest = await world.list(ListRequest(page_token=pages[1].next_page_token), form)
    assert [one.id for one in rest] == expected[200:]


async def test_exactly_full(world: PeopleWorld) -> None:
    """A last page that is full has no token; keys read ahead in several steps lose nobody."""
    for number in range(100):
        await world.add_profile(f"P{number:03d}")
    (page,) = await world.pages()
    assert len(page.profiles) == 100
    assert not page.has_field("next_page_token")


@pytest.mark.parametrize("ahead", [1, 101, 250])
async def test_steps(world: PeopleWorld, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    """However many ids are read at once, everybody is shown once and in order."""
    monkeypatch.setattr(people_service, "KEYS_AHEAD", ahead)
    for number in range(250):
        await world.add_profile(f"P{number:03d}", created=NOON + timedelta(seconds=number // 7))
    listed = [one.id for one in await world.list()]
    assert listed == [f"P{number:03d}" for number in reversed(range(250))]


async def test_long_ids(world: PeopleWorld) -> None:
    """Ids have no limit of their own: a page of long ones is one question to the store."""
    names = [f"{'ü' * 2000}{number:03d}" for number in range(120)]
    await world.add_events(*({"distinct_id": name} for name in names))
    pages = await world.pages()
    assert [one.id for page in pages for one in page.profiles] == names[::-1]
    rest = await world.list(ListRequest(page_token=pages[0].next_page_token))
    assert len(rest) == 20


async def test_nobody(world: PeopleWorld, form: str) -> None:
    """No matches: the stream ends without any message."""
    assert await world.pages(form=form) == []


async def test_page_token(world: PeopleWorld, form: str) -> None:
    """The vector's tokens are read or refused."""
    for case in load_sections()["page_token"]:
        request = ListRequest(page_token=case["token"])
        if case["accept"]:
            await world.pages(request, form)
            continue
        with pytest.raises(Refusal) as refused:
            await world.pages(request, form)
        told = (refused.value.code, refused.value.reason)
        assert told == ("invalid_argument", "INVALID_PAGE_TOKEN"), case


MATCHES: Final = [
    (only(asks("name", "EQUALS", "Ada")), True),
    (only(asks("name", "EQUALS", "ada")), False),
    (only(asks("age", "EQUALS", "36")), True),
    (only(asks("age", "EQUALS", "36.0")), False),
    (only(asks("score", "EQUALS", "1.5")), True),
    (only(asks("vip", "EQUALS", "true")), True),
    (only(asks("name", "CONTAINS", "d")), True),
    (only(asks("name", "CONTAINS", "%")), False),
    (only(asks("name", "NOT_CONTAINS", "z")), True),
    (only(asks("name", "IN", ["Bob", "Ada"])), True),
    (only(asks("name", "NOT_IN", ["Bob", "Ada"])), False),
    (only(asks("name", "NOT_EQUALS", "Bob")), True),
    (only(asks("gone", "IS_SET")), False),
    (only(asks("empty", "IS_SET")), False),
    (only(asks("absent", "IS_NOT_SET")), True),
    (only(asks("tags", "IS_SET")), True),
    (only(asks("tags", "CONTAINS", '"b"')), True),
    (only(asks("address.city", "EQUALS", "Oslo")), True),
    (only(asks("address.floor", "GTE", "3")), True),
    (only(asks("address.zip", "IS_SET")), False),
    (only(asks("dotted.key", "EQUALS", "x")), True),
    (only(asks("age", "GT", "35.5")), True),
    (only(asks("age", "LT", "36")), False),
    (only(asks("rank", "BETWEEN", ["10", "12"])), True),
    (only(asks("rank", "NOT_BETWEEN", ["10", "12"])), False),
    (only(asks("vip", "GTE", "0")), False),
    (only(asks("vip", "LT", "2")), False),
    (only(asks("name", "GT", "0")), False),
    (only(asks("name", "EQUALS", "Ada", PropertySource.PROFILE)), True),
    (only(asks("$country", "EQUALS", "NO", AUTO)), True),
    (only(asks("$country", "EQUALS", "SE", AUTO)), False),
    (only(asks("$browserVersion", "IN", ["1", "130.1"], AUTO)), True),
    (only(asks("$city", "IS_SET", source=AUTO)), False),
    (only(asks("$country", "IS_SET")), False),
    (only(asks("name", "EQUALS", "Bob"), asks("$country", "EQUALS", "NO", AUTO)), False),
    (
        only(asks("name", "EQUALS", "Bob"), asks("$country", "EQUALS", "NO", AUTO), operator=OR),
        True,
    ),
    (
        ListRequest(
            filter_groups=[
                FilterGroup(filters=[asks("name", "EQUALS", "Bob")]),
                FilterGroup(filters=[asks("age", "EQUALS", "36")]),
            ]
        ),
        False,
    ),
    (
        ListRequest(
            filter_groups=[
                FilterGroup(filters=[asks("name", "EQUALS", "Bob")]),
                FilterGroup(filters=[asks("age", "EQUALS", "36")]),
            ],
            filter_groups_operator=OR,
        ),
        True,
    ),
]


async def test_filters(world: PeopleWorld) -> None:
    """Text and number forms of traits, and of the latest event, whichever of the ids it had."""
    await world.add_profile("P1", "e1", properties={"name": "Eve"})
    await world.add_profile("P1", "e1", properties=TRAITS)
    await world.add_alias("anon-a", "P1")
    await world.add_events(
        {"distinct_id": "anon-a", "country": "NO", "browser_version": "130.1"},
        {"distinct_id": "e1", "country": "SE", "occur_time": "2026-05-10 11:00:00"},
    )
    for request, matches in MATCHES:
        listed = [one.id for one in await world.list(request)]
        assert listed == (["P1"] if matches else []), request


async def test_filters_of_anonymous(world: PeopleWorld, form: str) -> None:
    """An anonymous person has no traits, but a last event."""
    await world.add_events({"distinct_id": "anon-a", "os": "Linux"})
    await world.add_profile("P1", "e1")
    for request, expected in (
        (only(asks("name", "IS_NOT_SET")), {"anon-a", "P1"}),
        (only(asks("name", "NOT_EQUALS", "Ada")), {"anon-a", "P1"}),
        (only(asks("age", "LT", "5")), set()),
        (only(asks("$os", "EQUALS", "Linux", AUTO)), {"anon-a"}),
        (only(asks("$os", "IS_NOT_SET", source=AUTO)), {"P1"}),
    ):
        assert {one.id for one in await world.list(request, form)} == expected


@pytest.mark.parametrize(
    "wrong",
    [
        asks("$platform", "EQUALS", "web", AUTO),
        asks("name", "EQUALS", "Ada", AUTO),
        asks("$os", "GT", "1", AUTO),
        asks("name", "EQUALS", "Ada", PropertySource.CUSTOM),
    ],
)
async def test_refused_filters(world: PeopleWorld, form: str, wrong: PropertyFilter) -> None:
    """What persons do not have is refused, never ignored."""
    with pytest.raises(Refusal) as refused:
        await world.pages(only(wrong), form)
    assert refused.value.code == "invalid_argument"
    assert refused.value.reason == "INVALID_PROFILE_FILTER"


async def test_a_group_needs_a_filter(world: PeopleWorld, form: str) -> None:
    """The schema's rule, with its field."""
    with pytest.raises(Refusal) as refused:
        await world.pages(ListRequest(filter_groups=[FilterGroup()]), form)
    assert (refused.value.reason, refused.value.fields) == (
        "INVALID_ARGUMENT",
        ["filter_groups.filters"],
    )
