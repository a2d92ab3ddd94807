"""Facts of the demo's story that are written as a table: a line each, the fields between bars.

Invariant: the fields of a line stand in the order of the structure they become.
"""

from typing import TypeVar

import msgspec

Fact = TypeVar("Fact", bound=msgspec.Struct)


def read_lines(lines: str, fact: type[Fact]) -> tuple[Fact, ...]:
    """The facts of a table; numbers are read from their texts."""
    return tuple(
        msgspec.convert(
            dict(zip(fact.__struct_fields__, line.split("|"), strict=True)), fact, strict=False
        )
        for line in lines.strip().splitlines()
    )
