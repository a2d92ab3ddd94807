"""Sessions: an access token, and refresh tokens that rotate [services 3.2, 3.3].

Invariant: a refresh token is used once; a second use, however soon, ends its family, and every
refusal looks alike. Whatever is decided about a family is decided while it is locked.
"""

import hashlib
from datetime import timedelta
from typing import Final

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import UnauthenticatedError
from appliance.base.ids import IdMaker, random_token
from appliance.config.secrets import Secret
from appliance.domain.access.callers import Actor, ActorKind
from appliance.services.audit import AuditLog
from appliance.services.tokens import AccessTokens
from appliance.storage.postgres.pool import Postgres, Transaction
from appliance.storage.postgres.sessions import (
    FreshToken,
    RefreshRow,
    add_refresh_token,
    consume_refresh_token,
    find_refresh_token,
    lock_family,
    revoke_family,
)

REFRESH_LIFETIME: Final = timedelta(days=90)
REFRESH_BYTES: Final = 32
TOKEN_CHARACTERS_MAX: Final = 256


class Session(Struct, frozen=True, kw_only=True):
    """What a signed-in customer holds."""

    customer_id: str
    access: Secret
    refresh: Secret


class SessionsService:
    """Opens, rotates and ends sessions."""

    def __init__(
        self,
        database: Postgres,
        tokens: AccessTokens,
        *,
        clock: Clock,
        ids: IdMaker,
        audit: AuditLog,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._clock = clock
        self._ids = ids
        self._audit = audit

    async def open(
        self, transaction: Transaction, *, customer_id: str, email: str, address: str, how: str
    ) -> Session:
        """Begin a session, a family of its own, in the transaction that let the customer in.

        `how` says in the audit log what they signed in with, like `password`.
        """
        await self._audit.record(
            transaction,
            _actor(customer_id, email, address),
            "session.sign_in",
            subject_kind="customer",
            subject_id=customer_id,
            details={"with": how},
        )
        return await self._issue(transaction, customer_id, family_id=self._ids.make())

    async def refresh(self, refresh_token: str, address: str) -> Session:
        """Use a refresh token for the next one; raises UnauthenticatedError (`INVALID_TOKEN`)."""
        async with self._database.transaction() as transaction:
            session = await self._rotate(transaction, refresh_token, address)
        # Refused only here, because the end of a family must be committed.
        if session is None:
            raise _invalid()
        return session

    async def end(self, refresh_token: str, address: str) -> None:
        """Sign out: end the family of a token; an unknown one is no error [services 5]."""
        async with self._database.transaction() as transaction:
            row = await _locked(transaction, refresh_token)
            if row is None or row.revoked_at is not None:
                return
            await revoke_family(transaction, row.family_id, self._clock.now())
            await self._record(transaction, row, "session.sign_out", address)

    async def _rotate(
        self, transaction: Transaction, refresh_token: str, address: str
    ) -> Session | None:
        now = self._clock.now()
        row = await _locked(transaction, refresh_token)
        if row is None or row.revoked_at is not None:
            return None
        if row.consumed_at is not None or row.disabled:
            await revoke_family(transaction, row.family_id, now)
            action = "session.revoke_disabled" if row.disabled else "session.reuse"
            await self._record(transaction, row, action, address)
            return None
        if row.expires_at <= now:
            return None
        await consume_refresh_token(transaction, row.id, now)
        return await self._issue(transaction, row.customer_id, family_id=row.family_id)

    async def _issue(
        self, transaction: Transaction, customer_id: str, *, family_id: str
    ) -> Session:
        refresh = Secret(random_token(REFRESH_BYTES))
        now = self._clock.now()
        await add_refresh_token(
            transaction,
            FreshToken(
                id=self._ids.make(),
                customer_id=customer_id,
                family_id=family_id,
                token_hash=hash_token(refresh.reveal()),
                expires_at=now + REFRESH_LIFETIME,
                created_at=now,
            ),
        )
        return Session(
            customer_id=customer_id,
            access=Secret(self._tokens.issue(customer_id)),
            refresh=refresh,
        )

    async def _record(
        self, transaction: Transaction, row: RefreshRow, action: str, address: str
    ) -> None:
        await self._audit.record(
            transaction,
            _actor(row.customer_id, row.email, address),
            action,
            subject_kind="customer",
            subject_id=row.customer_id,
        )


def hash_token(text: str) -> str:
    """What is stored of a secret that was handed out: SHA-256, lower-case hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


async def _locked(transaction: Transaction, refresh_token: str) -> RefreshRow | None:
    if len(refresh_token) > TOKEN_CHARACTERS_MAX:
        return None
    hashed = hash_token(refresh_token)
    if await lock_family(transaction, hashed) is None:
        return None
    return await find_refresh_token(transaction, hashed)


def _actor(customer_id: str, email: str, address: str) -> Actor:
    return Actor(kind=ActorKind.CUSTOMER, id=customer_id, label=email, address=address)


def _invalid() -> UnauthenticatedError:
    return UnauthenticatedError("INVALID_TOKEN", "the session has ended; sign in again")
