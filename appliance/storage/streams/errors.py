"""NATS errors as ours, told apart by class and JetStream `err_code`.

Invariant: a failed publish is never silent: no acknowledgement is an UnavailableError, so that the
client sends the batch again; a full stream is one too (`QUEUE_FULL`): it is drained by itself.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import nats.errors
import nats.js.errors

from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    UnavailableError,
)

QUEUE_FULL: Final = "QUEUE_FULL"
WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
_FULL: Final = frozenset({10023, 10047, 10077, 10122})
_TOO_LARGE: Final = frozenset({10054})
_MISSING: Final = frozenset({10014, 10037, 10059})
_NOT_FOUND: Final = 404
_NO_SERVICE: Final = 503


@contextmanager
def stream_errors() -> Generator[None]:
    """Translate what the driver raises inside."""
    try:
        yield
    except ApplianceError:
        raise
    except nats.js.errors.KeyWrongLastSequenceError as error:
        raise conflict() from error
    except nats.js.errors.APIError as error:
        raise translate(error) from error
    except nats.js.errors.NoStreamResponseError as error:
        raise schema_missing() from error
    except nats.errors.MaxPayloadError as error:
        raise InvalidInputError("MESSAGE_TOO_LARGE", "a message is larger than allowed") from error
    except (nats.errors.AuthorizationError, nats.errors.InvalidUserCredentialsError) as error:
        raise MisconfiguredError(
            "QUEUE_REFUSED",
            "the queue refuses our sign-in",
            hint="check the user and password or the credentials file of nats",
        ) from error
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise unavailable() from error


def unavailable() -> UnavailableError:
    """The queue cannot be reached."""
    return UnavailableError(
        "UNAVAILABLE",
        "the queue does not answer",
        hint="see `pug-appliance status` and the log of nats",
    )


def conflict() -> ConflictError:
    """Somebody else changed the value meanwhile."""
    return ConflictError("ABORTED", "the value was changed meanwhile")


def schema_missing() -> UnavailableError:
    """The queue answers but has no such stream: it is starting, or never was migrated."""
    return UnavailableError(
        "UNAVAILABLE", "the queue has no such stream", hint="run `pug-appliance nats migrate`"
    )


def translate(error: nats.js.errors.APIError) -> ApplianceError:
    """The error of ours that a JetStream answer is."""
    code = error.err_code or 0
    made: ApplianceError
    if code in WRONG_LAST_SEQUENCE:
        made = conflict()
    elif code in _FULL:
        made = UnavailableError(
            QUEUE_FULL, "the queue is full", hint="free disk or let the workers catch up"
        )
    elif code in _TOO_LARGE:
        made = InvalidInputError("MESSAGE_TOO_LARGE", "a message is larger than allowed")
    elif code in _MISSING or error.code == _NOT_FOUND:
        made = NotFoundError("NOT_FOUND", "the queue has no such thing")
    elif error.code == _NO_SERVICE:
        made = unavailable()
    else:
        made = ApplianceError("INTERNAL", "the queue failed")
    made.fields.update({"jetstream_code": str(code)})
    return made
