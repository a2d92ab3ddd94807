"""The JSON schemas of tools, made from the descriptors of messages and the rules of their fields.

Invariant: a schema describes and never decides: nothing is `required`, rules that span fields are
missing, and the services judge what comes [mcp 5]. What a schema says is what the rules say,
because both are read from the same options.
"""

from collections.abc import Mapping
from typing import Final, cast

from protobuf import (
    DescEnum,
    DescField,
    DescFieldValueEnum,
    DescFieldValueList,
    DescFieldValueMap,
    DescFieldValueMessage,
    DescFieldValueScalar,
    DescMessage,
    DescOneof,
    ScalarType,
    message_to_json_value,
)
from protovalidate._gen.buf.validate.validate_pb import ext_field

from appliance.api.mcp.texts import FIELD_TEXTS
from appliance.api.mcp.values import Json

Schema = dict[str, Json]
Rules = Mapping[str, Json]

_DURATION_PATTERN: Final = r"^-?[0-9]+(\.[0-9]{1,9})?s$"
_NO_NUMBER: Final = ["NaN", "Infinity", "-Infinity"]
_NONE: Final[Rules] = {}
_INT32: Final = (-(1 << 31), (1 << 31) - 1)
_UINT32: Final = (0, (1 << 32) - 1)
_SHORT: Final[dict[ScalarType, tuple[int, int]]] = {
    ScalarType.INT32: _INT32,
    ScalarType.SINT32: _INT32,
    ScalarType.SFIXED32: _INT32,
    ScalarType.UINT32: _UINT32,
    ScalarType.FIXED32: _UINT32,
}
_LONG: Final = frozenset(
    {
        ScalarType.INT64,
        ScalarType.SINT64,
        ScalarType.SFIXED64,
        ScalarType.UINT64,
        ScalarType.FIXED64,
    }
)
_REAL: Final = frozenset({ScalarType.FLOAT, ScalarType.DOUBLE})


def input_schema(message: DescMessage) -> Schema:
    """What a tool takes."""
    return _object(message, given=True, above=())


def output_schema(message: DescMessage) -> Schema:
    """What a tool answers."""
    return _object(message, given=False, above=())


def _object(message: DescMessage, *, given: bool, above: tuple[str, ...]) -> Schema:
    assert message.type_name not in above, "a message that holds itself has no schema without names"
    above = (*above, message.type_name)
    properties: Schema = {}
    for member in message.members:
        if isinstance(member, DescOneof):
            properties[member.name] = _oneof(member, given=given, above=above)
        else:
            properties[member.name] = _field(member, given=given, above=above)
    schema: Schema = {"type": "object", "properties": properties}
    if given:
        schema["required"] = []
    return schema


def _oneof(oneof: DescOneof, *, given: bool, above: tuple[str, ...]) -> Schema:
    properties: Schema = {"which": {"type": "string", "enum": [f.name for f in oneof.fields]}}
    for field in oneof.fields:
        properties[field.name] = _field(field, given=given, above=above)
    return {"type": "object", "properties": properties, "required": [] if given else ["which"]}


def _field(field: DescField, *, given: bool, above: tuple[str, ...]) -> Schema:
    rules = _rules(field)
    match field.value:
        case DescFieldValueList(element=element):
            bounds = _part(rules, "repeated")
            items = _part(bounds, "items")
            schema: Schema = {
                "type": "array",
                "items": _element(element, items, given=given, above=above),
            }
            if given:
                _bound(schema, bounds, {"min_items": "minItems", "max_items": "maxItems"})
        case DescFieldValueMap(value=value):
            schema = {
                "type": "object",
                "additionalProperties": _element(value, _NONE, given=given, above=above),
            }
        case DescFieldValueMessage(message=message):
            schema = _element(message, rules, given=given, above=above)
        case DescFieldValueEnum(enum=enum):
            schema = _element(enum, rules, given=given, above=above)
        case DescFieldValueScalar(scalar=scalar):
            schema = _element(scalar, rules, given=given, above=above)
    text = FIELD_TEXTS.get(f"{field.parent.name}.{field.name}") if given else None
    return {"description": text, **schema} if text is not None else schema


def _element(
    kind: DescMessage | DescEnum | ScalarType,
    rules: Rules,
    *,
    given: bool,
    above: tuple[str, ...],
) -> Schema:
    if isinstance(kind, DescEnum):
        return {"type": "string", "enum": [value.name for value in kind.values]}
    if isinstance(kind, ScalarType):
        return _scalar(kind, rules, given=given)
    plain = _plain(kind.type_name, given=given)
    return _object(kind, given=given, above=above) if plain is None else plain


def _plain(type_name: str, *, given: bool) -> Schema | None:
    """The schema of a message whose JSON is not an object of its fields."""
    text: Json = ["string", "null"] if given else "string"
    match type_name:
        case "google.protobuf.Timestamp":
            return {"type": text, "format": "date-time"}
        case "google.protobuf.Duration":
            return {"type": text, "pattern": _DURATION_PATTERN}
        case "google.protobuf.Struct":
            return {"type": "object", "additionalProperties": True}
        case _:
            assert not type_name.startswith("google.protobuf."), type_name
            return None


def _scalar(scalar: ScalarType, rules: Rules, *, given: bool) -> Schema:
    own = _part(rules, scalar.name.lower()) if given else _NONE
    schema: Schema
    if scalar in _SHORT:
        least, most = _SHORT[scalar]
        schema = {"type": "integer", "minimum": least, "maximum": most}
        _bound(schema, own, {"gte": "minimum", "lte": "maximum"})
    elif scalar in _LONG:
        schema = {"type": "string", "pattern": "^-?[0-9]+$"}
    elif scalar in _REAL:
        number: Schema = {"type": "number"}
        schema = number if given else {"anyOf": [number, {"type": "string", "enum": _NO_NUMBER}]}
    elif scalar is ScalarType.BOOL:
        schema = {"type": "boolean"}
    else:
        assert scalar is ScalarType.STRING, scalar
        schema = {"type": "string"}
        _bound(schema, own, {"min_len": "minLength", "max_len": "maxLength"})
        if isinstance(pattern := own.get("pattern"), str):
            schema["pattern"] = pattern
    return schema


def _rules(field: DescField) -> Rules:
    options = field.proto.options
    if options is None or ext_field not in options:
        return _NONE
    return cast("Rules", message_to_json_value(options[ext_field], use_proto_field_name=True))


def _part(rules: Rules, name: str) -> Rules:
    part = rules.get(name)
    return cast("Rules", part) if isinstance(part, dict) else _NONE


def _bound(schema: Schema, rules: Rules, names: Mapping[str, str]) -> None:
    """Copy the bounds that there are; those of 64 bits are text in the JSON of rules."""
    for rule, keyword in names.items():
        value = rules.get(rule)
        if isinstance(value, int | str):
            schema[keyword] = int(value)
