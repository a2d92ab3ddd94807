"""Who a token stands for, and which role a customer has.

Invariant: asked of the database for every request and never remembered, so that a removed member,
a disabled account or a deleted project ends at once; a database that does not answer is
UnavailableError, never a refusal [services 12 #23].
"""

from appliance.base.errors import ApplianceError, InvalidInputError, UnavailableError
from appliance.domain.access.callers import ProjectAccess, SignedIn
from appliance.domain.access.roles import Role
from appliance.services.tokens import AccessTokens
from appliance.storage.postgres.access import find_customer, find_customer_in_project, find_role
from appliance.storage.postgres.pool import Postgres


class AccessService:
    """Answers the two questions of authentication and authorisation."""

    def __init__(self, database: Postgres, tokens: AccessTokens) -> None:
        self._database = database
        self._tokens = tokens

    async def signed_in(self, token: str, project_id: str | None) -> SignedIn | None:
        """The customer of an access token; None when token, customer or project do not hold.

        A named project must be one of an organisation the customer belongs to [services 3.1].
        Raises UnavailableError.
        """
        customer_id = self._tokens.verify(token)
        if customer_id is None:
            return None
        try:
            if project_id is None:
                found = await find_customer(self._database, customer_id)
            else:
                found = await find_customer_in_project(self._database, customer_id, project_id)
        except ApplianceError as error:
            raise _cannot_tell() from error
        if found is None or found.disabled:
            return None
        if project_id is None:
            return SignedIn(customer_id=customer_id, email=found.email)
        if found.role is None or found.org_id is None:
            return None
        access = ProjectAccess(
            project_id=project_id,
            org_id=found.org_id,
            timezone=found.timezone or "",
            role=Role.from_stored(found.role),
        )
        return SignedIn(customer_id=customer_id, email=found.email, project=access)

    async def role(self, org_id: str, customer_id: str) -> Role | None:
        """The customer's role in an organisation; None for strangers. Raises UnavailableError."""
        try:
            found = await find_role(self._database, org_id, customer_id)
        except InvalidInputError:
            # An id the database cannot hold, like one with a NUL, names no organisation.
            return None
        except ApplianceError as error:
            raise _cannot_tell() from error
        return None if found is None else Role.from_stored(found)


def _cannot_tell() -> UnavailableError:
    return UnavailableError(
        "UNAVAILABLE",
        "your access cannot be checked at the moment",
        hint="see `pug-appliance status` and the log of postgres",
    )
