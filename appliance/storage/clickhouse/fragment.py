"""SQL with a shape: literal text and typed values that never touch.

Invariant: every character of a statement was written by a programmer (`LiteralString`, proved by
the type checker); whatever a person sent travels beside it as a `{name:Type}` parameter, bound by
the server. Fragments are joined by the functions here only; equal values share one parameter.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, LiteralString

from msgspec import Struct

from appliance.storage.clickhouse.client import Setting

Value = str | int | float | tuple[str, ...] | tuple[int, ...]

_SLOT: Final = re.compile(r"<([a-z_]+)>")
_DIGITS: Final[tuple[LiteralString, ...]] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


class Bound(Struct, frozen=True):
    """A value and the ClickHouse type it is bound as."""

    type: LiteralString
    value: Value


class Table(Struct, frozen=True):
    """Texts that go beside a statement as a table of one column `id`, too many for a parameter."""

    texts: tuple[str, ...]


class Fragment(Struct, frozen=True):
    """A piece of a statement."""

    pieces: tuple[LiteralString | Bound | Table, ...] = ()


class Statement(Struct, frozen=True, kw_only=True):
    """What goes to the server: text, parameters and tables by name, settings of its class."""

    text: LiteralString
    parameters: Mapping[str, object]
    settings: Mapping[str, Setting]
    tables: Mapping[str, tuple[str, ...]] = {}


def literal(text: LiteralString) -> Fragment:
    """Text as it stands."""
    return Fragment((text,))


def text_value(value: str) -> Fragment:
    """A text from outside."""
    return Fragment((Bound("String", value),))


def integer_value(value: int) -> Fragment:
    """A whole number from outside."""
    return Fragment((Bound("Int64", value),))


def number_value(value: float) -> Fragment:
    """A double from outside; it must be finite."""
    return Fragment((Bound("Float64", value),))


def texts_value(values: Iterable[str]) -> Fragment:
    """A list of texts from outside."""
    return Fragment((Bound("Array(String)", tuple(values)),))


def texts_table(texts: tuple[str, ...]) -> Fragment:
    """A table of one column `id` with texts from outside, for `FROM`."""
    return Fragment((Table(texts),))


def integers_value(values: Iterable[int]) -> Fragment:
    """A list of whole numbers from outside."""
    return Fragment((Bound("Array(Int64)", tuple(values)),))


def numbered(name: LiteralString, index: int) -> Fragment:
    """An identifier of ours with a number, such as `match_3`."""
    return literal(name + _numeral(index))


def number_literal(number: int) -> Fragment:
    """A whole number of ours, not negative, where the server takes no parameter."""
    return literal(_numeral(number))


def join(separator: LiteralString, fragments: Iterable[Fragment]) -> Fragment:
    """Fragments with a text between them."""
    pieces: list[LiteralString | Bound | Table] = []
    for fragment in fragments:
        if pieces:
            pieces.append(separator)
        pieces.extend(fragment.pieces)
    return Fragment(tuple(pieces))


def fill(template: LiteralString, **slots: Fragment) -> Fragment:
    """The template with each `<slot>` replaced; slots and names must match exactly."""
    pieces: list[LiteralString | Bound | Table] = []
    used: set[str] = set()
    end = 0
    for match in _SLOT.finditer(template):
        name = match[1]
        used.add(name)
        pieces.append(template[end : match.start()])
        pieces.extend(slots[name].pieces)
        end = match.end()
    pieces.append(template[end:])
    assert used == slots.keys(), f"slots {sorted(used ^ slots.keys())} do not fit the template"
    return Fragment(tuple(pieces))


def finish(fragment: Fragment, settings: Mapping[str, Setting]) -> Statement:
    """The statement: parameters named `p0`, `p1`, … and tables `t0`, … in order of first use."""
    names: dict[Bound, LiteralString] = {}
    tables: dict[Table, LiteralString] = {}
    texts: list[LiteralString] = []
    for piece in fragment.pieces:
        if isinstance(piece, Bound):
            name = names.setdefault(piece, "p" + _numeral(len(names)))
            texts.append("{" + name + ":" + piece.type + "}")
        elif isinstance(piece, Table):
            texts.append(tables.setdefault(piece, "t" + _numeral(len(tables))))
        else:
            texts.append(piece)
    return Statement(
        text="".join(texts),
        parameters={name: _plain(bound.value) for bound, name in names.items()},
        settings=settings,
        tables={name: table.texts for table, name in tables.items()},
    )


def _plain(value: Value) -> object:
    return list(value) if isinstance(value, tuple) else value


def _numeral(number: int) -> LiteralString:
    numeral: LiteralString = ""
    for digit in str(number):
        numeral += _DIGITS[int(digit)]
    return numeral
