"""One gate for every served RPC, and the table of roles [services 4]."""

import pytest

from appliance.api.call import Boundary
from appliance.api.rpc.registry import mounted_services
from appliance.domain.access.permissions import GATES, Action, Gate, GateKind, Resource
from appliance.domain.access.roles import Role
from tests.support.api_services import MemoryServices

KINDS = {
    Boundary.PUBLIC: {GateKind.PUBLIC},
    Boundary.SDK: {GateKind.SDK},
    Boundary.SHARED: {GateKind.PROJECT},
    Boundary.DASHBOARD: {GateKind.SELF, GateKind.ORG, GateKind.PROJECT},
}
CRUD = {"c": Action.CREATE, "r": Action.READ, "u": Action.UPDATE, "d": Action.DELETE}
TABLE = {  # viewer, member, admin
    Resource.ORG: ("r", "r", "crud"),
    Resource.MEMBER: ("r", "r", "crud"),
    Resource.INVITATION: ("", "", "crud"),
    Resource.EMAIL_PROVIDER: ("", "", "crud"),
    Resource.PROJECT: ("r", "r", "crud"),
    Resource.API_KEY: ("r", "r", "crd"),
    Resource.DASHBOARD: ("r", "crud", "crud"),
    Resource.INSIGHT: ("r", "crud", "crud"),
    Resource.ACTIVITY: ("r", "crud", "crud"),
    Resource.PROFILE: ("r", "crud", "crud"),
    Resource.COHORT: ("r", "crud", "crud"),  # ours
    Resource.ANNOTATION: ("r", "crud", "crud"),  # ours
    Resource.ALERT: ("r", "crud", "crud"),  # ours
    Resource.USAGE: ("r", "r", "r"),  # ours; the contract has no row
    Resource.QUERY: ("", "r", "crud"),  # ours
    Resource.QUERY_PLAN: ("", "", "crud"),  # ours
}


def test_every_served_method_has_one_gate_and_no_gate_is_stale() -> None:
    served = {
        f"{service.name}/{method}"
        for service in mounted_services(MemoryServices(), 1000)
        for method in service.methods
    }
    assert set(GATES) == served


def test_gates_fit_their_boundary() -> None:
    for service in mounted_services(MemoryServices(), 1000):
        for method in service.methods:
            assert GATES[f"{service.name}/{method}"].kind in KINDS[service.boundary], method


@pytest.mark.parametrize("resource", Resource)
def test_rights_are_those_of_the_table(resource: Resource) -> None:
    for role, letters in zip((Role.VIEWER, Role.MEMBER, Role.ADMIN), TABLE[resource], strict=True):
        allowed = {
            action
            for action in Action
            if Gate(kind=GateKind.ORG, resource=resource, action=action).admits(role)
        }
        assert allowed == {CRUD[letter] for letter in letters}
