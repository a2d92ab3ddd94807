"""Dashboard users: passwords, the demo account, and what the operator does with people.

Invariant: a wrong password, an unknown address, an account without a password and a disabled one
are refused alike, after the same work [services 5].
"""

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import (
    ConflictError,
    NotFoundError,
    Resource,
    UnauthenticatedError,
    UnavailableError,
)
from appliance.base.ids import IdMaker
from appliance.config.secrets import Secret
from appliance.domain.access.callers import OPERATOR, Actor
from appliance.domain.access.passwords import NAME_CHARACTERS_MAX, check_email, check_password
from appliance.domain.access.roles import Role
from appliance.services.audit import AuditLog
from appliance.services.passwords import Passwords
from appliance.services.projects import DEFAULT_NAME
from appliance.services.sessions import Session, SessionsService
from appliance.services.sign_in_guard import SignInGuard
from appliance.storage.postgres.customers import (
    CustomerRow,
    ListedCustomer,
    add_customer,
    find_by_email,
    find_by_id,
    find_demo_access,
    list_customers,
    lock_by_email,
    set_disabled,
    set_password_hash,
)
from appliance.storage.postgres.orgs import join_org
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import ensure_default_org
from appliance.storage.postgres.sessions import revoke_all_of

"""Somebody at the machine itself."""


class CreatedUser(Struct, frozen=True, kw_only=True):
    """A fresh user and where the role holds."""

    id: str
    email: str
    org_id: str
    role: Role


class DemoSession(Struct, frozen=True, kw_only=True):
    """A session of the demo account and the project it may look at."""

    session: Session
    project_id: str


