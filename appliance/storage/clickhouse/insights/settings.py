"""What one insight may take from the event store.

Invariant: every question has limits of time, memory, threads and rows; large groupings spill to
disk before they fail [insights 21.4]. Every question comes after what the events worker does
(`PRIORITY_ROWS` in `inserts.py`), and an engine of ours holds it to a share of itself
(`clickhouse_http/limits.py`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from appliance.storage.clickhouse.client import Setting

_MEBIBYTE: Final = 1 << 20

SECONDS_MAX: Final = 30
"""Below the client's own patience, so the server's word arrives."""

MEMORY_BYTES_MAX: Final = 2048 * _MEBIBYTE
SPILL_BYTES: Final = 1024 * _MEBIBYTE
"""As much as the reference; half of it sent the sessions of a large project to disk for nothing."""

THREADS_MAX: Final = 4
RESULT_ROWS_MAX: Final = 500_000
"""A trend of 200 kinds, 11 tuples each and 200 buckets still fits."""

STATEMENT_BYTES_MAX: Final = 4 * _MEBIBYTE

PRIORITY_LIGHT: Final = 2
"""The smallest number goes first; the others pause while it runs (decision 0037). 1 is of rows."""

PRIORITY_HEAVY: Final = 3
PRIORITY_QUIET: Final = 4
PRIORITY_BULK: Final = 5
"""Of an export: whoever waits for a file waits for minutes."""

PAUSE_MS_MAX: Final = 100
"""How long a question pauses at each step for one before it: it goes on, if slowly."""

INSIGHT: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "max_execution_time": SECONDS_MAX,
        "max_memory_usage": MEMORY_BYTES_MAX,
        "max_bytes_before_external_group_by": SPILL_BYTES,
        "max_bytes_before_external_sort": SPILL_BYTES,
        "max_threads": THREADS_MAX,
        "max_result_rows": RESULT_ROWS_MAX,
        "result_overflow_mode": "throw",
        "max_query_size": STATEMENT_BYTES_MAX,
        "max_ast_elements": 500_000,
        "max_expanded_ast_elements": 2_000_000,
        "cancel_http_readonly_queries_on_client_close": 1,
        "priority": PRIORITY_LIGHT,
        "low_priority_query_wait_time_ms": PAUSE_MS_MAX,
    }
)
"""The class of statements that answer insights."""

HEAVY: Final[Mapping[str, Setting]] = MappingProxyType({"priority": PRIORITY_HEAVY})
"""What differs for a question that reads events."""

QUIET: Final[Mapping[str, Setting]] = MappingProxyType(
    {"priority": PRIORITY_QUIET, "max_threads": 1}
)
"""What differs for a question that nobody waits for, like that of a report."""
