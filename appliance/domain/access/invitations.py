"""How long an invitation holds, how often it is sent, who may still accept it [services 3.7].

Invariant: only time ends an invitation quietly: an expired one stays pending, opens nothing, and
can be sent again, which starts a full lifetime.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

LIFETIME: Final = timedelta(days=7)
SENDS_MAX: Final = 10
"""Mails of one invitation in any `SENDS_WINDOW`, the first one included."""
SENDS_WINDOW: Final = timedelta(hours=24)
TOKEN_BYTES: Final = 16
ADDRESS_CHARACTERS_MAX: Final = 255
_ADDRESS: Final = re.compile(r"[^@\s\0]+@[^@\s\0]+")


class InvitationState(StrEnum):
    """Where an invitation is; the values are those of the database and the wire."""

    PENDING = "INVITATION_STATUS_PENDING"
    ACCEPTED = "INVITATION_STATUS_ACCEPTED"


def is_address(text: str) -> bool:
    """Whether a text can be an e-mail address that is stored; the face's schema is stricter."""
    return len(text) <= ADDRESS_CHARACTERS_MAX and _ADDRESS.fullmatch(text) is not None


def may_send(sent_at: Iterable[datetime], now: datetime) -> bool:
    """Whether one more mail of an invitation keeps within the limit."""
    since = now - SENDS_WINDOW
    return sum(at > since for at in sent_at) < SENDS_MAX


def may_accept(state: InvitationState, expires_at: datetime, now: datetime) -> bool:
    """Whether a link of the invitation still opens the organisation."""
    return state is InvitationState.PENDING and now < expires_at


def shown_expiry(expires_at: datetime) -> str:
    """The end of an invitation as `YYYY-MM-DDTHH:MM:SSZ`."""
    return f"{expires_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
