"""Texts that somebody sends who wants to get out of a text, and where texts can be sent.

Invariant: places come from the descriptors of messages, never from a list by hand, so that a field
nobody thought of is tried, too.
"""

import copy
from collections.abc import Iterator
from typing import Any, cast

from protobuf import DescMessage, ScalarType

HOSTILE = (
    "'",
    "' OR project_id = '{other}' --",
    "\\' OR 1=1 --",
    "%",
    "' OR 1=1 --",
    "\\",
    "') UNION ALL SELECT * FROM events --",
    "{{p0:String}}",
    "<where>",
    "_",
    "\n OR 1=1\r\n",
    "x\0' OR 1=1",
    "\u2019 OR 1=1",
    "{other}",
    "zzz" * 400 + "'",
)
"""`{other}` is the id of another project."""

NOTHING = "nothing-7"
"""A text that nothing has, with which nothing is wrong."""

ECHO_CHARACTERS_MIN = 5
"""Shorter texts are echoes only where nothing else stands."""

_SKIPPED = ("google.protobuf.",)
"""Well-known types have a text form of their own in JSON."""

Path = tuple[str | int, ...]
Place = tuple[str, str]
"""A message and a field of it."""


def text_fields(message: DescMessage, seen: set[str] | None = None) -> set[Place]:
    """Every text that a message can hold, at any depth."""
    known: set[str] = seen if seen is not None else set()
    if message.type_name in known or message.type_name.startswith(_SKIPPED):
        return set()
    known.add(message.type_name)
    found: set[Place] = set()
    for field in message.fields:
        for kind in _kinds(field.value):
            if kind is ScalarType.STRING:
                found.add((message.type_name, field.name))
            elif isinstance(kind, DescMessage):
                found |= text_fields(kind, known)
    return found


def text_places(message: DescMessage, body: dict[str, Any]) -> Iterator[tuple[Path, Place]]:
    """Every text in a body: where it stands, and which field of which message it is."""
    if message.type_name.startswith(_SKIPPED):
        return
    for field in message.fields:
        if field.json_name not in body:
            continue
        value = body[field.json_name]
        items: list[tuple[Path, Any]] = [((field.json_name,), value)]
        if isinstance(value, list):
            many = cast("list[Any]", value)
            items = [((field.json_name, index), one) for index, one in enumerate(many)]
        for path, one in items:
            for kind in _kinds(field.value):
                if kind is ScalarType.STRING:
                    yield path, (message.type_name, field.name)
                elif isinstance(kind, DescMessage):
                    for inner, place in text_places(kind, one):
                        yield (*path, *inner), place


def put(body: dict[str, Any], path: Path, text: str) -> dict[str, Any]:
    """The body with another text at a place."""
    changed = copy.deepcopy(body)
    at: Any = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = text
    return changed


def without(value: Any, text: str) -> Any:
    """A value of JSON in which an echo of the text is a dot."""
    if isinstance(value, str):
        if value == text:
            return "."
        return value.replace(text, ".") if len(text) >= ECHO_CHARACTERS_MIN else value
    if isinstance(value, list):
        return [without(one, text) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {without(key, text): without(one, text) for key, one in pairs}
    return value


def _kinds(value: Any) -> list[Any]:
    kinds = [getattr(value, name, None) for name in ("scalar", "message", "element", "value")]
    return [kind for kind in kinds if kind is not None]
