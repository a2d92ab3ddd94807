-- Why: which kinds of event a project has [storage 3.4].
-- Locks: creates only. Size: one row per project and kind.
-- The `_repair` view fills the same table from the repair door of 0001 when a block reached
-- `events` but not this table (decision 0002).
CREATE TABLE IF NOT EXISTS event_names
(
    project_id LowCardinality(String),
    kind LowCardinality(String),
    event_count SimpleAggregateFunction(sum, UInt64),
    last_time SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    last_block SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (project_id, kind)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS event_names_feed TO event_names AS
SELECT
    project_id,
    kind,
    count() AS event_count,
    max(occur_time) AS last_time,
    max(insert_block) AS last_block
FROM events
WHERE insert_block >= 0
GROUP BY project_id, kind;

CREATE MATERIALIZED VIEW IF NOT EXISTS event_names_repair TO event_names AS
SELECT
    project_id,
    kind,
    count() AS event_count,
    max(occur_time) AS last_time,
    max(insert_block) AS last_block
FROM events_repair
WHERE repair_target = 'event_names'
GROUP BY project_id, kind;
