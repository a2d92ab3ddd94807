"""Roles on the wire."""

import pytest

from appliance.api.rpc.dashboard.orgs import parse_role
from appliance.base.errors import InvalidInputError
from appliance.domain.access.roles import Role
from appliance.gen.dashboard.orgs.v1.orgs_pb import OrgRole


@pytest.mark.parametrize("role", list(Role))
def test_the_three_roles(role: Role):
    assert parse_role(OrgRole[role.name]) is role


@pytest.mark.parametrize("number", [0, 4, -1])
def test_any_other_is_unsupported(number: int):
    """The schema refuses these before; a client that goes around it learns the reason."""
    with pytest.raises(InvalidInputError) as refused:
        parse_role(OrgRole(number))
    assert refused.value.reason == "ORG_UNSUPPORTED_ROLE"
