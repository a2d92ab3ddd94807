"""What every provider is to us: something that takes a mail and answers within half a minute.

Invariant: `send` returns only when the provider took the mail over; a final refusal is UnmetError
(`MAIL_REFUSED`), everything that may pass is UnavailableError (`MAIL_PROVIDER_UNAVAILABLE`). No
error text holds a link, a password or a key.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from msgspec import Struct

from appliance.base.errors import ApplianceError, UnavailableError, UnmetError
from appliance.domain.mail.letters import Letter

SEND_SECONDS_MAX: Final = 25.0
"""Below the worker's limit for a message, so that the attempt's own error is told."""
_REMARK_CHARACTERS_MAX: Final = 300


class Mail(Struct, frozen=True, kw_only=True):
    """A letter with its addresses; `key` is the same for every attempt at the same mail."""

    sender: str
    reply_to: str
    recipient: str
    letter: Letter
    key: str


class Receipt(Struct, frozen=True, kw_only=True):
    """That a provider took a mail: which, and the id it gave."""

    provider: str
    message_id: str


class Carrier(Protocol):
    """A provider, ready to send."""

    @property
    def name(self) -> str:
        """What to call it, like `smtp relay.example:587`."""
        ...

    async def send(self, mail: Mail, /) -> Receipt:
        """Hand a mail over; raises UnmetError or UnavailableError."""
        ...


def refused(carrier: str, remark: str) -> ApplianceError:
    """A final refusal."""
    return UnmetError(
        "MAIL_REFUSED",
        f"{carrier} refuses the mail: {_shortened(remark)}",
        hint="try `pug-appliance mail test` after changing the mail settings",
    )


def unavailable(carrier: str, remark: str) -> ApplianceError:
    """A failure that may pass."""
    return UnavailableError(
        "MAIL_PROVIDER_UNAVAILABLE",
        f"{carrier} does not take the mail now: {_shortened(remark)}",
        hint="check address, port and network.outgoing",
    )


def without_secrets(error: ApplianceError, secrets: Mapping[str, str]) -> ApplianceError:
    """The same error, its text without what must not be told, even if a provider repeats it."""
    text = error.message
    for name, secret in secrets.items():
        if secret:
            text = text.replace(secret, f"[{name}]")
    if text == error.message:
        return error
    return type(error)(error.reason, text, hint=error.hint)


def _shortened(remark: str) -> str:
    return " ".join(remark.split())[:_REMARK_CHARACTERS_MAX] or "no reason given"
