"""Persons as messages of `shared.profiles.v1`.

Invariant: every field of a person is set, so that JSON shows empty texts too; null values of
properties are left out, because to readers null and absent are the same [profiles 2.5].
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

import msgspec
from protobuf.wkt import Struct
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.domain.people.person import Activity, Person
from appliance.gen.shared.profiles.v1.profiles_pb import Profile, ProfileActivitySummary

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
_OBJECT: Final = msgspec.json.Decoder(dict[str, object])


def render_person(person: Person) -> Profile:
    """A person as callers see them."""
    return Profile(
        create_time=timestamp_of(person.created_us),
        external_id=person.external_id,
        id=person.id,
        properties=render_properties(person.properties),
        project_id=person.project_id,
        update_time=timestamp_of(person.updated_us),
        activity=None if person.activity is None else _render_activity(person.activity),
    )


def render_properties(text: str) -> Struct:
    """A JSON object without its nulls."""
    return Struct.from_python(_without_nulls(cast("Mapping[str, Json]", _OBJECT.decode(text))))


def timestamp_of(micros: int) -> Timestamp:
    """An instant from microseconds since 1970 UTC."""
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def _without_nulls(members: Mapping[str, Json]) -> Mapping[str, Json]:
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in members.items()
        if value is not None
    }


def _render_activity(activity: Activity) -> ProfileActivitySummary:
    return ProfileActivitySummary(
        first_seen=timestamp_of(activity.first_ms * 1000),
        last_seen=timestamp_of(activity.last_ms * 1000),
        total_events=activity.events,
        pageviews=activity.page_views,
        sessions=activity.sessions,
        browser=activity.browser,
        browser_version=activity.browser_version,
        os=activity.os,
        os_version=activity.os_version,
        device=activity.device,
        country=activity.country,
        region=activity.region,
        city=activity.city,
    )
