"""How the properties of profiles are read: JSON text at a path [insights 5.4, profiles 2.5].

Invariant: expressions over a column `properties` that holds a JSON object. Absent and null read as
the empty text and as no number; lists and objects are their JSON text.
"""

from appliance.storage.clickhouse.columns import number_of_text
from appliance.storage.clickhouse.fragment import Fragment, fill, join, text_value


def trait_text(path: tuple[str, ...]) -> Fragment:
    """The text at a path, empty where nothing is [insights 4.2]."""
    return fill(
        "multiIf(<kind> = 'String', JSONExtractString(<a>),"
        " <kind_b> = 'Double', toString(JSONExtractFloat(<b>)),"
        " <kind_c> = 'Null', '', <c>)",
        kind=_kind(path),
        kind_b=_kind(path),
        kind_c=_kind(path),
        a=_element(path),
        b=_element(path),
        c=_element(path),
    )


def trait_number(path: tuple[str, ...]) -> Fragment:
    """The number at a path, or of the text there; NULL where none is, never of a boolean."""
    return fill(
        "multiIf(<kind> = 'String', <parsed>,"
        " <kind_b> IN ('Int64', 'UInt64', 'Double'), JSONExtractFloat(<element>), NULL)",
        kind=_kind(path),
        kind_b=_kind(path),
        parsed=number_of_text(fill("JSONExtractString(<element>)", element=_element(path))),
        element=_element(path),
    )


def _kind(path: tuple[str, ...]) -> Fragment:
    return fill("toString(JSONType(<element>))", element=_element(path))


def _element(path: tuple[str, ...]) -> Fragment:
    """Its JSON text; a key that has dots itself is found where no nested one is."""
    nested = fill("JSONExtractRaw(properties, <path>)", path=join(", ", map(text_value, path)))
    if len(path) == 1:
        return nested
    dotted = fill("JSONExtractRaw(properties, <key>)", key=text_value(".".join(path)))
    return fill("if(<nested> != '', <again>, <dotted>)", nested=nested, again=nested, dotted=dotted)
