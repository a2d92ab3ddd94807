-- Why: person lists and summaries without reading events [storage 3.3]; cookieless ids never enter.
-- Locks: creates only. Cost of the feed: about 1 us an event. The eight values of the latest event
-- are one text, separated by a zero character, behind 24 bytes that put events in order (0003); read
-- the n-th with splitByChar('\0', substring(max(latest), 25))[n]: 1 browser 2 browser_version 3 os
-- 4 os_version 5 device 6 country 7 region 8 city. A later value is appended.
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
    latest SimpleAggregateFunction(max, String),
    last_block SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (project_id, distinct_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS distinct_id_activity_states_feed TO distinct_id_activity_states AS
WITH
    concatWithSeparator('\0', browser, browser_version, os, os_version, device, country, region, city) AS joined,
    if(countSubstrings(joined, '\0') = 7, joined, concatWithSeparator('\0',
        replaceAll(browser, '\0', ''),
        replaceAll(browser_version, '\0', ''),
        replaceAll(os, '\0', ''),
        replaceAll(os_version, '\0', ''),
        replaceAll(device, '\0', ''),
        replaceAll(country, '\0', ''),
        replaceAll(region, '\0', ''),
        replaceAll(city, '\0', '')
    )) AS slots,
    concat(
        reverse(reinterpretAsFixedString(toUInt64(toUnixTimestamp64Milli(occur_time) + 100000000000000))),
        reverse(reinterpretAsFixedString(event_id)),
        slots
    ) AS ordered
SELECT
    project_id,
    distinct_id,
    min(occur_time) AS first_time,
    max(occur_time) AS last_time,
    count() AS event_count,
    countIf(kind = 'page_view') AS page_view_count,
    uniqState(session_id) AS sessions,
    max(ordered) AS latest,
    max(insert_block) AS last_block
FROM events
WHERE insert_block >= 0 AND NOT startsWith(distinct_id, 'cookieless-')
GROUP BY project_id, distinct_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS distinct_id_activity_states_repair TO distinct_id_activity_states AS
WITH
    concatWithSeparator('\0', browser, browser_version, os, os_version, device, country, region, city) AS joined,
    if(countSubstrings(joined, '\0') = 7, joined, concatWithSeparator('\0',
        replaceAll(browser, '\0', ''),
        replaceAll(browser_version, '\0', ''),
        replaceAll(os, '\0', ''),
        replaceAll(os_version, '\0', ''),
        replaceAll(device, '\0', ''),
        replaceAll(country, '\0', ''),
        replaceAll(region, '\0', ''),
        replaceAll(city, '\0', '')
    )) AS slots,
    concat(
        reverse(reinterpretAsFixedString(toUInt64(toUnixTimestamp64Milli(occur_time) + 100000000000000))),
        reverse(reinterpretAsFixedString(event_id)),
        slots
    ) AS ordered
SELECT
    project_id,
    distinct_id,
    min(occur_time) AS first_time,
    max(occur_time) AS last_time,
    count() AS event_count,
    countIf(kind = 'page_view') AS page_view_count,
    uniqState(session_id) AS sessions,
    max(ordered) AS latest,
    max(insert_block) AS last_block
FROM events_repair
WHERE repair_target = 'distinct_id_activity_states' AND NOT startsWith(distinct_id, 'cookieless-')
GROUP BY project_id, distinct_id;
