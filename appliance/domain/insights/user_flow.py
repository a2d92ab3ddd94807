"""User flow: from what to what people went inside their sessions [insights 14].

Invariant: a link counts sessions, each once; nodes that are not kept are folded into one, which
never is a real node, whatever that is called. A layered flow tells where in the session a node
lies: a node is a name at a depth, and each depth has a fold of its own [services 13]. Decision 0038
says when which is asked for.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.domain.insights.dimensions import EventProperty, resolve_property
from appliance.domain.insights.filters import AllOf, Condition, plan_event_condition, plan_groups
from appliance.domain.insights.ranking import OTHERS
from appliance.domain.insights.spec import InsightSpec, TimeRange, UserFlow
from appliance.domain.insights.window import load_zone

_MARK: Final = "_"


class UserFlowPlan(Struct, frozen=True, kw_only=True, tag=True):
    """`node` is None where nodes are kinds."""

    project_id: str
    range: TimeRange
    filters: Condition
    scope: AllOf
    node: EventProperty | None
    hops_max: int
    nodes_max: int
    links_max: int
    leaves_out_cookieless: bool
    layered: bool


class FlowEnd(Struct, frozen=True, order=True):
    """One end of a link; the fold of a depth sorts after its real nodes.

    `depth` is 0 wherever depths are not asked for.
    """

    depth: int
    is_rest: bool
    name: str


class FlowLink(Struct, frozen=True, kw_only=True):
    """How many sessions went from one node to another."""

    source: FlowEnd
    target: FlowEnd
    sessions: int


class UserFlowAnswer(Struct, frozen=True, kw_only=True, tag=True):
    """Nodes by depth and name, folds last; links by weight. `rest_id` is what a fold is called."""

    nodes: tuple[FlowEnd, ...]
    links: tuple[FlowLink, ...]
    rest_id: str
    layered: bool


def plan_user_flow(
    spec: InsightSpec, asked: UserFlow, *, project_id: str, layered: bool
) -> UserFlowPlan:
    """What will be computed; raises InvalidInputError (`INVALID_INSIGHT_QUERY`)."""
    load_zone(spec.zone)
    return UserFlowPlan(
        project_id=project_id,
        range=spec.range,
        filters=plan_groups(spec.filters),
        scope=plan_event_condition(asked.scope),
        node=resolve_property(asked.node_property) if asked.node_property else None,
        hops_max=asked.hops_max,
        nodes_max=asked.nodes_max,
        links_max=asked.links_max,
        leaves_out_cookieless=not spec.include_cookieless,
        layered=layered,
    )


def shape_user_flow(plan: UserFlowPlan, links: Sequence[FlowLink]) -> UserFlowAnswer:
    """The answer of a flow; `links` come in their order and cut."""
    nodes = sorted({end for link in links for end in (link.source, link.target)})
    names = {node.name for node in nodes if not node.is_rest}
    rest_id = OTHERS
    while rest_id in names:
        rest_id += _MARK
    return UserFlowAnswer(
        nodes=tuple(nodes), links=tuple(links), rest_id=rest_id, layered=plan.layered
    )
