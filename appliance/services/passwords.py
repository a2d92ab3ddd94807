"""Hashing and checking passwords: bcrypt, in a thread, a few at a time.

Invariant: a check costs the same whether or not there is a password to compare with, so that the
time of an answer tells nobody who has an account [services 3.5].
"""

import asyncio
import secrets
from typing import Final

import bcrypt

from appliance.config.secrets import Secret

BCRYPT_COST: Final = 10
AT_ONCE_MAX: Final = 2
"""Checks at the same time: guessing must not take the processors away from ingestion."""


class Passwords:
    """Hashes and checks; `checks` counts the checks that were made."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._nobodys = ""
        self.checks = 0

    async def hash(self, password: Secret) -> str:
        """The stored form of a password."""
        async with self._slots:
            return await asyncio.to_thread(hash_password, password)

    async def matches(self, password: Secret, stored: str) -> bool:
        """Whether a password is the one stored; an empty `stored` never matches, as slowly."""
        async with self._slots:
            self.checks += 1
            if not self._nobodys:
                self._nobodys = await asyncio.to_thread(hash_password, _random_password())
            same = await asyncio.to_thread(_check, password, stored or self._nobodys)
        return same and bool(stored)


def hash_password(password: Secret) -> str:
    """The stored form of a password; slow on purpose."""
    salt = bcrypt.gensalt(rounds=BCRYPT_COST)
    return bcrypt.hashpw(password.reveal().encode(), salt).decode("ascii")


def _check(password: Secret, stored: str) -> bool:
    try:
        return bcrypt.checkpw(password.reveal().encode(), stored.encode())
    except ValueError:  # too long for bcrypt, or a stored form that is none of its own
        return False


def _random_password() -> Secret:
    return Secret(secrets.token_hex(16))
