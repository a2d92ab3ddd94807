"""Dashboard users and their roles in PostgreSQL [storage 1.1].

Invariant: an address is stored as typed and compared in lower case; a user and the membership that
was asked for appear together.
"""

from typing import Final

from appliance.storage.postgres.pool import Transaction

_ADD_CUSTOMER: Final = """
INSERT INTO customers (id, display_name, email, password_hash) VALUES ($1, $2, $3, $4)
"""
_ADD_MEMBER: Final = "INSERT INTO org_members (org_id, customer_id, role) VALUES ($1, $2, $3)"


async def add_customer(
    transaction: Transaction, *, customer_id: str, display_name: str, email: str, password_hash: str
) -> None:
    """Store a user; raises ConflictError when the address has one already."""
    await transaction.execute(_ADD_CUSTOMER, customer_id, display_name, email, password_hash)


async def add_member(transaction: Transaction, *, org_id: str, customer_id: str, role: str) -> None:
    """Make a user a member of an organisation with this role."""
    await transaction.execute(_ADD_MEMBER, org_id, customer_id, role)