class AccountsService:
    """Use-cases about dashboard users."""

    def __init__(
        self,
        database: Postgres,
        *,
        sessions: SessionsService,
        guard: SignInGuard,
        passwords: Passwords,
        clock: Clock,
        ids: IdMaker,
        audit: AuditLog,
        demo_email: str | None,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._guard = guard
        self._passwords = passwords
        self._clock = clock
        self._ids = ids
        self._audit = audit
        self._demo_email = demo_email

    async def sign_in(self, email: str, password: Secret, address: str) -> Session:
        """A session for address and password.

        Raises UnauthenticatedError (`INVALID_CREDENTIALS`) and, after too many tries,
        ExhaustedError.
        """
        await self._guard.admit_password(email, address)
        found = await find_by_email(self._database, email)
        stored = "" if found is None or found.disabled else found.password_hash
        if not await self._passwords.matches(password, stored) or found is None:
            raise _wrong()
        await self._guard.forgive(email, address)
        async with self._database.transaction() as transaction:
            # Locked, so that whoever disables them or replaces the password meanwhile has the say.
            current = await lock_by_email(transaction, found.email)
            if current is None or current.disabled or current.password_hash != stored:
                raise _wrong()
            return await self._sessions.open(
                transaction,
                customer_id=found.id,
                email=found.email,
                address=address,
                how="password",
            )

    async def demo_sign_in(self, address: str) -> DemoSession:
        """A session of the read-only demo account [services 5].

        Raises UnavailableError, and ExhaustedError when an address opens too many.
        """
        email = self._demo_email
        access = None if email is None else await find_demo_access(self._database, email)
        if email is None or access is None or access.role != Role.VIEWER.stored:
            raise UnavailableError("UNAVAILABLE", "there is no demo here")
        await self._guard.admit_demo(address)
        async with self._database.transaction() as transaction:
            session = await self._sessions.open(
                transaction,
                customer_id=access.customer_id,
                email=email,
                address=address,
                how="demo",
            )
        return DemoSession(session=session, project_id=access.project_id)

    async def load(self, customer_id: str) -> CustomerRow:
        """A person by id; raises UnauthenticatedError for one who is gone meanwhile."""
        found = await find_by_id(self._database, customer_id)
        if found is None:
            raise UnauthenticatedError("UNAUTHENTICATED", "this account does not exist any more")
        return found

    async def set_password(self, actor: Actor, customer_id: str, password: Secret) -> None:
        """Set or replace a password; sessions live on [services 3.5].

        Raises InvalidInputError (`PASSWORD_TOO_LONG`).
        """
        check_password(password.reveal())
        hashed = await self._passwords.hash(password)
        async with self._database.transaction() as transaction:
            await set_password_hash(transaction, customer_id, hashed)
            await self._audit.record(
                transaction,
                actor,
                "customer.set_password",
                subject_kind="customer",
                subject_id=customer_id,
            )

    async def create_user(
        self,
        email: str,
        password: Secret,
        *,
        role: Role,
        org_id: str | None = None,
        display_name: str = "",
        actor: Actor = OPERATOR,
    ) -> CreatedUser:
        """Make a user with a password and a role in an organisation (default: the oldest).

        Raises ConflictError when the address has a user, InvalidInputError for a bad address or
        password (`PASSWORD_TOO_LONG` above 72 bytes).
        """
        address = check_email(email)
        check_password(password.reveal())
        hashed = await self._passwords.hash(password)
        customer_id, now = self._ids.make(), self._clock.now()
        async with self._database.transaction() as transaction:
            org = org_id or await ensure_default_org(
                transaction, fresh_id=self._ids.make(), display_name=DEFAULT_NAME
            )
            made = await add_customer(
                transaction,
                customer_id=customer_id,
                email=address,
                display_name=(display_name or address.partition("@")[0])[:NAME_CHARACTERS_MAX],
                password_hash=hashed,
                verified_at=now,  # the operator vouches for the address
            )
            if not made:
                raise ConflictError(
                    "ALREADY_EXISTS",
                    f"there is a user with the address {address} already",
                    hint="see `pug-appliance user list`",
                )
            await join_org(transaction, org_id=org, customer_id=customer_id, role=role, at=now)
            await self._audit.record(
                transaction,
                actor,
                "customer.create",
                org_id=org,
                subject_kind="customer",
                subject_id=customer_id,
                details={"email": address, "role": role.value},
            )
        return CreatedUser(id=customer_id, email=address, org_id=org, role=role)

    async def list_users(self) -> tuple[ListedCustomer, ...]:
        """Everybody who may sign in or might once, oldest first."""
        return await list_customers(self._database)

    async def find(self, email: str) -> CustomerRow:
        """The user with this address; raises NotFoundError (`USER_NOT_FOUND`)."""
        found = await find_by_email(self._database, email.strip())
        if found is None:
            raise _no_user(email)
        return found

    async def replace_password(self, email: str, password: Secret, *, actor: Actor) -> None:
        """Set a user's password and let them try it at once; raises NotFoundError."""
        found = await self.find(email)
        await self.set_password(actor, found.id, password)
        await self._guard.release(found.email)

    async def set_enabled(self, email: str, *, enabled: bool, actor: Actor) -> None:
        """Refuse a user everywhere from now on and end their sessions, or let them in again.

        Raises NotFoundError (`USER_NOT_FOUND`).
        """
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            found = await lock_by_email(transaction, email.strip())
            if found is None:
                raise _no_user(email)
            await set_disabled(transaction, found.id, None if enabled else now)
            if not enabled:
                await revoke_all_of(transaction, found.id, now)
            await self._audit.record(
                transaction,
                actor,
                "customer.enable" if enabled else "customer.disable",
                subject_kind="customer",
                subject_id=found.id,
                details={"email": found.email},
            )


def _wrong() -> UnauthenticatedError:
    return UnauthenticatedError(
        "INVALID_CREDENTIALS", "the e-mail address or the password is wrong"
    )


def _no_user(email: str) -> NotFoundError:
    return NotFoundError(
        "USER_NOT_FOUND",
        f"there is no user with the address {email}",
        hint="see `pug-appliance user list`",
        resource=Resource(kind="customer", name=email),
    )
