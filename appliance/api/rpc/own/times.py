"""Instants of messages as instants of ours; finer than a microsecond is cut off."""

from datetime import UTC, datetime

from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.base.errors import InvalidInputError


def moment_of(sent: Timestamp | None) -> datetime:
    """The instant of a message; raises InvalidInputError for one outside the calendar."""
    assert sent is not None, "the schema needs it"
    try:
        return sent.to_datetime().astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInputError(
            "INVALID_ARGUMENT", "an instant lies outside the calendar"
        ) from error
