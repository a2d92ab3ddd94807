"""Between an agent's JSON and that of the services, guided by the descriptors of the messages.

Invariant: nothing is decided about meaning. Names are translated, text that holds JSON is opened, a
oneof is put into its wrapper or taken out of it; whether a value fits its field is for the codec
and the rules of the schema to say, as for every other caller [mcp 5, 6].
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

from protobuf import (
    DescField,
    DescFieldValueList,
    DescFieldValueMap,
    DescFieldValueMessage,
    DescMessage,
    DescOneof,
)

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"

_WHICH: Final = "which"
_WELL_KNOWN: Final = "google.protobuf."
_STRUCT: Final = "google.protobuf.Struct"


class MalformedError(Exception):
    """Arguments whose shape cannot be translated; the text is for the agent."""


def wire_arguments(message: DescMessage, arguments: Mapping[str, Json]) -> dict[str, Json]:
    """The arguments of a tool as the JSON of its request message.

    Raises MalformedError for a broken wrapper of a oneof or broken JSON inside a text.
    """
    fields = {name: field for field in message.fields for name in (field.name, field.json_name)}
    oneofs = {oneof.name: oneof for oneof in message.oneofs}
    wire: dict[str, Json] = {}
    for name, value in arguments.items():
        field = fields.get(name)
        if field is not None:
            wire[field.json_name] = _wire_value(field, value)
        elif name in oneofs and value is not None:
            member, inner = _unwrapped(oneofs[name], value)
            wire[member.json_name] = _wire_value(member, inner)
    return wire


def shown_answer(message: DescMessage, wire: Mapping[str, Json]) -> dict[str, Json]:
    """A response message's JSON as agents see it: snake_case, empty lists and maps present,
    a oneof under its own name with `which`.
    """
    shown: dict[str, Json] = {}
    for member in message.members:
        if isinstance(member, DescOneof):
            _show_oneof(member, wire, shown)
        elif isinstance(member.value, DescFieldValueList):
            rows = cast("Sequence[Json]", wire.get(member.json_name, []))
            shown[member.name] = [_shown_value(member.value.element, row) for row in rows]
        elif isinstance(member.value, DescFieldValueMap):
            pairs = cast("Mapping[str, Json]", wire.get(member.json_name, {}))
            shown[member.name] = {
                key: _shown_value(member.value.value, value) for key, value in pairs.items()
            }
        elif member.json_name in wire:
            shown[member.name] = _shown_field(member, wire[member.json_name])
    return shown


def is_plain(message: DescMessage) -> bool:
    """Whether the JSON of a message is not an object of its fields."""
    return message.type_name.startswith(_WELL_KNOWN)


def _show_oneof(oneof: DescOneof, wire: Mapping[str, Json], shown: dict[str, Json]) -> None:
    for field in oneof.fields:
        if field.json_name in wire:
            shown[oneof.name] = {
                _WHICH: field.name,
                field.name: _shown_field(field, wire[field.json_name]),
            }


def _shown_field(field: DescField, value: Json) -> Json:
    if isinstance(field.value, DescFieldValueMessage):
        return _shown_value(field.value.message, value)
    return value


def _shown_value(kind: object, value: Json) -> Json:
    if isinstance(kind, DescMessage) and not is_plain(kind):
        return shown_answer(kind, cast("Mapping[str, Json]", value))
    return value


def _wire_value(field: DescField, value: Json) -> Json:
    match field.value:
        case DescFieldValueMessage(message=message):
            return _wire_message(field.name, message, value)
        case DescFieldValueList(element=element):
            rows = _opened(field.name, value) if isinstance(value, str) else value
            if isinstance(element, DescMessage) and isinstance(rows, list):
                return [_wire_message(field.name, element, row) for row in rows]
            return rows
        case DescFieldValueMap(value=kind):
            pairs = _opened(field.name, value) if isinstance(value, str) else value
            if isinstance(kind, DescMessage) and isinstance(pairs, dict):
                return {key: _wire_message(field.name, kind, inner) for key, inner in pairs.items()}
            return pairs
        case _:
            return value


def _wire_message(name: str, message: DescMessage, value: Json) -> Json:
    opens = not is_plain(message) or message.type_name == _STRUCT
    if opens and isinstance(value, str):
        value = _opened(name, value)
    if is_plain(message) or not isinstance(value, dict):
        return value
    return wire_arguments(message, value)


def _opened(name: str, text: str) -> Json:
    try:
        return cast("Json", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{name}: an object or list is expected here, or its JSON") from error


def _unwrapped(oneof: DescOneof, value: Json) -> tuple[DescField, Json]:
    if isinstance(value, str):
        value = _opened(oneof.name, value)
    names = [field.name for field in oneof.fields]
    if not isinstance(value, dict) or value.get(_WHICH) not in names:
        raise MalformedError(
            f'{oneof.name}: an object with "{_WHICH}", one of {", ".join(names)}, is expected here'
        )
    member = next(field for field in oneof.fields if field.name == value[_WHICH])
    for name in (member.name, member.json_name):
        if name in value:
            return member, value[name]
    raise MalformedError(f'{oneof.name}: "{_WHICH}" names {member.name}, which is missing')
