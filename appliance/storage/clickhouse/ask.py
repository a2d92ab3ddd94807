"""Ask the event store a statement of ours.

Invariant: a statement that the server cannot read is our bug and reaches the caller as an internal
error, never as the caller's fault.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.fragment import Statement

_AS_IT_IS: Final[Mapping[str, Setting]] = MappingProxyType({})


async def ask(
    store: ClickHouse, statement: Statement, differing: Mapping[str, Setting] = _AS_IT_IS
) -> Sequence[Row]:
    """The rows of a statement; `differing` are settings in place of those of its class.

    Raises UnavailableError, TimedOutError or ExhaustedError when the event store cannot.
    """
    try:
        settings = {**statement.settings, **differing}
        return await store.rows(statement.text, statement.parameters, settings)
    except InvalidInputError as error:
        raise ApplianceError(
            "INTERNAL", "the event store refused a statement", fields=error.fields
        ) from error
