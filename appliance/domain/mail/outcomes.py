"""What a provider's answer means: sent, never, or later [workers 4.4].

Invariant: pure tables, one for each provider, as the contract's test vectors have them. A transient
outcome is tried again by the worker; a permanent one ends as a dead letter at once.
"""

from enum import StrEnum
from typing import Final

_OK_MIN: Final = 200
_OK_MAX: Final = 299
_CLIENT_ERROR_MIN: Final = 400
_CONFLICT: Final = 409
_TOO_MANY: Final = 429
_SERVER_ERROR_MIN: Final = 500
_SMTP_PERMANENT_MIN: Final = 500
_BUSY_WITH_SAME_KEY: Final = "concurrent_idempotent_requests"
_SES_PERMANENT: Final = frozenset(
    {
        "BadRequestException",
        "MailFromDomainNotVerifiedException",
        "MessageRejected",
        "NotFoundException",
    }
)


class Outcome(StrEnum):
    """What became of an attempt to send."""

    SENT = "sent"
    PERMANENT = "permanent"
    TRANSIENT = "transient"


def resend_outcome(*, status: int, error_code: str, message_id: str) -> Outcome:
    """The meaning of Resend's answer; success without an id is no success."""
    if _OK_MIN <= status <= _OK_MAX:
        return Outcome.SENT if message_id else Outcome.PERMANENT
    if status == _CONFLICT:
        return Outcome.TRANSIENT if error_code == _BUSY_WITH_SAME_KEY else Outcome.PERMANENT
    if status == _TOO_MANY or status >= _SERVER_ERROR_MIN:
        return Outcome.TRANSIENT
    return Outcome.PERMANENT if status >= _CLIENT_ERROR_MIN else Outcome.TRANSIENT


def ses_outcome(*, status: int, error_type: str, message_id: str) -> Outcome:
    """The meaning of SES's answer; four kinds of error are final, everything else may pass."""
    if _OK_MIN <= status <= _OK_MAX:
        return Outcome.SENT if message_id else Outcome.PERMANENT
    return Outcome.PERMANENT if error_type in _SES_PERMANENT else Outcome.TRANSIENT


def smtp_outcome(code: int) -> Outcome:
    """The meaning of a refusing reply to AUTH, MAIL, RCPT or DATA."""
    return Outcome.PERMANENT if code >= _SMTP_PERMANENT_MIN else Outcome.TRANSIENT
