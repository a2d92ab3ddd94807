-- Why: person lists and summaries without reading events [storage 3.3]; cookieless ids never enter.
-- Locks: creates only. Cost of the feed: about 2 us an event.
-- The `_repair` view fills the same table from the repair door of 0001 when a block reached
-- `events` but not this table (decision 0002).
CREATE TABLE IF NOT EXISTS distinct_id_activity_states
(
    project_id LowCardinality(String),
    distinct_id String,
    first_time SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_time SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    event_count SimpleAggregateFunction(sum, UInt64),
    page_view_count SimpleAggregateFunction(sum, UInt64),
    sessions AggregateFunction(uniq, UUID),
    browser AggregateFunction(argMax, String, Tuple(DateTime64(3, 'UTC'), UUID)),
    browser_version AggregateFunction(argMax, String, Tuple(DateTime64(3, 'UTC'), UUID)),
    os AggregateFunction(argMax, String, Tuple(DateTime64(3, 'UTC'), UUID)),
    os_version AggregateFunction(argMax, String, Tuple(DateTime64(3, 'UTC'), UUID)),
    device AggregateFunction(argMax, String, Tuple(DateTime64(3, 'UTC'), UUID)),
    country AggregateFunction(argMax, String, Tuple(DateTime64(3, 'UTC'), UUID)),
    region AggregateFunction(argMax, String, Tuple(DateTime64(3, 'UTC'), UUID)),
    city AggregateFunction(argMax, String, Tuple(DateTime64(3, 'UTC'), UUID)),
    last_block SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (project_id, distinct_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS distinct_id_activity_states_feed TO distinct_id_activity_states AS
SELECT
    project_id,
    distinct_id,
    min(occur_time) AS first_time,
    max(occur_time) AS last_time,
    count() AS event_count,
    countIf(kind = 'page_view') AS page_view_count,
    uniqState(session_id) AS sessions,
    argMaxState(toString(events.browser), (occur_time, event_id)) AS browser,
    argMaxState(toString(events.browser_version), (occur_time, event_id)) AS browser_version,
    argMaxState(toString(events.os), (occur_time, event_id)) AS os,
    argMaxState(toString(events.os_version), (occur_time, event_id)) AS os_version,
    argMaxState(toString(events.device), (occur_time, event_id)) AS device,
    argMaxState(toString(events.country), (occur_time, event_id)) AS country,
    argMaxState(toString(events.region), (occur_time, event_id)) AS region,
    argMaxState(toString(events.city), (occur_time, event_id)) AS city,
    max(insert_block) AS last_block
FROM events AS events
WHERE insert_block >= 0 AND NOT startsWith(distinct_id, 'cookieless-')
GROUP BY project_id, distinct_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS distinct_id_activity_states_repair TO distinct_id_activity_states AS
SELECT
    project_id,
    distinct_id,
    min(occur_time) AS first_time,
    max(occur_time) AS last_time,
    count() AS event_count,
    countIf(kind = 'page_view') AS page_view_count,
    uniqState(session_id) AS sessions,
    argMaxState(toString(events.browser), (occur_time, event_id)) AS browser,
    argMaxState(toString(events.browser_version), (occur_time, event_id)) AS browser_version,
    argMaxState(toString(events.os), (occur_time, event_id)) AS os,
    argMaxState(toString(events.os_version), (occur_time, event_id)) AS os_version,
    argMaxState(toString(events.device), (occur_time, event_id)) AS device,
    argMaxState(toString(events.country), (occur_time, event_id)) AS country,
    argMaxState(toString(events.region), (occur_time, event_id)) AS region,
    argMaxState(toString(events.city), (occur_time, event_id)) AS city,
    max(insert_block) AS last_block
FROM events_repair AS events
WHERE repair_target = 'distinct_id_activity_states' AND NOT startsWith(distinct_id, 'cookieless-')
GROUP BY project_id, distinct_id;
