-- Why: which property keys and types a project's events have [storage 3.5]. Indexed at insert time,
-- so a key is known within a second and late events count too; the reference looks back 15 minutes.
-- Locks: creates only. Cost of the feed: under 1 us an event. `value_type` is the tag letter of
-- decision 0001; `source` is auto or custom.
-- The `_repair` view fills the same table from the repair door of 0001 when a block reached
-- `events` but not this table (decision 0002).
CREATE TABLE IF NOT EXISTS property_keys_event_buckets
(
    project_id LowCardinality(String),
    source LowCardinality(String),
    kind LowCardinality(String),
    bucket DateTime64(0, 'UTC'),
    key String,
    value_type LowCardinality(String),
    event_count SimpleAggregateFunction(sum, UInt64),
    last_time SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    last_block SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (project_id, source, kind, key, value_type, bucket)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS property_keys_event_buckets_feed TO property_keys_event_buckets AS
SELECT
    project_id,
    slot.1 AS source,
    kind,
    date_trunc('hour', occur_time) AS bucket,
    slot.2 AS key,
    substring(slot.3, 1, 1) AS value_type,
    count() AS event_count,
    max(occur_time) AS last_time,
    max(insert_block) AS last_block
FROM events
ARRAY JOIN
    arrayConcat(
        arrayMap((k, v) -> ('auto', k, v), mapKeys(auto_properties), mapValues(auto_properties)),
        arrayMap((k, v) -> ('custom', k, v), mapKeys(custom_properties), mapValues(custom_properties))
    ) AS slot
WHERE insert_block >= 0
GROUP BY project_id, source, kind, bucket, key, value_type;

CREATE MATERIALIZED VIEW IF NOT EXISTS property_keys_event_buckets_repair TO property_keys_event_buckets AS
SELECT
    project_id,
    slot.1 AS source,
    kind,
    date_trunc('hour', occur_time) AS bucket,
    slot.2 AS key,
    substring(slot.3, 1, 1) AS value_type,
    count() AS event_count,
    max(occur_time) AS last_time,
    max(insert_block) AS last_block
FROM events_repair
ARRAY JOIN
    arrayConcat(
        arrayMap((k, v) -> ('auto', k, v), mapKeys(auto_properties), mapValues(auto_properties)),
        arrayMap((k, v) -> ('custom', k, v), mapKeys(custom_properties), mapValues(custom_properties))
    ) AS slot
WHERE repair_target = 'property_keys_event_buckets'
GROUP BY project_id, source, kind, bucket, key, value_type;
