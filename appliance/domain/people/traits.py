"""Traits of a person: JSON objects, and which value wins [profiles 2.3].

Invariant: what a profile's properties are in the end depends on the calls alone, not on the order
in which they arrive or how often: for each top-level key the value of the latest call stands
(decision 0023). No key is ever removed. Reading and writing messages is `messages.py`'s business.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
Properties = dict[str, JsonValue]
Orders = dict[str, int]
"""For each top-level key, when its value was given: microseconds since 1970; absent is 0."""

ADDRESS_KEY: Final = "$ip"


class Held(Struct, frozen=True, kw_only=True):
    """The properties of a profile and when each of them was given."""

    properties: Properties
    orders: Orders


def merge(base: Properties | None, overlay: Properties | None) -> Properties:
    """All top-level keys of both; the overlay's value replaces, whatever it is [profiles 2.3]."""
    return {**(base or {}), **(overlay or {})}


def apply_traits(held: Held, traits: Mapping[str, JsonValue], *, at: int) -> Held:
    """The properties after a call of `at` gave `traits`, whichever calls came before it."""
    properties, orders = dict(held.properties), dict(held.orders)
    for key, value in traits.items():
        if key in properties and not _is_later(value, at, properties[key], orders.get(key, 0)):
            continue
        properties[key] = value
        orders[key] = at
    return Held(properties=properties, orders=orders)


def absorb(held: Held, source: Properties) -> Held:
    """The properties after an anonymous profile was merged in: what is there stays."""
    return Held(properties=merge(source, held.properties), orders=held.orders)


def without_address(traits: Properties) -> tuple[Properties, bool]:
    """The traits without the caller's network address at the top, and whether there was one."""
    if ADDRESS_KEY not in traits:
        return traits, False
    return {key: value for key, value in traits.items() if key != ADDRESS_KEY}, True


def _is_later(value: JsonValue, at: int, stored: JsonValue, stored_at: int) -> bool:
    """Whether a value replaces a stored one; calls of one instant are told apart by value."""
    if at != stored_at:
        return at > stored_at
    return msgspec.json.encode(value) >= msgspec.json.encode(stored)
