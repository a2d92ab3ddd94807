"""Ask the event store a statement of ours.

Invariant: a statement that the server cannot read is our bug and reaches the caller as an internal
error, never as the caller's fault.
"""

from collections.abc import Sequence

from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.storage.clickhouse.client import ClickHouse, Row
from appliance.storage.clickhouse.fragment import Statement


async def ask(store: ClickHouse, statement: Statement) -> Sequence[Row]:
    """The rows of a statement.

    Raises UnavailableError, TimedOutError or ExhaustedError when the event store cannot.
    """
    try:
        return await store.rows(statement.text, statement.parameters, statement.settings)
    except InvalidInputError as error:
        raise ApplianceError(
            "INTERNAL", "the event store refused a statement", fields=error.fields
        ) from error
