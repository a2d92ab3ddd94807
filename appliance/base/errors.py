"""The one tree of errors, eleven kinds.

Invariant: the *kind* of an error fixes its four translations (Connect code, HTTP status, worker
verdict, exit status), so no door decides anew. Errors are told apart by class and reason token,
never by text. The doors that translate: storage, engines and supervisor (driver or operating
system to ours), api, workers and cli (ours to the wire, a verdict, a line).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

import msgspec


class ConnectCode(StrEnum):
    """The sixteen codes of the Connect protocol [services 2.2]."""

    CANCELED = "canceled"
    UNKNOWN = "unknown"
    INVALID_ARGUMENT = "invalid_argument"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    PERMISSION_DENIED = "permission_denied"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    FAILED_PRECONDITION = "failed_precondition"
    ABORTED = "aborted"
    OUT_OF_RANGE = "out_of_range"
    UNIMPLEMENTED = "unimplemented"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    DATA_LOSS = "data_loss"
    UNAUTHENTICATED = "unauthenticated"


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule of a message or a setting.

    `field` is the dotted path without list indexes; empty for a rule on the whole.
    """

    field: str
    description: str


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """The thing an error is about, for `google.rpc.ResourceInfo` [services 2.2]."""

    kind: str
    name: str


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that was met, for `google.rpc.QuotaFailure`: whose it is, and which."""

    subject: str
    description: str


class ApplianceError(Exception):
    """An expected failure: a reason token, a public sentence that leaks nothing, a remedy.

    `reason` is a token of [services 2.4] or one of ours in the same form; `message` may be shown
    to anybody; `hint` tells the operator what to do; `fields` go to the log only;
    `retry_seconds` says when trying again may help, where that is known.
    """

    code: ClassVar[ConnectCode] = ConnectCode.INTERNAL
    transient: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        hint: str = "",
        fields: Mapping[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        resource: Resource | None = None,
        quota: Quota | None = None,
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint
        self.fields = dict(fields or {})
        self.violations = violations
        self.resource = resource
        self.quota = quota
        self.retry_seconds = retry_seconds

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InvalidInputError(ApplianceError):
    """What was sent breaks a rule; sending it again cannot help."""

    code = ConnectCode.INVALID_ARGUMENT
    exit_status = 2


class UnauthenticatedError(ApplianceError):
    """No credential, or one that is not ours."""

    code = ConnectCode.UNAUTHENTICATED


class ForbiddenError(ApplianceError):
    """A known caller without the right."""

    code = ConnectCode.PERMISSION_DENIED


class NotFoundError(ApplianceError):
    """The thing named does not exist for this caller."""

    code = ConnectCode.NOT_FOUND


class ConflictError(ApplianceError):
    """The thing exists already."""

    code = ConnectCode.ALREADY_EXISTS


class UnmetError(ApplianceError):
    """A precondition of the operation does not hold; `exit_status` is set per use."""

    code = ConnectCode.FAILED_PRECONDITION
    exit_status = 4


class MisconfiguredError(ApplianceError):
    """A setting, secret or file of the installation is wrong; the process ends."""

    code = ConnectCode.INTERNAL
    exit_status = 3


class ExhaustedError(ApplianceError):
    """A limit is reached; trying later may help."""

    code = ConnectCode.RESOURCE_EXHAUSTED
    transient = True


class UnavailableError(ApplianceError):
    """Something we depend on does not answer; consumers pause."""

    code = ConnectCode.UNAVAILABLE
    transient = True
    exit_status = 7


class TimedOutError(ApplianceError):
    """No answer within the limit."""

    code = ConnectCode.DEADLINE_EXCEEDED
    transient = True
    exit_status = 7


class DamagedError(ApplianceError):
    """Stored bytes are not what was written."""

    code = ConnectCode.DATA_LOSS


class UnservedError(ApplianceError):
    """The contract knows the operation, this release does not serve it yet."""

    code = ConnectCode.UNIMPLEMENTED


EXIT_BUG = 70
"""Exit status of a process that met an error nobody expected."""

HTTP_STATUS: dict[ConnectCode, int] = {
    ConnectCode.CANCELED: 499,
    ConnectCode.UNKNOWN: 500,
    ConnectCode.INVALID_ARGUMENT: 400,
    ConnectCode.DEADLINE_EXCEEDED: 504,
    ConnectCode.NOT_FOUND: 404,
    ConnectCode.ALREADY_EXISTS: 409,
    ConnectCode.PERMISSION_DENIED: 403,
    ConnectCode.RESOURCE_EXHAUSTED: 429,
    ConnectCode.FAILED_PRECONDITION: 400,
    ConnectCode.ABORTED: 409,
    ConnectCode.OUT_OF_RANGE: 400,
    ConnectCode.UNIMPLEMENTED: 501,
    ConnectCode.INTERNAL: 500,
    ConnectCode.UNAVAILABLE: 503,
    ConnectCode.DATA_LOSS: 500,
    ConnectCode.UNAUTHENTICATED: 401,
}
"""HTTP status of a Connect unary error [services 2.2]."""
