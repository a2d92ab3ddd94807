"""Traits in messages, and the messages of the queue about people.

Invariant: what comes out of `read_properties` can be stored in every store: finite numbers, whole
ones as integers, keys and text without U+0000. The only place of this subject that knows messages.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from msgspec import Struct
from protobuf.wkt import Struct as StructMessage
from protobuf.wkt import Timestamp

from appliance.base.errors import InvalidInputError, Violation
from appliance.domain.people.traits import JsonValue, Properties
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.gen.workers.profiles.v1.profiles_pb import ProfileAliasMessage, ProfileUpsertMessage

EXACT_INTEGER_MAX: Final = 1 << 53
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2299, 12, 31, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_Sent: TypeAlias = bool | float | str | list["_Sent"] | dict[str, "_Sent"] | None


class Identification(Struct, frozen=True, kw_only=True):
    """A call that names a person; `accepted_at` is in microseconds since 1970."""

    project_id: str
    external_id: str
    traits: Properties
    anonymous_id: str = ""
    device_id: str = ""
    accepted_at: int


class ProfileState(Struct, frozen=True, kw_only=True):
    """A profile as the read side learns of it; of two states the greater `version` holds."""

    project_id: str
    id: str
    external_id: str
    properties: Properties
    deleted: bool
    created_at: datetime
    updated_at: datetime
    version: int


class Alias(Struct, frozen=True, kw_only=True):
    """A distinct id that belongs to a profile; of two the greater `version` holds."""

    project_id: str
    alias_id: str
    profile_id: str
    external_id: str
    version: int


def micros_of(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def read_properties(message: StructMessage | None, *, field: str) -> Properties:
    """The JSON object of a message; raises InvalidInputError for what is no JSON value."""
    if message is None:
        return {}
    try:
        sent = message.to_python()
    except ValueError as error:
        raise _broken(field, "holds a value of no kind") from error
    return _object(sent, field)


def write_properties(properties: Properties) -> StructMessage:
    """A JSON object as a message."""
    return StructMessage.from_python(properties)


def identify_message(call: Identification) -> ProfileIdentifyMessage:
    """The call as the queue holds it."""
    return ProfileIdentifyMessage(
        external_id=call.external_id,
        traits=write_properties(call.traits),
        project_id=call.project_id,
        anonymous_id=call.anonymous_id,
        device_id=call.device_id,
        accept_micros=call.accepted_at,
    )


def read_identification(message: ProfileIdentifyMessage, *, now: datetime) -> Identification:
    """The call in a message that passed its rules; one without a time counts as of `now`."""
    return Identification(
        project_id=message.project_id,
        external_id=message.external_id,
        traits=read_properties(message.traits, field="traits"),
        anonymous_id=message.anonymous_id,
        device_id=message.device_id,
        accepted_at=message.accept_micros or micros_of(now),
    )


def upsert_message(state: ProfileState) -> ProfileUpsertMessage:
    """A state as the queue holds it."""
    return ProfileUpsertMessage(
        profile_id=state.id,
        project_id=state.project_id,
        external_id=state.external_id,
        properties=write_properties(state.properties),
        is_deleted=state.deleted,
        create_time=Timestamp.from_datetime(state.created_at),
        update_time=Timestamp.from_datetime(state.updated_at),
        version=state.version,
    )


def read_state(message: ProfileUpsertMessage) -> ProfileState:
    """The state in a message that passed its rules; raises InvalidInputError for a wrong time."""
    return ProfileState(
        project_id=message.project_id,
        id=message.profile_id,
        external_id=message.external_id,
        properties=read_properties(message.properties, field="properties"),
        deleted=message.is_deleted,
        created_at=_instant(message.create_time, "create_time"),
        updated_at=_instant(message.update_time, "update_time"),
        version=message.version,
    )


def alias_message(alias: Alias) -> ProfileAliasMessage:
    """An alias as the queue holds it."""
    return ProfileAliasMessage(
        alias_id=alias.alias_id,
        profile_id=alias.profile_id,
        external_id=alias.external_id,
        project_id=alias.project_id,
        version=alias.version,
    )


def read_alias(message: ProfileAliasMessage) -> Alias:
    """The alias in a message that passed its rules."""
    return Alias(
        project_id=message.project_id,
        alias_id=message.alias_id,
        profile_id=message.profile_id,
        external_id=message.external_id,
        version=message.version,
    )


def _object(sent: Mapping[str, _Sent], field: str) -> Properties:
    """Keys with U+0000 are left out: shortened, two of them could be the same."""
    return {key: _value(each, field) for key, each in sent.items() if "\0" not in key}


def _value(value: _Sent, field: str) -> JsonValue:
    match value:
        case bool() | None:
            return value
        case int() | float():
            return _number(value, field)
        case str():
            return _text(value)
        case list():
            return [_value(each, field) for each in value]
        case dict():
            return _object(value, field)


def _number(value: float, field: str) -> JsonValue:
    if not math.isfinite(value):
        raise _broken(field, "holds a number that is not finite")
    whole = int(value)
    return whole if whole == value and abs(whole) <= EXACT_INTEGER_MAX else value


def _text(text: str) -> str:
    """Text as the stores take it: they know no U+0000."""
    return text.replace("\0", "")


def _instant(time: Timestamp | None, field: str) -> datetime:
    """A time of a message; one that was not sent is the epoch."""
    if time is None:
        return _EPOCH
    try:
        at = time.to_datetime()
    except (ValueError, OverflowError) as error:
        raise _broken(field, "is not a time") from error
    if not _FIRST <= at <= _LAST:
        raise _broken(field, "is a time that cannot be stored")
    return at


def _broken(field: str, what: str) -> InvalidInputError:
    return InvalidInputError(
        "INVALID_ARGUMENT",
        f"{field} {what}",
        violations=(Violation(field=field, description=what),),
    )
