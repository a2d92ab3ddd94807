"""Who gets the weekly report of which project, and who looks after the installation.

Invariant: a subscription counts only while its customer is enabled and a member of the project's
organisation, and while the project is not deleted; nothing has to be cleaned up for that.
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from appliance.storage.postgres.pool import Postgres, Transaction


class Subscription(Struct, frozen=True, kw_only=True):
    """Somebody who gets a project's report; `timezone` is an IANA name, empty for UTC."""

    project_id: str
    project_name: str
    timezone: str
    customer_id: str
    email: str
    created_at: datetime


class Subscribable(Struct, frozen=True, kw_only=True):
    """A member who may get a project's report."""

    project_id: str
    org_id: str
    customer_id: str


_LIST: Final = """
SELECT s.project_id, p.display_name AS project_name, p.reporting_timezone AS timezone,
    s.customer_id, c.email, s.create_time AS created_at
FROM report_subscriptions AS s
JOIN projects AS p ON p.id = s.project_id AND p.delete_time IS NULL
JOIN customers AS c ON c.id = s.customer_id AND c.disable_time IS NULL
JOIN org_members AS m ON m.org_id = p.org_id AND m.customer_id = s.customer_id
WHERE (s.project_id, s.customer_id) > ($1, $2)
ORDER BY s.project_id, s.customer_id LIMIT $3
"""
_FIND: Final = """
SELECT p.id AS project_id, p.org_id, c.id AS customer_id
FROM projects AS p
JOIN org_members AS m ON m.org_id = p.org_id
JOIN customers AS c ON c.id = m.customer_id
WHERE p.id = $1 AND p.delete_time IS NULL AND lower(c.email) = lower($2)
"""
_ADD: Final = """
INSERT INTO report_subscriptions (project_id, customer_id, create_time) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
"""
_DROP: Final = "DELETE FROM report_subscriptions WHERE project_id = $1 AND customer_id = $2"
_ADMINS: Final = """
SELECT c.email FROM customers AS c
JOIN org_members AS m ON m.customer_id = c.id AND m.role = 'ORG_ROLE_ADMIN'
WHERE c.disable_time IS NULL
  AND m.org_id = (SELECT id FROM orgs ORDER BY create_time, id LIMIT 1)
ORDER BY c.email LIMIT $1
"""


async def list_subscriptions(
    database: Postgres, *, after: tuple[str, str], limit: int
) -> tuple[Subscription, ...]:
    """A page of subscriptions, after one of a project and customer."""
    return tuple(
        msgspec.convert(dict(row), Subscription)
        for row in await database.rows(_LIST, *after, limit)
    )


async def find_subscribable(
    transaction: Transaction, *, project_id: str, email: str
) -> Subscribable | None:
    """The member of a project's organisation with this address, or None."""
    row = await transaction.row(_FIND, project_id, email)
    return None if row is None else msgspec.convert(dict(row), Subscribable)


async def add_subscription(
    transaction: Transaction, *, project_id: str, customer_id: str, at: datetime
) -> bool:
    """Subscribe; False when it was so already."""
    return await transaction.execute(_ADD, project_id, customer_id, at) == "INSERT 0 1"


async def drop_subscription(transaction: Transaction, *, project_id: str, customer_id: str) -> bool:
    """End a subscription; False when there was none."""
    return await transaction.execute(_DROP, project_id, customer_id) == "DELETE 1"


async def list_admin_addresses(database: Postgres, *, limit: int) -> tuple[str, ...]:
    """The administrators of the first organisation, whose appliance it is."""
    return tuple(str(row["email"]) for row in await database.rows(_ADMINS, limit))
