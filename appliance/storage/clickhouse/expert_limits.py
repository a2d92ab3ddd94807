"""What the engine holds an expert's query to: whose rows there are, and how much it may cost.

Invariant: these settings travel with the request and `readonly = 1` among them, so nothing in a
query can change one. `LOCKS` must be as they stand here or a query could see, by its errors,
whether rows of other projects exist: the project's filter has to come first and alone, before any
function of the query meets a row (decision 0033).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from appliance.domain.expert_sql.answers import Scope
from appliance.storage.clickhouse.client import Setting
from appliance.storage.clickhouse.expert_views import SCOPE_SETTING, STORED_TABLES
from appliance.storage.clickhouse.insights.settings import PAUSE_MS_MAX, PRIORITY_BULK

SECONDS_MAX: Final = 30
MEMORY_BYTES_MAX: Final = 1 << 30
SPILL_BYTES: Final = 256 << 20
DISK_BYTES_MAX: Final = 2 << 30
READ_ROWS_MAX: Final = 500_000_000
READ_BYTES_MAX: Final = 64 << 30
RESULT_ROWS_MAX: Final = 1_000_000
RESULT_BYTES_MAX: Final = 256 << 20
THREADS_MAX: Final = 1

LOCKS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "readonly": 1,
        "allow_ddl": 0,
        "allow_introspection_functions": 0,
        # the filter of the project stays a step of its own, the first one after reading
        "optimize_move_to_prewhere": 0,
        "query_plan_merge_filters": 0,
        # what one query learns of parts must not answer another
        "use_query_condition_cache": 0,
        "use_query_cache": 0,
    }
)
_LIMITS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "max_execution_time": SECONDS_MAX,
        "timeout_overflow_mode": "throw",
        "max_memory_usage": MEMORY_BYTES_MAX,
        "max_bytes_before_external_group_by": SPILL_BYTES,
        "max_bytes_before_external_sort": SPILL_BYTES,
        "max_temporary_data_on_disk_size_for_query": DISK_BYTES_MAX,
        "max_rows_to_read": READ_ROWS_MAX,
        "max_bytes_to_read": READ_BYTES_MAX,
        "read_overflow_mode": "throw",
        "max_result_rows": RESULT_ROWS_MAX,
        "max_result_bytes": RESULT_BYTES_MAX,
        "result_overflow_mode": "throw",
        "max_threads": THREADS_MAX,
        "priority": PRIORITY_BULK,
        "low_priority_query_wait_time_ms": PAUSE_MS_MAX,
        "max_ast_elements": 20_000,
        "max_expanded_ast_elements": 200_000,
        "max_subquery_depth": 50,
        # an answer is whole or an error: the server keeps it, on its disk, until it is complete
        "wait_end_of_query": 1,
        "cancel_http_readonly_queries_on_client_close": 1,
    }
)
_LOOKS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "output_format_pretty_color": 0,
        "output_format_pretty_row_numbers": 0,
        "output_format_pretty_max_rows": 10_000,
        "output_format_json_quote_64bit_integers": 1,
        "output_format_write_statistics": 0,
    }
)

READ_ONLY_CHECK: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        # the tree of a query is a table function, which `readonly = 1` has none of
        "readonly": 2,
        "max_execution_time": 5,
        "max_memory_usage": 256 << 20,
        "max_threads": 1,
        "max_ast_elements": 20_000,
        "max_expanded_ast_elements": 200_000,
        "wait_end_of_query": 1,
    }
)
"""For the look at a query's tree, which runs nothing of it."""


def project_filters(database: str, scope: Scope) -> str:
    """The filters of all stored tables as the engine writes a map."""
    pairs = (
        f"'{database}.{table}':'project_id = \\'{scope.project_id}\\''" for table in STORED_TABLES
    )
    return "{" + ",".join(pairs) + "}"


def query_settings(database: str, scope: Scope) -> dict[str, Setting]:
    """All settings of one query."""
    return {
        **LOCKS,
        **_LIMITS,
        **_LOOKS,
        SCOPE_SETTING: scope.project_id,
        "additional_table_filters": project_filters(database, scope),
    }
