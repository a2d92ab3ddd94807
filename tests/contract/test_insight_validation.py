"""The validator refuses what the contract refuses, and nothing else [insights 21.2]."""

import json
from importlib import import_module

import protovalidate
import pytest

from tests.support.insight_vectors import load_section

_PACKAGES = {
    "shared.insights.v1": "shared.insights.v1.insights_pb",
    "shared.activity.v1": "shared.activity.v1.activity_pb",
    "common.v1": "common.v1.filter_schema_pb",
    "dashboard.dashboards.v1": "dashboard.dashboards.v1.dashboards_pb",
}


def _message(name: str):
    package, _, message = name.rpartition(".")
    return getattr(import_module(f"appliance.gen.{_PACKAGES[package]}"), message)


def _rules(case) -> set[str]:
    message = _message(case["message"]).from_json(json.dumps(case["request"]))
    try:
        return {violation.proto.rule_id for violation in protovalidate.collect_violations(message)}
    except protovalidate.EvaluationError:
        return {"(evaluation error)"}


@pytest.mark.parametrize("case", load_section("validation"), ids=lambda case: case["id"])
def test_the_verdict_is_that_of_the_contract(case) -> None:
    """Refused or accepted; the names of our rules are our own, see `proto/`."""
    assert (not _rules(case)) is case.get("valid", False)
