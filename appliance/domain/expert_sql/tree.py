"""What a query names, read from the tree that the engine's analyser made of it.

Invariant: every kind of node, every heading, every function and every table is in a closed set, or
the query is refused; so what a later engine brings is refused until somebody has looked at it. The
tree is the one that is executed (`EXPLAIN QUERY TREE run_passes = 0`): unlike the printed syntax
tree it has the windows, transformers and fillings in it. Names cannot forge lines of it, because
`text.py` lets no line break, comma or colon into a name.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from appliance.domain.expert_sql.functions import is_allowed
from appliance.domain.expert_sql.text import refused

LINES_MAX: Final = 20_000

_NODES: Final = frozenset(
    {
        *("QUERY", "UNION", "LIST", "CONSTANT", "IDENTIFIER", "FUNCTION", "LAMBDA", "MATCHER"),
        *("EXCEPT COLUMN TRANSFORMER", "REPLACE COLUMN TRANSFORMER", "JOIN", "CROSS JOIN"),
        *("CROSS_JOIN", "ARRAY_JOIN", "SORT", "WINDOW", "INTERPOLATE", "ARGUMENTS", "ARGUMENT"),
    }
)
_HEADINGS: Final = frozenset(
    {
        *("WITH", "PROJECTION", "JOIN TREE", "TABLE EXPRESSION", "LEFT TABLE EXPRESSION"),
        *("RIGHT TABLE EXPRESSION", "JOIN EXPRESSION", "JOIN EXPRESSIONS", "ARGUMENTS"),
        *("PARAMETERS", "WHERE", "GROUP BY", "HAVING", "WINDOW", "QUALIFY", "ORDER BY"),
        *("INTERPOLATE", "LIMIT BY LIMIT", "LIMIT BY OFFSET", "LIMIT BY", "LIMIT", "OFFSET"),
        *("PARTITION BY", "FRAME BEGIN OFFSET", "FRAME END OFFSET", "INTERPOLATE_EXPRESSION"),
        *("FILL FROM", "FILL TO", "FILL STEP", "QUERIES"),
    }
)
_TOLD: Final = re.compile(r"EXPRESSION( .*)?|REPLACEMENTS \d+|REPLACEMENT NAME .+ EXPRESSION")
"""Headings with a name of the query behind them."""
_TABLE_HEADINGS: Final = frozenset(
    {"JOIN TREE", "TABLE EXPRESSION", "LEFT TABLE EXPRESSION", "RIGHT TABLE EXPRESSION"}
)
_NODE: Final = re.compile(r"([A-Z_]+(?: [A-Z]+)*) id: \d+(?:, (.*))?")
_MEMBERSHIP: Final = re.compile(r"(global)?(not)?(null)?in(ignoreset)?", re.IGNORECASE)
_NOTHING: Final = "system.one"
"""What the engine reads for a query without FROM."""


class _Line(Struct, frozen=True):
    depth: int
    kind: str
    """Kind of the node; empty for a heading."""
    rest: str

    def field(self, name: str) -> str:
        """A field of a node; empty when it has none."""
        for pair in self.rest.split(", "):
            key, _, value = pair.partition(": ")
            if key == name:
                return value
        return ""


def check_tree(printed: Iterable[str], tables: frozenset[str]) -> None:
    """Return when the query reads nothing but these tables and calls what it may.

    Raises InvalidInputError (`QUERY_REFUSED`) that names what is not admitted.
    """
    lines = [_read(line) for line in printed if line.strip()]
    if not lines or lines[0].kind not in {"QUERY", "UNION"}:
        raise refused("a query is one SELECT")
    if len(lines) > LINES_MAX:
        raise refused("the query is too long")
    own = {line.field("cte_name") for line in lines if line.kind in {"QUERY", "UNION"}}
    # a name with a dot could be taken for a table of another database
    known = tables | {name for name in own if "." not in name} | {_NOTHING}
    for line in lines:
        _check_function(line)
    for named in _tables(lines):
        if named not in known:
            raise refused(
                f"there is no table {named!r}; there are {', '.join(sorted(tables))},"
                " and what WITH defines"
            )


def _read(line: str) -> _Line:
    text = line.lstrip(" ")
    depth = len(line) - len(text)
    text = text.rstrip(" ")
    match = _NODE.fullmatch(text)
    if match is not None and match[1] in _NODES:
        return _Line(depth, match[1], match[2] or "")
    if match is not None and match[1] == "TABLE_FUNCTION":
        name = _Line(depth, match[1], match[2] or "").field("table_function_name")
        raise refused(f"the table function {name!r} is not admitted")
    if match is None and (text in _HEADINGS or _TOLD.fullmatch(text)):
        return _Line(depth, "", text)
    word = match[1] if match is not None else text.split(" ", 1)[0]
    raise refused(f"{word[:40]!r} is not for queries")


def _check_function(line: _Line) -> None:
    if line.kind != "FUNCTION":
        return
    name = line.field("function_name")
    if not is_allowed(name):
        raise refused(f"the function {name!r} is not admitted")


def _tables(lines: list[_Line]) -> Iterator[str]:
    """Names at places where a table is read: after FROM and JOIN, and at the right of IN."""
    above: list[_Line] = []
    elder: dict[int, int] = {}
    for line in lines:
        while above and above[-1].depth >= line.depth:
            elder.pop(len(above), None)
            above.pop()
        place = elder[len(above)] = elder.get(len(above), -1) + 1
        elder.pop(len(above) + 1, None)
        if line.kind == "IDENTIFIER" and above:
            parent = above[-1]
            is_source = not parent.kind and parent.rest in _TABLE_HEADINGS
            if is_source or (place > 0 and _is_membership(above)):
                yield line.field("identifier")
        above.append(line)


def _is_membership(above: list[_Line]) -> bool:
    """Whether the last of these is the list of arguments of IN or a relative of it."""
    if len(above) < 3 or above[-1].kind != "LIST" or above[-2].rest != "ARGUMENTS":  # noqa: PLR2004 function, its heading, its list
        return False
    function = above[-3]
    name = function.field("function_name")
    return function.kind == "FUNCTION" and _MEMBERSHIP.fullmatch(name) is not None
