"""What an organisation must not lose: its last administrator, its last member [services 6.2].

Invariant: decided from numbers that nobody can change before the decision is carried out: the
caller holds the organisation's lock (`storage/postgres/orgs.py`). An administrator whose account is
disabled cannot administer, so such a one never counts as the one who stays.
"""

from enum import StrEnum

from msgspec import Struct

from appliance.domain.access.roles import Role


class Standing(Struct, frozen=True, kw_only=True):
    """A member, and who else there is.

    `other_admins` counts administrators who can sign in, `other_members` everybody.
    """

    role: Role
    disabled: bool
    other_admins: int
    other_members: int

    @property
    def is_last_admin(self) -> bool:
        """Whether nobody could administer without this member."""
        return self.role is Role.ADMIN and not self.disabled and self.other_admins == 0


class Blocked(StrEnum):
    """Why a change of membership is refused; the values are reason tokens [services 2.4]."""

    LAST_ADMIN_LEAVES = "CANNOT_REMOVE_LAST_ADMIN"
    LAST_ADMIN_DEMOTED = "CANNOT_DEMOTE_LAST_ADMIN"
    LAST_MEMBER_LEAVES = "CANNOT_LEAVE_AS_LAST_MEMBER"


def removal_blocked(standing: Standing) -> Blocked | None:
    """Why this member cannot be removed; None when nothing is against it."""
    return Blocked.LAST_ADMIN_LEAVES if standing.is_last_admin else None


def leave_blocked(standing: Standing) -> Blocked | None:
    """Why this member cannot leave; being the last administrator is told first."""
    if standing.is_last_admin:
        return Blocked.LAST_ADMIN_LEAVES
    return Blocked.LAST_MEMBER_LEAVES if standing.other_members == 0 else None


def role_blocked(standing: Standing, role: Role) -> Blocked | None:
    """Why this member cannot have `role` instead."""
    demoted = role is not Role.ADMIN and standing.is_last_admin
    return Blocked.LAST_ADMIN_DEMOTED if demoted else None
