"""Organisations and their members in PostgreSQL [storage 1.1].

Invariant: whoever takes a member's rights away, or invites, first locks the organisation's row with
`lock_org` and then asks in a statement of its own, which sees what the holder before committed.
Adding a member needs no lock: nobody else's rights shrink. Order of locks everywhere:
organisation, mailed links, invitation, members.
"""

from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.domain.access.memberships import Standing
from appliance.domain.access.roles import Role
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres, Transaction

LISTED_MAX: Final = 10_000
"""Rows of one list; there is no paging [services 6.2]."""


class OrgRow(Struct, frozen=True, kw_only=True):
    """An organisation, and the role of the customer who asks."""

    id: str
    display_name: str
    role: Role


class CountedOrg(Struct, frozen=True, kw_only=True):
    """An organisation as the operator sees it; `admins` are those who can sign in."""

    id: str
    display_name: str
    created_at: datetime
    members: int
    admins: int


class MemberRow(Struct, frozen=True, kw_only=True):
    """A member of an organisation."""

    org_id: str
    customer_id: str
    display_name: str
    email: str
    role: Role
    joined_at: datetime
    disabled: bool


_FOR_CUSTOMER: Final = """
SELECT o.id, o.display_name, m.role
FROM org_members AS m JOIN orgs AS o ON o.id = m.org_id
WHERE m.customer_id = $1 ORDER BY o.create_time, o.id LIMIT $2
"""
_ONE_FOR_CUSTOMER: Final = """
SELECT o.id, o.display_name, m.role
FROM orgs AS o JOIN org_members AS m ON m.org_id = o.id AND m.customer_id = $2
WHERE o.id = $1
"""
_ALL: Final = """
SELECT o.id, o.display_name, o.create_time AS created_at, count(m.customer_id) AS members,
    count(m.customer_id) FILTER (
        WHERE m.role = 'ORG_ROLE_ADMIN' AND c.disable_time IS NULL
    ) AS admins
FROM orgs AS o
LEFT JOIN org_members AS m ON m.org_id = o.id
LEFT JOIN customers AS c ON c.id = m.customer_id
GROUP BY o.id ORDER BY o.create_time, o.id LIMIT $1
"""
_EXISTS: Final = "SELECT 1 FROM orgs WHERE id = $1"
_ADD: Final = "INSERT INTO orgs (id, display_name, create_time) VALUES ($1, $2, $3)"
_RENAME: Final = "UPDATE orgs SET display_name = $2 WHERE id = $1"
# Not FOR UPDATE: adding a member refers to this row and need not wait.
_LOCK: Final = "SELECT display_name FROM orgs WHERE id = $1 FOR NO KEY UPDATE"
_ADD_MEMBER: Final = """
INSERT INTO org_members (org_id, customer_id, role, create_time) VALUES ($1, $2, $3, $4)
ON CONFLICT (org_id, customer_id) DO NOTHING RETURNING customer_id
"""
_MEMBER_COLUMNS: Final = """
SELECT m.org_id, m.customer_id, c.display_name, c.email, m.role, m.create_time AS joined_at,
    c.disable_time IS NOT NULL AS disabled
FROM org_members AS m JOIN customers AS c ON c.id = m.customer_id
"""
_MEMBERS: Final = f"""{_MEMBER_COLUMNS}
WHERE m.org_id = $1 ORDER BY m.create_time, m.customer_id LIMIT $2
"""
_MEMBER: Final = f"""{_MEMBER_COLUMNS}
WHERE m.org_id = $1 AND m.customer_id = $2
"""
_STANDING: Final = """
SELECT m.role, c.disable_time IS NOT NULL AS disabled,
    (SELECT count(*) FROM org_members AS o JOIN customers AS k ON k.id = o.customer_id
     WHERE o.org_id = m.org_id AND o.customer_id <> m.customer_id
       AND o.role = 'ORG_ROLE_ADMIN' AND k.disable_time IS NULL) AS other_admins,
    (SELECT count(*) FROM org_members AS o
     WHERE o.org_id = m.org_id AND o.customer_id <> m.customer_id) AS other_members
FROM org_members AS m JOIN customers AS c ON c.id = m.customer_id
WHERE m.org_id = $1 AND m.customer_id = $2
"""
_REMOVE: Final = "DELETE FROM org_members WHERE org_id = $1 AND customer_id = $2"
_SET_ROLE: Final = "UPDATE org_members SET role = $3 WHERE org_id = $1 AND customer_id = $2"


