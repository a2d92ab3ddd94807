"""How a user flow is told, with and without depths [insights 14, services 13]."""

from appliance.domain.insights.filters import EVERYTHING, AllOf
from appliance.domain.insights.spec import TimeRange
from appliance.domain.insights.user_flow import (
    FlowEnd,
    FlowLink,
    UserFlowPlan,
    shape_user_flow,
)
from appliance.domain.insights.wire import render_answer


def told(*links: tuple[FlowEnd, FlowEnd, int], layered: bool) -> dict[str, object]:
    plan = UserFlowPlan(
        project_id="p",
        range=TimeRange(start_ms=0, end_ms=1),
        filters=EVERYTHING,
        scope=AllOf(()),
        node=None,
        hops_max=5,
        nodes_max=20,
        links_max=50,
        leaves_out_cookieless=True,
        layered=layered,
    )
    rows = [FlowLink(source=a, target=b, sessions=count) for a, b, count in links]
    answer = render_answer(shape_user_flow(plan, rows)).result
    assert answer is not None
    assert answer.field == "user_flow"
    return {
        "nodes": [(n.id, n.is_others, n.depth, n.label) for n in answer.value.nodes],
        "links": [(link.source, link.target, link.value) for link in answer.value.links],
    }


def test_a_name_is_one_node_without_depths():
    home, shop = FlowEnd(0, False, "home"), FlowEnd(0, False, "shop")  # noqa: FBT003 whether it is the fold
    assert told((home, shop, 3), (shop, home, 1), layered=False) == {
        "nodes": [("home", False, 0, ""), ("shop", False, 0, "")],
        "links": [("home", "shop", 3), ("shop", "home", 1)],
    }


def test_a_name_is_a_node_at_each_depth():
    home, shop = FlowEnd(0, False, "home"), FlowEnd(1, False, "shop")  # noqa: FBT003 as above
    again = FlowEnd(2, False, "home")  # noqa: FBT003 as above
    assert told((home, shop, 3), (shop, again, 1), layered=True) == {
        "nodes": [
            ("0:home", False, 0, "home"),
            ("1:shop", False, 1, "shop"),
            ("2:home", False, 2, "home"),
        ],
        "links": [("0:home", "1:shop", 3), ("1:shop", "2:home", 1)],
    }


def test_each_depth_has_a_fold_that_is_no_real_node():
    """A real `$others` at any depth renames every fold, so that a label means one thing."""
    real, first = FlowEnd(0, False, "$others"), FlowEnd(0, True, "")  # noqa: FBT003 as above
    second = FlowEnd(1, True, "")  # noqa: FBT003 as above
    assert told((real, second, 2), (first, second, 1), layered=True) == {
        "nodes": [
            ("0:$others", False, 0, "$others"),
            ("0:$others_", True, 0, "$others_"),
            ("1:$others_", True, 1, "$others_"),
        ],
        "links": [("0:$others", "1:$others_", 2), ("0:$others_", "1:$others_", 1)],
    }
