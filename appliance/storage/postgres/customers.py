"""Dashboard users in PostgreSQL [storage 1.1].

Invariant: an address is stored as typed and compared in lower case.
"""

from datetime import datetime
from typing import Final, cast

from msgspec import Struct

from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres, Transaction

LISTED_MAX: Final = 10_000


class CustomerRow(Struct, frozen=True, kw_only=True):
    """A person who may sign in; `password_hash` is empty for one without a password."""

    id: str
    email: str
    password_hash: str
    verified: bool
    disabled: bool


class ListedCustomer(Struct, frozen=True, kw_only=True):
    """A person as the operator sees them."""

    id: str
    email: str
    display_name: str
    verified: bool
    disabled: bool
    has_password: bool
    orgs: int
    created_at: datetime


class DemoAccess(Struct, frozen=True, kw_only=True):
    """The demo customer with the oldest project of their oldest organisation."""

    customer_id: str
    project_id: str
    role: str


_COLUMNS: Final = """
SELECT id, email, password_hash, email_verify_time IS NOT NULL AS verified,
    disable_time IS NOT NULL AS disabled FROM customers
"""
_BY_EMAIL: Final = f"{_COLUMNS} WHERE lower(email) = lower($1)"
_LOCK_BY_EMAIL: Final = f"{_COLUMNS} WHERE lower(email) = lower($1) FOR UPDATE"
_BY_ID: Final = f"{_COLUMNS} WHERE id = $1"
_ADD: Final = """
INSERT INTO customers (id, display_name, email, password_hash, picture_uri, email_verify_time)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (lower(email)) DO NOTHING RETURNING id
"""
_VERIFY: Final = """
UPDATE customers SET email_verify_time = $2 WHERE id = $1 AND email_verify_time IS NULL
"""
_SET_HASH: Final = "UPDATE customers SET password_hash = $2 WHERE id = $1"
_SET_DISABLED: Final = "UPDATE customers SET disable_time = $2 WHERE id = $1"
_LIST: Final = """
SELECT c.id, c.email, c.display_name, c.email_verify_time IS NOT NULL AS verified,
    c.disable_time IS NOT NULL AS disabled, c.password_hash <> '' AS has_password,
    count(m.org_id)::int AS orgs, c.create_time AS created_at
FROM customers AS c LEFT JOIN org_members AS m ON m.customer_id = c.id
GROUP BY c.id ORDER BY c.create_time, c.id LIMIT $1
"""
_DEMO: Final = """
SELECT c.id AS customer_id, p.id AS project_id, m.role
FROM customers AS c
JOIN org_members AS m ON m.customer_id = c.id
JOIN orgs AS o ON o.id = m.org_id
JOIN projects AS p ON p.org_id = o.id AND p.delete_time IS NULL
WHERE lower(c.email) = lower($1) AND c.disable_time IS NULL
ORDER BY o.create_time, o.id, p.create_time, p.id LIMIT 1
"""


async def find_by_email(database: Postgres, email: str) -> CustomerRow | None:
    """The person with this address, in any case of letters."""
    row = await database.row(_BY_EMAIL, email)
    return None if row is None else _customer(row)


async def find_by_id(database: Postgres, customer_id: str) -> CustomerRow | None:
    """A person by id."""
    row = await database.row(_BY_ID, customer_id)
    return None if row is None else _customer(row)


async def lock_by_email(transaction: Transaction, email: str) -> CustomerRow | None:
    """The person with this address, locked until the transaction ends."""
    row = await transaction.row(_LOCK_BY_EMAIL, email)
    return None if row is None else _customer(row)


async def add_customer(
    transaction: Transaction,
    *,
    customer_id: str,
    email: str,
    display_name: str = "",
    password_hash: str = "",
    picture_uri: str = "",
    verified_at: datetime | None = None,
) -> bool:
    """Store a person; False when the address belongs to somebody already."""
    row = await transaction.row(
        _ADD, customer_id, display_name, email, password_hash, picture_uri, verified_at
    )
    return row is not None


async def mark_verified(transaction: Transaction, customer_id: str, at: datetime) -> None:
    """The person has shown that the address is theirs."""
    await transaction.execute(_VERIFY, customer_id, at)


async def set_password_hash(transaction: Transaction, customer_id: str, hashed: str) -> None:
    """Replace the stored form of a password."""
    await transaction.execute(_SET_HASH, customer_id, hashed)


async def set_disabled(transaction: Transaction, customer_id: str, at: datetime | None) -> None:
    """Refuse a person from now on, or with None no longer."""
    await transaction.execute(_SET_DISABLED, customer_id, at)


async def list_customers(database: Postgres) -> tuple[ListedCustomer, ...]:
    """Everybody, oldest first."""
    rows = await database.rows(_LIST, LISTED_MAX)
    return tuple(
        ListedCustomer(
            id=cast("str", row["id"]),
            email=cast("str", row["email"]),
            display_name=cast("str", row["display_name"]),
            verified=cast("bool", row["verified"]),
            disabled=cast("bool", row["disabled"]),
            has_password=cast("bool", row["has_password"]),
            orgs=cast("int", row["orgs"]),
            created_at=cast("datetime", row["created_at"]),
        )
        for row in rows
    )


async def find_demo_access(database: Postgres, email: str) -> DemoAccess | None:
    """What the demo customer may look at [services 5]."""
    row = await database.row(_DEMO, email)
    if row is None:
        return None
    return DemoAccess(
        customer_id=cast("str", row["customer_id"]),
        project_id=cast("str", row["project_id"]),
        role=cast("str", row["role"]),
    )


def _customer(row: Record) -> CustomerRow:
    return CustomerRow(
        id=cast("str", row["id"]),
        email=cast("str", row["email"]),
        password_hash=cast("str", row["password_hash"]),
        verified=cast("bool", row["verified"]),
        disabled=cast("bool", row["disabled"]),
    )
