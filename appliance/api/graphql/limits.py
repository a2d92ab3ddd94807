"""How large a question may be: tokens, depth, aliases, fragments, cost.

Invariant: looked at before anything is validated or resolved, in time proportional to the text:
every fragment is weighed once, however often it is spread, so no nest of fragments costs more to
look at than it is long. The cost of a field is its weight plus that of what it selects, times the
size of the page it asks for. Fields that nobody can ask are left to validation.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    parse,
)
from msgspec import Struct

from appliance.base.errors import InvalidInputError, Quota

TOKENS_MAX: Final = 2000
COMMENTS_MAX: Final = 200
DEPTH_MAX: Final = 20
ALIASES_MAX: Final = 30
FRAGMENTS_MAX: Final = 30
COST_MAX: Final = 10_000
"""Some forty insights, or a thousand events with nine fields each."""

PAIRS_MAX: Final = 20_000
"""Pairs of fields with the same name: validation compares them all, a millisecond for 300."""

PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 100

ENGINE_COST: Final = 250
"""A question to the event store over many events."""
SEARCH_COST: Final = 100
"""A page of single events or persons out of the event store."""

_WEIGHTS: Final[Mapping[str, int]] = {
    "insight": ENGINE_COST,
    "answer": ENGINE_COST,
    "events": SEARCH_COST,
    "profiles": SEARCH_COST,
    "profile": SEARCH_COST,
    "profileByExternalId": SEARCH_COST,
}
_PAGED: Final = frozenset(
    {"organizations", "projects", "dashboards", "insights", "tiles", "profiles", "events"}
)
_PAGE_ARGUMENT: Final = "first"


class Weight(Struct, frozen=True):
    """What a selection amounts to."""

    cost: int = 0
    depth: int = 0
    aliases: int = 0


def read_question(text: str) -> DocumentNode:
    """The parsed question; raises InvalidInputError (`GRAPHQL_SYNTAX`)."""
    try:
        return parse(text, max_lexical_tokens=TOKENS_MAX, max_comments=COMMENTS_MAX)
    except GraphQLError as error:
        raise InvalidInputError("GRAPHQL_SYNTAX", error.message) from error


def weigh(document: DocumentNode, variables: Mapping[str, object]) -> Weight:
    """What the dearest operation of a document amounts to.

    Raises InvalidInputError (`GRAPHQL_TOO_LARGE`) when that is more than one question may be.
    """
    scale = _Scale(document, variables)
    try:
        found = scale.weigh_all()
    except RecursionError as error:
        raise _too_large("depth", DEPTH_MAX) from error
    limits = (
        ("depth", found.depth, DEPTH_MAX),
        ("aliases", found.aliases, ALIASES_MAX),
        ("cost", found.cost, COST_MAX),
        ("pairs of fields of the same name", scale.pairs, PAIRS_MAX),
    )
    for name, number, most in limits:
        if number > most:
            raise _too_large(name, most, number)
    return found


class _Scale:
    """Weighs one document."""

    def __init__(self, document: DocumentNode, variables: Mapping[str, object]) -> None:
        self._variables = variables
        self._fragments = {
            one.name.value: one
            for one in document.definitions
            if isinstance(one, FragmentDefinitionNode)
        }
        self._operations = [
            one for one in document.definitions if isinstance(one, OperationDefinitionNode)
        ]
        self._known: dict[str, Weight] = {}
        self._names = Counter[str]()
        if len(self._fragments) > FRAGMENTS_MAX:
            raise _too_large("fragments", FRAGMENTS_MAX, len(self._fragments))

    @property
    def pairs(self) -> int:
        """How often two fields would have the same name in an answer, at most."""
        return sum(number * number for number in self._names.values() if number > 1)

    def weigh_all(self) -> Weight:
        found = [self._selected(one.selection_set) for one in self._operations]
        return Weight(
            cost=max((one.cost for one in found), default=0),
            depth=max((one.depth for one in found), default=0),
            aliases=max((one.aliases for one in found), default=0),
        )

    def _selected(self, chosen: SelectionSetNode | None) -> Weight:
        cost = depth = aliases = 0
        for node in chosen.selections if chosen is not None else ():
            if isinstance(node, FieldNode):
                found = self._field(node)
            elif isinstance(node, InlineFragmentNode):
                found = self._selected(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                found = self._fragment(node.name.value)
            else:
                continue
            cost += found.cost
            depth = max(depth, found.depth)
            aliases += found.aliases
        return Weight(cost, depth, aliases)

    def _field(self, node: FieldNode) -> Weight:
        inner = self._selected(node.selection_set)
        name = node.name.value
        self._names[node.alias.value if node.alias else name] += 1
        times = self._page(node) if name in _PAGED else 1
        return Weight(
            1 + _WEIGHTS.get(name, 0) + times * inner.cost,
            1 + inner.depth,
            inner.aliases + (node.alias is not None),
        )

    def _fragment(self, name: str) -> Weight:
        if name not in self._known:
            # A fragment that contains itself weighs nothing there; validation refuses it.
            self._known[name] = Weight()
            fragment = self._fragments.get(name)
            if fragment is not None:
                self._known[name] = self._selected(fragment.selection_set)
        return self._known[name]

    def _page(self, node: FieldNode) -> int:
        """How many a page may have; what is no number is refused by the field itself."""
        for argument in node.arguments or ():
            if argument.name.value != _PAGE_ARGUMENT:
                continue
            value = argument.value
            if isinstance(value, IntValueNode):
                return _bounded(int(value.value[:_DIGITS_MAX]))
            if isinstance(value, VariableNode):
                sent = self._variables.get(value.name.value)
                return _bounded(sent) if isinstance(sent, int) else PAGE_MAX
        return PAGE_DEFAULT


_DIGITS_MAX: Final = 9


def _bounded(number: int) -> int:
    return max(1, min(number, PAGE_MAX))


def _too_large(name: str, most: int, number: int | None = None) -> InvalidInputError:
    told = f"{number} of " if number is not None else "more than "
    return InvalidInputError(
        "GRAPHQL_TOO_LARGE",
        f"the question is too large: {name} {told}{most}; ask for less at a time",
        quota=Quota(subject="graphql", description=f"{name}: at most {most}"),
    )
