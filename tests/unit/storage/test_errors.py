"""Driver errors as ours: by code, never by text."""

import asyncpg
import nats.errors
import nats.js.errors
import pytest

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
from appliance.storage.clickhouse.errors import translate as translate_clickhouse
from appliance.storage.postgres.errors import postgres_errors
from appliance.storage.streams.errors import stream_errors


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (asyncpg.UniqueViolationError("x"), ConflictError),
        (asyncpg.ForeignKeyViolationError("x"), NotFoundError),
        (asyncpg.QueryCanceledError("x"), TimedOutError),
        (asyncpg.AdminShutdownError("x"), UnavailableError),
        (asyncpg.CannotConnectNowError("x"), UnavailableError),
        (asyncpg.TooManyConnectionsError("x"), ExhaustedError),
        (asyncpg.InvalidPasswordError("x"), MisconfiguredError),
        (asyncpg.UndefinedTableError("x"), MisconfiguredError),
        (asyncpg.StringDataRightTruncationError("x"), InvalidInputError),
        (asyncpg.InterfaceError("x"), UnavailableError),
        (ConnectionRefusedError(), UnavailableError),
        (TimeoutError(), TimedOutError),
    ],
)
def test_postgres(raised: Exception, ours: type[ApplianceError]) -> None:
    with pytest.raises(ours) as caught, postgres_errors():
        raise raised
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        (None, UnavailableError),
        (210, UnavailableError),
        (27, InvalidInputError),
        (41, InvalidInputError),
        (376, InvalidInputError),
        (241, ExhaustedError),
        (159, TimedOutError),
        (60, MisconfiguredError),
        (516, MisconfiguredError),
        (57, ConflictError),
        (49, ApplianceError),
    ],
)
def test_clickhouse(code: int | None, ours: type[ApplianceError]) -> None:
    assert type(translate_clickhouse(code)) is ours


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (nats.errors.TimeoutError(), UnavailableError),
        (nats.errors.ConnectionClosedError(), UnavailableError),
        (nats.errors.NoServersError(), UnavailableError),
        (nats.errors.MaxPayloadError(), InvalidInputError),
        (nats.js.errors.NoStreamResponseError(), UnavailableError),
        (nats.js.errors.APIError(code=400, err_code=10071), ConflictError),
        (nats.js.errors.APIError(code=503, err_code=10077), UnavailableError),
        (nats.js.errors.ServiceUnavailableError(code=503, err_code=10008), UnavailableError),
        (nats.js.errors.NotFoundError(code=404, err_code=10037), NotFoundError),
        (OSError(), UnavailableError),
    ],
)
def test_streams(raised: Exception, ours: type[ApplianceError]) -> None:
    with pytest.raises(ours) as caught, stream_errors():
        raise raised
    assert caught.value.__cause__ is raised
