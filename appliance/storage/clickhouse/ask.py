"""Ask the event store a statement of ours.

Invariant: a statement that the server cannot read is our bug and reaches the caller as an internal
error, never as the caller's fault.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from clickhouse_connect.driver.external import ExternalData

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
        return await store.rows(statement.text, statement.parameters, settings, _tables(statement))
    except InvalidInputError as error:
        raise ApplianceError(
            "INTERNAL", "the event store refused a statement", fields=error.fields
        ) from error


def _tables(statement: Statement) -> ExternalData | None:
    """The tables that travel with a statement."""
    tables: ExternalData | None = None
    for name, texts in statement.tables.items():
        data = "".join(f"{_tsv(text)}\n" for text in texts).encode()
        if tables is None:
            tables = ExternalData(file_name=name, data=data, fmt="TSV", structure="id String")
        else:
            tables.add_file(file_name=name, data=data, fmt="TSV", structure="id String")
    return tables


def _tsv(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return escaped.replace("\r", "\\r").replace("\0", "\\0")