async def list_orgs_of(database: Postgres, customer_id: str) -> tuple[OrgRow, ...]:
    """The organisations of a customer, oldest first."""
    rows = await database.rows(_FOR_CUSTOMER, customer_id, LISTED_MAX)
    return tuple(map(_org, rows))


async def find_org_of(database: Postgres, org_id: str, customer_id: str) -> OrgRow | None:
    """One organisation of a customer."""
    row = await database.row(_ONE_FOR_CUSTOMER, org_id, customer_id)
    return None if row is None else _org(row)


async def list_all_orgs(database: Postgres) -> tuple[CountedOrg, ...]:
    """Every organisation, oldest first."""
    rows = await database.rows(_ALL, LISTED_MAX)
    return tuple(msgspec.convert(dict(row), CountedOrg) for row in rows)


async def org_exists(database: Postgres, org_id: str) -> bool:
    """Whether there is such an organisation."""
    return await database.row(_EXISTS, org_id) is not None


async def add_org(
    transaction: Transaction, *, org_id: str, display_name: str, at: datetime
) -> None:
    """Store an organisation without members."""
    await transaction.execute(_ADD, org_id, display_name, at)


async def rename_org(transaction: Transaction, org_id: str, display_name: str) -> None:
    """Call an organisation so."""
    await transaction.execute(_RENAME, org_id, display_name)


async def lock_org(transaction: Transaction, org_id: str) -> str | None:
    """Wait for everybody else who changes memberships of an organisation; its name, if it is."""
    row = await transaction.row(_LOCK, org_id)
    return None if row is None else str(row["display_name"])


async def join_org(
    transaction: Transaction, *, org_id: str, customer_id: str, role: Role, at: datetime
) -> bool:
    """Make a customer a member; False, and nothing changes, when they are one already."""
    row = await transaction.row(_ADD_MEMBER, org_id, customer_id, role.stored, at)
    return row is not None


async def list_members(database: Postgres, org_id: str) -> tuple[MemberRow, ...]:
    """The members of an organisation in the order they joined."""
    return tuple(map(_member, await database.rows(_MEMBERS, org_id, LISTED_MAX)))


async def find_member(transaction: Transaction, org_id: str, customer_id: str) -> MemberRow | None:
    """One member of an organisation."""
    row = await transaction.row(_MEMBER, org_id, customer_id)
    return None if row is None else _member(row)


async def find_standing(transaction: Transaction, org_id: str, customer_id: str) -> Standing | None:
    """A member and who else there is; it holds as long as `lock_org` does."""
    row = await transaction.row(_STANDING, org_id, customer_id)
    if row is None:
        return None
    return Standing(
        role=_role(row),
        disabled=cast("bool", row["disabled"]),
        other_admins=cast("int", row["other_admins"]),
        other_members=cast("int", row["other_members"]),
    )


async def remove_member(transaction: Transaction, org_id: str, customer_id: str) -> None:
    """End a membership."""
    await transaction.execute(_REMOVE, org_id, customer_id)


async def set_role(transaction: Transaction, *, org_id: str, customer_id: str, role: Role) -> None:
    """Give a member another role."""
    await transaction.execute(_SET_ROLE, org_id, customer_id, role.stored)


def _org(row: Record) -> OrgRow:
    return OrgRow(id=str(row["id"]), display_name=str(row["display_name"]), role=_role(row))


def _member(row: Record) -> MemberRow:
    return MemberRow(
        org_id=str(row["org_id"]),
        customer_id=str(row["customer_id"]),
        display_name=str(row["display_name"]),
        email=str(row["email"]),
        role=_role(row),
        joined_at=cast("datetime", row["joined_at"]),
        disabled=cast("bool", row["disabled"]),
    )


def _role(row: Record) -> Role:
    return Role.from_stored(str(row["role"]))
