"""Reads a Parquet file as JSON lines, in a process of its own without any store.

Invariant: the file is named to the engine by its open descriptor, so nothing in its name is taken
for a pattern or an archive; rows leave in the order of the file, one at a time, and memory is
bounded by what one row group takes. The first line tells how many rows there are and which columns
are fractions, because JSON writes 1.0 as 1.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import InvalidInputError
from appliance.clickhouse_http.engine import Connection, EngineError, open_memory
from appliance.clickhouse_http.table_head import TableHead

MEMORY_BYTES_MAX: Final = 1 << 30
_SETTINGS: Final = {
    "max_threads": "1",
    "max_block_size": "4096",
    "max_memory_usage": str(MEMORY_BYTES_MAX),
    "input_format_parquet_preserve_order": "1",
    # without these the reader runs ahead: 730 MB instead of 325 MB for a million rows
    "max_parsing_threads": "1",
    "output_format_parallel_formatting": "0",
    "input_format_parquet_memory_low_watermark": str(16 << 20),
    "input_format_parquet_memory_high_watermark": str(64 << 20),
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_64bit_floats": "0",
    "output_format_json_escape_forward_slashes": "0",
    "date_time_output_format": "iso",
    "session_timezone": "UTC",
}


def write_table(path: Path, *, skip: int, descriptor: int) -> None:
    """Write the rows behind the first `skip` ones into an open descriptor.

    Raises InvalidInputError when the file is no Parquet file or damaged.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInputError(
            "FILE_UNREADABLE", f"cannot read {path}: {error.strerror}"
        ) from error
    table = f"file('/proc/self/fd/{file}', 'Parquet')"
    try:
        connection = open_memory()
        connection.set_values(_SETTINGS)
        os.write(descriptor, msgspec.json.encode(_describe(connection, table)) + b"\n")
        target = f"INTO OUTFILE '/proc/self/fd/{descriptor}' APPEND FORMAT JSONEachRow"
        rows = f"SELECT * FROM {table} LIMIT {2**62} OFFSET {skip}"  # noqa: S608 a number and a descriptor of ours
        connection.run(f"{rows} {target}".encode())
        connection.close()
    except EngineError as error:
        why = error.message.partition("\n")[0]
        raise InvalidInputError(
            "FILE_DAMAGED", f"{path} cannot be read as Parquet: {why}"
        ) from error
    finally:
        os.close(file)


def _describe(connection: Connection, table: str) -> TableHead:
    counted = connection.run(f"SELECT count() FROM {table}".encode())  # noqa: S608 a descriptor of ours
    described = connection.run(f"DESCRIBE TABLE {table}".encode(), output="JSONCompactEachRow")
    columns = [msgspec.json.decode(line, type=list[str]) for line in described.body.splitlines()]
    return TableHead(
        rows=int(counted.body),
        fractions=tuple(name for name, kind, *_ in columns if "Float" in kind),
    )
