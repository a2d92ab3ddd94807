"""What the process that reads a table says before its rows.

Invariant: imports no engine, because those who only read it must not carry one.
"""

import msgspec


class TableHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: how many rows follow, and which columns hold fractions."""

    rows: int
    fractions: tuple[str, ...] = ()
