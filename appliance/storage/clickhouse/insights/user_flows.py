"""User flow as one statement [insights 14].

Invariant: sessions are cut to the range and to their first events before anything is counted; the
events are read once. They are put in order by session, not grouped: sorting a session's events into
one place takes half the time of finding its place for each event. Equal instants are ordered by
event id. Without depths every node lies at depth 0.
"""

from typing import Final

from msgspec import Struct

from appliance.domain.insights.ranking import OTHERS
from appliance.domain.insights.user_flow import UserFlowPlan
from appliance.storage.clickhouse.columns import text_form
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    literal,
    text_value,
)
from appliance.storage.clickhouse.insights.conditions import (
    PeopledReading,
    compile_condition,
    compile_who,
    compile_window,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT

_FLOW: Final = """
SELECT
    depth AS from_depth,
    NOT keeps_source AS from_rest,
    if(keeps_source, source, '') AS from_node,
    depth + <step> AS to_depth,
    NOT keeps_target AS to_rest,
    if(keeps_target, target, '') AS to_node,
    sum(sessions) AS walked
FROM
(
    SELECT
        depth,
        source,
        target,
        any(sessions) AS sessions,
        countIf(kept AND is_source) > 0 AS keeps_source,
        countIf(kept AND NOT is_source) > 0 AS keeps_target
    FROM
    (
        SELECT
            depth,
            source,
            target,
            sessions,
            is_source,
            dense_rank() OVER (ORDER BY weight DESC, node ASC) <= <nodes_max> AS kept
        FROM
        (
            SELECT
                depth,
                source,
                target,
                sessions,
                end.1 AS is_source,
                end.2 AS node,
                sum(sessions) OVER (PARTITION BY end.2) AS weight
            FROM
            (
                SELECT
                    depth,
                    source,
                    target,
                    sessions,
                    arrayJoin([
                        (true, (depth, source)),
                        (false, (depth + <step_again>, target))
                    ]) AS end
                FROM (<edges>)
            )
        )
    )
    GROUP BY depth, source, target
)
WHERE <shown>
GROUP BY from_depth, from_rest, from_node, to_depth, to_rest, to_node
ORDER BY walked DESC, from_depth ASC, if(from_rest, <others>, from_node) ASC, from_rest ASC,
    if(to_rest, <others_again>, to_node) ASC, to_rest ASC
LIMIT <links_max>
"""

_EDGES: Final = """
SELECT edge.1 AS depth, edge.2 AS source, edge.3 AS target, count() AS sessions
FROM
(
    SELECT
        arraySort((name, place) -> place, groupArray(name), groupArray(place)) AS path,
        arrayJoin(arrayDistinct(arrayFilter(
            edge -> edge.2 != edge.3 AND edge.2 != '' AND edge.3 != '',
            arrayZip(<depths>, arrayPopBack(path), arrayPopFront(path))
        ))) AS edge
    FROM
    (
        SELECT
            session_id,
            toString(<label>) AS name,
            row_number() OVER (PARTITION BY session_id ORDER BY occur_time, event_id) AS place
        FROM events
        WHERE <window> AND <filters> AND <scope> AND <who> AND session_id != <no_session>
    )
    WHERE place <= <events_max>
    GROUP BY session_id
)
GROUP BY edge
"""


class _Form(Struct, frozen=True, kw_only=True):
    """How a flow with depths differs in SQL from one without."""

    step: Fragment
    depths: Fragment
    shown: Fragment


_CLASSIC: Final = _Form(
    step=literal("0"),
    depths=literal("arrayMap(name -> toInt64(0), arrayPopBack(path))"),
    # inside the only fold nobody went anywhere
    shown=literal("keeps_source OR keeps_target"),
)
_LAYERED: Final = _Form(
    step=literal("1"),
    depths=literal("arrayMap(place -> toInt64(place) - 1, arrayEnumerate(arrayPopBack(path)))"),
    shown=literal("true"),
)


def compile_user_flow(plan: UserFlowPlan) -> Statement:
    """The statement whose rows are the links in order.

    Each is (depth, whether it is the fold, node) of both ends, and the sessions.
    """
    form = _LAYERED if plan.layered else _CLASSIC
    return finish(
        fill(
            _FLOW,
            step=form.step,
            step_again=form.step,
            shown=form.shown,
            edges=_edges(plan, form),
            nodes_max=integer_value(plan.nodes_max),
            links_max=integer_value(plan.links_max),
            others=text_value(OTHERS),
            others_again=text_value(OTHERS),
        ),
        INSIGHT,
    )


def _edges(plan: UserFlowPlan, form: _Form) -> Fragment:
    reading = PeopledReading(plan.project_id)
    return fill(
        _EDGES,
        label=literal("kind") if plan.node is None else text_form(plan.node),
        depths=form.depths,
        events_max=integer_value(plan.hops_max + 1),
        window=compile_window(plan.project_id, plan.range),
        filters=compile_condition(plan.filters, reading),
        scope=compile_condition(plan.scope, reading),
        who=compile_who(leaves_out_cookieless=plan.leaves_out_cookieless),
        no_session=literal("toUUID('00000000-0000-0000-0000-000000000000')"),
    )
