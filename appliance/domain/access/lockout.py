"""How many attempts are allowed before somebody has to wait.

Invariant: an attempt is counted before it is tried, so that attempts at the same moment cannot
outrun the limit; addresses nobody has an account for are counted like any other, so that waiting
tells nothing. Success forgives what the account has counted, and its own attempt to the address.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct


class Scope(StrEnum):
    """What is counted: tries of a password, or requests for a link, by account or by origin."""

    ACCOUNT = "account"
    ADDRESS = "address"
    LINK_ACCOUNT = "link_account"
    LINK_ADDRESS = "link_address"


class Limit(Struct, frozen=True, kw_only=True):
    """So many attempts in a window that begins with the first of them."""

    attempts: int
    window: timedelta


LIMITS: Final[dict[Scope, Limit]] = {
    Scope.ACCOUNT: Limit(attempts=10, window=timedelta(minutes=15)),
    Scope.ADDRESS: Limit(attempts=100, window=timedelta(minutes=15)),
    Scope.LINK_ACCOUNT: Limit(attempts=5, window=timedelta(hours=1)),
    Scope.LINK_ADDRESS: Limit(attempts=50, window=timedelta(hours=1)),
}
"""An address may be a whole office behind one proxy, an account is one person."""
