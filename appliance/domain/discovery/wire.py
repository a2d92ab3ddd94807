"""Discovery as messages of `common.v1`, which insights and activity share [services 7.3].

Invariant: types go both ways by one table; an unknown type is never sent.
"""

from collections.abc import Iterable
from typing import Final

from appliance.domain.discovery.keys import FilterSchema, Key, ValueType
from appliance.domain.people.answers import timestamp_of
from appliance.gen.common.v1.filter_schema_pb import (
    EventNameMeta,
    GetFilterSchemaResponse,
    PropertyKeyMeta,
    PropertyValueType,
)

_TYPES: Final = {
    ValueType.STRING: PropertyValueType.STRING,
    ValueType.INTEGER: PropertyValueType.INTEGER,
    ValueType.FLOAT: PropertyValueType.FLOAT,
    ValueType.BOOLEAN: PropertyValueType.BOOLEAN,
    ValueType.DATETIME: PropertyValueType.DATETIME,
    ValueType.OTHER: PropertyValueType.OTHER,
}
_READ: Final = {sent: kind for kind, sent in _TYPES.items()}


def parse_types(sent: Iterable[PropertyValueType]) -> frozenset[ValueType]:
    """The types asked for; the schema lets no other through."""
    return frozenset(_READ[each] for each in sent)


def render_schema(schema: FilterSchema) -> GetFilterSchemaResponse:
    """The answer of both services."""
    return GetFilterSchemaResponse(
        events=[
            EventNameMeta(
                name=each.name, count=each.count, last_seen_at=timestamp_of(each.last_ms * 1000)
            )
            for each in schema.events
        ],
        auto_property_keys=_keys(schema.auto),
        custom_property_keys=_keys(schema.custom),
        profile_property_keys=_keys(schema.profile),
    )


def _keys(keys: Iterable[Key]) -> list[PropertyKeyMeta]:
    return [
        PropertyKeyMeta(
            name=key.name,
            count=key.count,
            value_type=_TYPES[key.type],
            last_seen_at=None if key.last_ms is None else timestamp_of(key.last_ms * 1000),
        )
        for key in keys
    ]
