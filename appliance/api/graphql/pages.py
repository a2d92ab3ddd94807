"""Connections: pages with cursors over lists of any kind.

Invariant: a page has at most `PAGE_MAX` entries, and a cursor is a place in an order, never a
right: it is checked against the caller's own list or decoded strictly.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import strawberry

from appliance.api.graphql.limits import PAGE_MAX
from appliance.base.errors import InvalidInputError, Violation

Node = TypeVar("Node")
Row = TypeVar("Row")


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    """Relay's page information; lists are read forwards only."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[Node]):
    """An entry and its place."""

    cursor: str
    node: Node


@strawberry.type(description="One page of a list.")
class Connection(Generic[Node]):
    """A page."""

    edges: list[Edge[Node]]
    page_info: PageInfo


def page_size(first: int) -> int:
    """`first`, when it is one of ours; raises InvalidInputError (`INVALID_PAGE_SIZE`)."""
    if not 1 <= first <= PAGE_MAX:
        sentence = f"a page has 1 to {PAGE_MAX} entries"
        raise InvalidInputError(
            "INVALID_PAGE_SIZE",
            sentence,
            violations=(Violation(field="first", description=sentence),),
        )
    return first


def connect(
    nodes: Sequence[tuple[str, Node]], *, more: bool, after: str | None
) -> Connection[Node]:
    """A page of nodes with their cursors."""
    return Connection(
        edges=[Edge(cursor=cursor, node=node) for cursor, node in nodes],
        page_info=PageInfo(
            has_next_page=more,
            has_previous_page=bool(after),
            start_cursor=nodes[0][0] if nodes else None,
            end_cursor=nodes[-1][0] if nodes else None,
        ),
    )


def connect_list(
    rows: Sequence[Row],
    *,
    first: int,
    after: str | None,
    name: Callable[[Row], str],
    node: Callable[[Row], Node],
) -> Connection[Node]:
    """A page of a list that is there as a whole, entries told apart by `name`.

    Raises InvalidInputError (`INVALID_PAGE_SIZE`, `INVALID_PAGE_TOKEN`).
    """
    size, start = page_size(first), 0
    if after:
        places = {cursor_of(name(row)): place for place, row in enumerate(rows)}
        if after not in places:
            raise InvalidInputError("INVALID_PAGE_TOKEN", "the cursor is none of this list")
        start = places[after] + 1
    chosen = rows[start : start + size]
    return connect(
        [(cursor_of(name(row)), node(row)) for row in chosen],
        more=len(rows) > start + size,
        after=after,
    )


def cursor_of(name: str) -> str:
    """The cursor of an entry told apart by its name."""
    return urlsafe_b64encode(name.encode()).rstrip(b"=").decode()
