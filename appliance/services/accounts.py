"""Dashboard users: make one with a password and a role.

Invariant: a password is stored as bcrypt of cost 10 only [services 3.5], worked out in a thread,
because it takes a good part of a second and the loop has others to serve.
"""

import asyncio
import re
from typing import Final

import bcrypt
from msgspec import Struct

from appliance.base.errors import ConflictError, InvalidInputError
from appliance.base.ids import IdMaker
from appliance.config.secrets import Secret
from appliance.domain.access.roles import Role
from appliance.services.projects import DEFAULT_NAME
from appliance.storage.postgres.accounts import add_customer, add_member
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import ensure_default_org

PASSWORD_CHARACTERS_MIN: Final = 6
PASSWORD_BYTES_MAX: Final = 72
EMAIL_CHARACTERS_MAX: Final = 255
NAME_CHARACTERS_MAX: Final = 150
BCRYPT_COST: Final = 10
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


class CreatedUser(Struct, frozen=True, kw_only=True):
    """A fresh user and where the role holds."""

    id: str
    email: str
    org_id: str
    role: Role


class AccountsService:
    """Use-cases about dashboard users."""

    def __init__(self, database: Postgres, ids: IdMaker) -> None:
        self._database = database
        self._ids = ids

    async def create_user(
        self,
        email: str,
        password: Secret,
        *,
        role: Role,
        org_id: str | None = None,
        display_name: str = "",
    ) -> CreatedUser:
        """Make a user with a password and a role in an organisation (default: the oldest).

        Raises ConflictError when the address has a user, InvalidInputError for a bad address or
        password (`PASSWORD_TOO_LONG` above 72 bytes).
        """
        address = _check_email(email)
        _check_password(password)
        hashed = await asyncio.to_thread(hash_password, password)
        customer_id = self._ids.make()
        async with self._database.transaction() as transaction:
            org = org_id or await ensure_default_org(
                transaction, fresh_id=self._ids.make(), display_name=DEFAULT_NAME
            )
            try:
                await add_customer(
                    transaction,
                    customer_id=customer_id,
                    display_name=(display_name or address.partition("@")[0])[:NAME_CHARACTERS_MAX],
                    email=address,
                    password_hash=hashed,
                )
            except ConflictError as error:
                raise ConflictError(
                    "ALREADY_EXISTS", f"there is a user with the address {address} already"
                ) from error
            await add_member(transaction, org_id=org, customer_id=customer_id, role=role.stored)
        return CreatedUser(id=customer_id, email=address, org_id=org, role=role)


def hash_password(password: Secret) -> str:
    """The stored form of a password; slow on purpose."""
    salt = bcrypt.gensalt(rounds=BCRYPT_COST)
    return bcrypt.hashpw(password.reveal().encode(), salt).decode("ascii")


def _check_email(text: str) -> str:
    address = text.strip()
    if len(address) > EMAIL_CHARACTERS_MAX or not _EMAIL.fullmatch(address):
        raise InvalidInputError("INVALID_ARGUMENT", f"{address!r} is not an e-mail address")
    return address


def _check_password(password: Secret) -> None:
    text = password.reveal()
    if len(text) < PASSWORD_CHARACTERS_MIN:
        raise InvalidInputError(
            "INVALID_ARGUMENT", f"a password has at least {PASSWORD_CHARACTERS_MIN} characters"
        )
    if len(text.encode()) > PASSWORD_BYTES_MAX:
        raise InvalidInputError(
            "PASSWORD_TOO_LONG", f"a password has at most {PASSWORD_BYTES_MAX} bytes"
        )
