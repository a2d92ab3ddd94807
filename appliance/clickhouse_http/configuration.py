"""The configuration file of the engine, written new at every start.

Invariant: an insert that was acknowledged is on the disk: parts, their folders and metadata are
flushed before the answer. The only log the engine keeps is that of slow statements, for three days.
"""

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

PROFILE_NAME: Final = "engine-profile.xml"
_TEMPLATE: Final = """<clickhouse>
  <users_config>{profile_file}</users_config>
  <max_server_memory_usage>{memory_bytes_max}</max_server_memory_usage>
  <mark_cache_size>{cache_bytes}</mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <merge_tree>
    <min_free_disk_bytes_to_perform_insert>{free_bytes_min}</min_free_disk_bytes_to_perform_insert>
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
    <min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>
    <min_compressed_bytes_to_fsync_after_merge>1</min_compressed_bytes_to_fsync_after_merge>
  </merge_tree>
  <backups>
    <allowed_path>{backup_dir}</allowed_path>
  </backups>
  <query_log>
    <database>system</database>
    <table>query_log</table>
    <flush_interval_milliseconds>1500</flush_interval_milliseconds>
    <ttl>event_date + INTERVAL 3 DAY DELETE</ttl>
  </query_log>
</clickhouse>
"""
# A process that may not make memory executable cannot compile queries as they run. In the profile
# it counts for background work, too: a mutation that is compiled all the same would never end.
PROFILE: Final = """<clickhouse>
  <profiles>
    <default>
      <compile_expressions>0</compile_expressions>
      <compile_aggregate_expressions>0</compile_aggregate_expressions>
      <compile_sort_description>0</compile_sort_description>
      <compile_regular_expressions>0</compile_regular_expressions>
    </default>
  </profiles>
  <users>
    <default>
      <password></password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <named_collection_control>1</named_collection_control>
    </default>
  </users>
  <quotas><default></default></quotas>
</clickhouse>
"""
_LOGGED_FROM_MS: Final = 100
_CACHE_DIVISOR: Final = 16
_CACHE_BYTES_MAX: Final = 256 << 20


def render_configuration(
    *, memory_bytes_max: int, free_bytes_min: int, backup_dir: Path, profile_file: Path
) -> str:
    """The file's text for an engine that may use this much memory and write backups there.

    `profile_file` is where `PROFILE` lies.

    Rows are refused while less than `free_bytes_min` of the disk is free.
    """
    return _TEMPLATE.format(
        memory_bytes_max=memory_bytes_max,
        free_bytes_min=free_bytes_min,
        backup_dir=escape(f"{backup_dir}/"),
        profile_file=escape(str(profile_file)),
        cache_bytes=min(_CACHE_BYTES_MAX, memory_bytes_max // _CACHE_DIVISOR),
    )


def query_settings(*, memory_bytes_max: int) -> dict[str, str]:
    """Settings every statement starts with; a request may change them."""
    return {
        "max_memory_usage": str(memory_bytes_max),
        "fsync_metadata": "1",
        "log_queries": "1",
        # Slow statements are what an operator looks for. All of them were 100 rows a second with
        # one sender and one reader, which is 5 GB in the three days they are kept.
        "log_queries_min_type": "QUERY_FINISH",
        "log_queries_min_query_duration_ms": str(_LOGGED_FROM_MS),
        # What chDB sets differently from the server.
        "implicit_select": "0",
        "allow_introspection_functions": "0",
    }
