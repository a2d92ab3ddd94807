"""Persons and events in the graph, and the pages they come in.

Invariant: order, cursors and filters are those of the services; a page asks for one entry more than
it shows, so it knows whether there is another.
"""

from contextlib import aclosing
from typing import cast

import strawberry

from appliance.api.graphql.asker import Asker
from appliance.api.graphql.pages import Connection, connect, page_size
from appliance.api.graphql.questions import (
    EventFilter,
    FilterGroup,
    LogicalOperator,
    PropertyFilter,
    TimeRange,
    event_fields,
    filter_fields,
    group_fields,
    message_of,
    range_fields,
)
from appliance.api.graphql.scalars import Instant, Json, Long
from appliance.domain.cursors import Cursor, encode_event_cursor, encode_person_cursor
from appliance.domain.people.answers import render_person
from appliance.domain.people.person import Person
from appliance.gen.shared.activity.v1.activity_pb import (
    ActivityEvent,
    GetEventExplorerRequest,
)
from appliance.gen.shared.profiles.v1.profiles_pb import ListRequest
from appliance.gen.shared.profiles.v1.profiles_pb import Profile as ProfileMessage


@strawberry.type(description="What a person did, summed up.")
class ProfileActivity:
    """As in the contract."""

    first_seen: Instant | None
    last_seen: Instant | None
    total_events: Long
    pageviews: Long
    sessions: Long
    browser: str
    browser_version: str
    os: str
    os_version: str
    device: str
    country: str
    region: str
    city: str


@strawberry.type(description="A person of a project.")
class Profile:
    """As in the contract, read straight from its message."""

    id: strawberry.ID
    external_id: str
    properties: Json | None
    create_time: Instant | None
    update_time: Instant | None
    activity: ProfileActivity | None


@strawberry.type(description="Something that happened.")
class Event:
    """As in the contract, read straight from its message."""

    event_id: strawberry.ID
    kind: str
    distinct_id: str
    session_id: str
    occur_time: Instant | None
    auto_properties: Json | None
    custom_properties: Json | None


def profile_node(person: Person) -> Profile:
    """A person as a node: its message has the same fields."""
    return _as_profile(render_person(person))


async def list_profiles(
    asker: Asker,
    project_id: str,
    *,
    first: int,
    after: str | None,
    filter_groups: list[FilterGroup] | None,
    operator: LogicalOperator | None,
) -> Connection[Profile]:
    """One page of the persons of a project, newest first."""
    size = page_size(first)
    request = message_of(
        ListRequest,
        {
            "pageToken": after or "",
            "filterGroups": group_fields(filter_groups),
            "filterGroupsOperator": operator and operator.value,
        },
    )
    async with (
        asker.slot(),
        aclosing(asker.services.people.list(project_id, request)) as pages,
    ):
        page = await anext(pages, None)
    if page is None:
        return connect([], more=False, after=after)
    nodes = [(_person_cursor(one), profile_node(one)) for one in page.persons[:size]]
    more = len(page.persons) > size or bool(page.next_token)
    return connect(nodes, more=more, after=after)


async def list_events(
    asker: Asker,
    project_id: str,
    *,
    first: int,
    after: str | None,
    distinct_id: str | None,
    session_id: str | None,
    time_range: TimeRange | None,
    events: list[EventFilter] | None,
    property_filters: list[PropertyFilter] | None,
) -> Connection[Event]:
    """One page of the events of a project, newest first."""
    size = page_size(first)
    request = message_of(
        GetEventExplorerRequest,
        {
            "pageToken": after or "",
            "pageSize": size + 1,
            "distinctId": distinct_id or "",
            "sessionId": session_id or "",
            "timeRange": range_fields(time_range),
            "events": event_fields(events),
            "propertyFilters": filter_fields(property_filters),
        },
    )
    async with asker.slot():
        found = (await asker.services.activity.explorer(project_id, request)).events
    nodes = [(_event_cursor(one), _as_event(one)) for one in found[:size]]
    return connect(nodes, more=len(found) > size, after=after)


def _person_cursor(person: Person) -> str:
    return encode_person_cursor(Cursor(micros=person.created_us, id=person.id))


def _event_cursor(event: ActivityEvent) -> str:
    at = event.occur_time
    assert at is not None
    micros = at.seconds * 1_000_000 + at.nanos // 1000
    return encode_event_cursor(Cursor(micros=micros, id=event.event_id))


def _as_profile(message: ProfileMessage) -> Profile:
    return cast("Profile", message)


def _as_event(message: ActivityEvent) -> Event:
    return cast("Event", message)
