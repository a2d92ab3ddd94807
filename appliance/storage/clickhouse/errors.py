"""ClickHouse's errors as ours, told apart by the server's numeric code.

Invariant: `InvalidInputError` means that the *rows* cannot be read, so sending them again cannot
help; everything else about an insert is worth another try. No text is looked at.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from aiohttp import ClientError
from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    ExhaustedError,
    InvalidInputError,
    MisconfiguredError,
    TimedOutError,
    UnavailableError,
)

ROWS_UNREADABLE: Final = "ROWS_UNREADABLE"
"""Reason of the InvalidInputError for rows that can never be stored."""

_UNREADABLE: Final = frozenset(
    {6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 321, 376, 441, 467, 472, 675, 676}
)
_EXHAUSTED: Final = frozenset({158, 202, 241, 243, 252, 307, 396, 439, 722})
_TIMED_OUT: Final = frozenset({159, 160, 209})
_UNAVAILABLE: Final = frozenset({100, 101, 102, 210, 236, 242, 279, 394, 425, 735})
_SCHEMA_MISSING: Final = frozenset({16, 47, 60, 81})
_EXISTS: Final = frozenset({57, 82})
_REFUSED: Final = frozenset({192, 193, 194, 497, 516})


@contextmanager
def clickhouse_errors() -> Generator[None]:
    """Translate what the driver raises inside."""
    try:
        yield
    except ApplianceError:
        raise
    except Error as error:
        raise translate(error.code) from error
    except TimeoutError as error:
        raise TimedOutError("DEADLINE_EXCEEDED", "the event store took too long") from error
    except (ClickHouseError, ClientError, OSError) as error:
        raise unavailable() from error


def unavailable() -> UnavailableError:
    """The event store cannot be reached."""
    return UnavailableError(
        "UNAVAILABLE",
        "the event store does not answer",
        hint="see `pug-appliance status` and the log of clickhouse",
    )


def translate(code: int | None) -> ApplianceError:
    """The error of ours for a server code; without a code the server was not reached."""
    fields = {"clickhouse_code": str(code)}
    error: ApplianceError
    if code is None or code in _UNAVAILABLE:
        error = unavailable()
    elif code in _UNREADABLE:
        error = InvalidInputError(ROWS_UNREADABLE, "the event store cannot read a row")
    elif code in _EXHAUSTED:
        error = ExhaustedError("RESOURCE_EXHAUSTED", "the event store is at a limit")
    elif code in _TIMED_OUT:
        error = TimedOutError("DEADLINE_EXCEEDED", "the event store took too long")
    elif code in _SCHEMA_MISSING:
        error = MisconfiguredError(
            "SCHEMA_MISSING",
            "the event store has not the tables of this release",
            hint="run `pug-appliance clickhouse migrate`",
        )
    elif code in _EXISTS:
        error = ConflictError("ALREADY_EXISTS", "it exists already in the event store")
    elif code in _REFUSED:
        error = MisconfiguredError(
            "DATABASE_REFUSED",
            "the event store refuses our sign-in",
            hint="check the user and password of clickhouse",
        )
    else:
        error = ApplianceError("INTERNAL", "the event store failed")
    error.fields.update(fields)
    return error
