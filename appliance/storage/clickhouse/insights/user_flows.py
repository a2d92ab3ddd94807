"""User flow as one statement [insights 14].

Invariant: sessions are cut to the range and to their first events before anything is counted; the
nodes to keep are found once, as one array. Equal instants are ordered by event id.
"""

from typing import Final

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
WITH (
    SELECT groupArray(node) FROM
    (
        SELECT arrayJoin([source, target]) AS node, sum(sessions) AS weight
        FROM (<edges>)
        GROUP BY node
        ORDER BY weight DESC, node ASC
        LIMIT <nodes_max>
    )
) AS kept
SELECT
    NOT has(kept, source) AS from_rest,
    if(from_rest, '', source) AS from_node,
    NOT has(kept, target) AS to_rest,
    if(to_rest, '', target) AS to_node,
    sum(sessions) AS walked
FROM (<edges_again>)
WHERE NOT (from_rest AND to_rest)
GROUP BY from_rest, from_node, to_rest, to_node
ORDER BY walked DESC, if(from_rest, <others>, from_node) ASC, from_rest ASC,
    if(to_rest, <others_again>, to_node) ASC, to_rest ASC
LIMIT <links_max>
"""

_EDGES: Final = """
SELECT edge.1 AS source, edge.2 AS target, count() AS sessions
FROM
(
    SELECT
        arraySlice(
            arrayMap(
                seen -> seen.3,
                arraySort(groupArray((occur_time, event_id, toString(<label>))))
            ),
            1, <events_max>
        ) AS path,
        arrayJoin(arrayDistinct(arrayFilter(
            pair -> pair.1 != pair.2 AND pair.1 != '' AND pair.2 != '',
            arrayZip(arrayPopBack(path), arrayPopFront(path))
        ))) AS edge
    FROM events
    WHERE <window> AND <filters> AND <scope> AND <who> AND session_id != <no_session>
    GROUP BY session_id
)
GROUP BY edge
"""


def compile_user_flow(plan: UserFlowPlan) -> Statement:
    """The statement whose rows are (from rest, from, to rest, to, sessions), in order."""
    edges = _edges(plan)
    return finish(
        fill(
            _FLOW,
            edges=edges,
            edges_again=edges,
            nodes_max=integer_value(plan.nodes_max),
            links_max=integer_value(plan.links_max),
            others=text_value(OTHERS),
            others_again=text_value(OTHERS),
        ),
        INSIGHT,
    )


def _edges(plan: UserFlowPlan) -> Fragment:
    reading = PeopledReading(plan.project_id)
    return fill(
        _EDGES,
        label=literal("kind") if plan.node is None else text_form(plan.node),
        events_max=integer_value(plan.hops_max + 1),
        window=compile_window(plan.project_id, plan.range),
        filters=compile_condition(plan.filters, reading),
        scope=compile_condition(plan.scope, reading),
        who=compile_who(leaves_out_cookieless=plan.leaves_out_cookieless),
        no_session=literal("toUUID('00000000-0000-0000-0000-000000000000')"),
    )
