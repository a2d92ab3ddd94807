"""Last administrator, last member [services 6.2]."""

import pytest

from appliance.domain.access.memberships import (
    Blocked,
    Standing,
    leave_blocked,
    removal_blocked,
    role_blocked,
)
from appliance.domain.access.roles import Role


def standing(role: Role, *, admins: int = 0, members: int = 0, disabled: bool = False) -> Standing:
    return Standing(role=role, disabled=disabled, other_admins=admins, other_members=members)


@pytest.mark.parametrize(
    ("member", "leaving"),
    [
        (standing(Role.ADMIN, admins=0, members=0), Blocked.LAST_ADMIN_LEAVES),
        (standing(Role.ADMIN, admins=0, members=5), Blocked.LAST_ADMIN_LEAVES),
        (standing(Role.ADMIN, admins=1, members=1), None),
        (standing(Role.MEMBER, admins=1, members=1), None),
        (standing(Role.VIEWER, admins=0, members=0), Blocked.LAST_MEMBER_LEAVES),
        (standing(Role.MEMBER, admins=0, members=0), Blocked.LAST_MEMBER_LEAVES),
        (standing(Role.MEMBER, admins=0, members=1), None),
    ],
)
def test_leaving(member: Standing, leaving: Blocked | None):
    """The last administrator is told before the last member."""
    assert leave_blocked(member) is leaving


def test_removing_the_last_administrator_is_blocked():
    assert removal_blocked(standing(Role.ADMIN)) is Blocked.LAST_ADMIN_LEAVES
    assert removal_blocked(standing(Role.ADMIN, admins=1)) is None
    assert removal_blocked(standing(Role.MEMBER)) is None


@pytest.mark.parametrize("role", list(Role))
def test_only_demotion_of_the_last_administrator_is_blocked(role: Role):
    blocked = None if role is Role.ADMIN else Blocked.LAST_ADMIN_DEMOTED
    assert role_blocked(standing(Role.ADMIN), role) is blocked
    assert role_blocked(standing(Role.ADMIN, admins=1), role) is None
    assert role_blocked(standing(Role.VIEWER), role) is None


def test_a_disabled_administrator_is_not_the_one_who_stays():
    """Nobody is locked in by an account that cannot sign in, and it may go itself."""
    assert removal_blocked(standing(Role.ADMIN, disabled=True)) is None
    assert role_blocked(standing(Role.ADMIN, disabled=True), Role.VIEWER) is None
