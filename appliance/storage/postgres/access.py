"""Who a customer is, and what role they have where [services 3.1, 4]."""

from typing import Final, cast

from msgspec import Struct

from appliance.storage.postgres.pool import Postgres

_CUSTOMER: Final = """
SELECT email, disable_time IS NOT NULL AS disabled FROM customers WHERE id = $1
"""
_CUSTOMER_IN_PROJECT: Final = """
SELECT c.email, c.disable_time IS NOT NULL AS disabled,
    p.org_id, p.reporting_timezone AS timezone, m.role
FROM customers AS c
LEFT JOIN projects AS p ON p.id = $2 AND p.delete_time IS NULL
LEFT JOIN org_members AS m ON m.org_id = p.org_id AND m.customer_id = c.id
WHERE c.id = $1
"""
_ROLE: Final = "SELECT role FROM org_members WHERE org_id = $1 AND customer_id = $2"


class FoundCustomer(Struct, frozen=True, kw_only=True):
    """A customer; the last three are of the project asked for, None where there is no access."""

    email: str
    disabled: bool
    org_id: str | None = None
    timezone: str | None = None
    role: str | None = None


async def find_customer(database: Postgres, customer_id: str) -> FoundCustomer | None:
    """A customer by id."""
    row = await database.row(_CUSTOMER, customer_id)
    if row is None:
        return None
    return FoundCustomer(email=cast("str", row["email"]), disabled=cast("bool", row["disabled"]))


async def find_customer_in_project(
    database: Postgres, customer_id: str, project_id: str
) -> FoundCustomer | None:
    """A customer by id, with their role in the organisation of a project that is not deleted."""
    row = await database.row(_CUSTOMER_IN_PROJECT, customer_id, project_id)
    if row is None:
        return None
    return FoundCustomer(
        email=cast("str", row["email"]),
        disabled=cast("bool", row["disabled"]),
        org_id=cast("str | None", row["org_id"]),
        timezone=cast("str | None", row["timezone"]),
        role=cast("str | None", row["role"]),
    )


async def find_role(database: Postgres, org_id: str, customer_id: str) -> str | None:
    """The stored role of a customer in an organisation, None for a stranger."""
    row = await database.row(_ROLE, org_id, customer_id)
    return None if row is None else cast("str", row["role"])
