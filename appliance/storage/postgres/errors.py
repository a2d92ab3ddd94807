"""PostgreSQL's errors as ours, told apart by SQLSTATE.

Invariant: whatever the driver raises leaves this room as an `ApplianceError` with its cause. A
unique violation becomes a ConflictError whose reason the caller chooses by constraint name.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import asyncpg

from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    ExhaustedError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    TimedOutError,
    UnavailableError,
)

UNIQUE_VIOLATION: Final = "23505"
FOREIGN_KEY_VIOLATION: Final = "23503"


@contextmanager
def postgres_errors() -> Generator[None]:
    """Translate what the driver raises inside."""
    try:
        yield
    except ApplianceError:
        raise
    except asyncpg.PostgresError as error:
        raise translate(error) from error
    except TimeoutError as error:
        raise TimedOutError(
            "DEADLINE_EXCEEDED", "the database did not answer in time", hint="see its log"
        ) from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise unavailable() from error


def unavailable() -> UnavailableError:
    """The database cannot be reached."""
    return UnavailableError(
        "UNAVAILABLE",
        "the database does not answer",
        hint="see `pug-appliance status` and the log of postgres",
    )


def translate(error: asyncpg.PostgresError) -> ApplianceError:
    """The error of ours that a server error is; the full state wins over its class."""
    state = str(getattr(error, "sqlstate", ""))
    make = _BY_STATE.get(state) or _BY_STATE.get(state[:2])
    if make is None:
        return ApplianceError("INTERNAL", "the database failed", fields={"sqlstate": state})
    made = make()
    made.fields.update(_constraint(error))
    return made


def _refused() -> MisconfiguredError:
    return MisconfiguredError(
        "DATABASE_REFUSED",
        "the database refuses our sign-in",
        hint="check the database's name, user and password",
    )


def _bad_value() -> InvalidInputError:
    return InvalidInputError("INVALID_ARGUMENT", "a value does not fit the database")


def _constraint(error: asyncpg.PostgresError) -> dict[str, str]:
    name: object = getattr(error, "constraint_name", None)
    return {"constraint": str(name)} if name else {}


_BY_STATE: Final[dict[str, Callable[[], ApplianceError]]] = {
    UNIQUE_VIOLATION: lambda: ConflictError("ALREADY_EXISTS", "it exists already"),
    FOREIGN_KEY_VIOLATION: lambda: NotFoundError("NOT_FOUND", "what it belongs to is gone"),
    "57014": lambda: TimedOutError("DEADLINE_EXCEEDED", "the database took too long"),
    "42P01": lambda: MisconfiguredError(
        "SCHEMA_MISSING",
        "the database has no tables yet",
        hint="run `pug-appliance postgres migrate`",
    ),
    "08": unavailable,
    "57": unavailable,
    "53": lambda: ExhaustedError("RESOURCE_EXHAUSTED", "the database is at a limit"),
    "28": _refused,
    "3D": _refused,
    "22": _bad_value,
    "23": _bad_value,
}
