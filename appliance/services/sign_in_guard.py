"""Limits guessing: counts attempts by account and by origin, and refuses what is too many."""

import hashlib
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ExhaustedError
from appliance.domain.access.lockout import LIMITS, Scope
from appliance.storage.postgres.guards import count_attempt, forget_attempts, take_back_attempt
from appliance.storage.postgres.pool import Postgres

_LOG: Final = structlog.stdlib.get_logger()
_TOO_MANY: Final = "too many attempts; wait a while and try again"


class SignInGuard:
    """Counts in the database, with subjects hashed."""

    def __init__(self, database: Postgres, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def admit_password(self, email: str, address: str) -> None:
        """Count a try of a password; raises ExhaustedError when it may not be made."""
        await self._admit(address, (Scope.ACCOUNT, email.lower()), (Scope.ADDRESS, address))

    async def admit_link(self, email: str, address: str) -> None:
        """Count a request for a link; raises ExhaustedError when it may not be made."""
        await self._admit(
            address, (Scope.LINK_ACCOUNT, email.lower()), (Scope.LINK_ADDRESS, address)
        )

    async def admit_demo(self, address: str) -> None:
        """Count a visit of the demo; raises ExhaustedError when there are too many."""
        await self._admit(address, (Scope.ADDRESS, f"demo {address}"))

    async def forgive(self, email: str, address: str) -> None:
        """A password was right: the account counts anew, the origin without this attempt."""
        await forget_attempts(self._database, Scope.ACCOUNT.value, _hash(email.lower()))
        await take_back_attempt(self._database, Scope.ADDRESS.value, _hash(address))

    async def release(self, email: str) -> None:
        """Let an account be tried again at once, for the operator."""
        for scope in (Scope.ACCOUNT, Scope.LINK_ACCOUNT):
            await forget_attempts(self._database, scope.value, _hash(email.lower()))

    async def _admit(self, address: str, *subjects: tuple[Scope, str]) -> None:
        """Count every subject, also after one is over its limit: all calls do the same work."""
        now = self._clock.now()
        refused = False
        for scope, subject in subjects:
            limit = LIMITS[scope]
            count = await count_attempt(
                self._database, scope.value, _hash(subject), now=now, oldest=now - limit.window
            )
            refused = refused or count > limit.attempts
            if count == limit.attempts + 1:
                _LOG.warning("sign_in_limited", scope=scope, client=address)
        if refused:
            raise ExhaustedError("RESOURCE_EXHAUSTED", _TOO_MANY)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
