-- Why: sessions, their length, bounces, entries and exits without reading events [storage 3.2].
-- Locks: creates only. Cost of the feed: about 2 us of processor an event.
-- The 16 values of the earliest and of the latest event are kept as one text, separated by a zero
-- character, behind 24 bytes that put events in order: 8 of the time, 16 of the event id, so ties of
-- time are broken by event id, as raw events do. So the least text is the entry and the greatest the
-- exit: no state is read or written, which takes half the time in the feed and a third in questions.
-- Read the n-th value with splitByChar('\0', substring(min(entry), 25))[n]. The order is
--   1 country 2 region 3 city 4 browser 5 os 6 device 7 platform 8 url 9 utm_source 10 utm_medium
--   11 utm_campaign 12 pathname 13 referrer_domain 14 channel 15 utm_term 16 utm_content.
-- A later dimension is appended. `last_block` tells which sessions changed since they were compacted
-- (0008), of which few are read: granules of 256 rows in blocks of 8 KiB take two thirds of the
-- processor time of such a look-up.
-- The `_repair` view fills the same table from the repair door of 0001 when a block reached
-- `events` but not this table (decision 0002).
CREATE TABLE IF NOT EXISTS dashboard_session_rollup
(
    project_id LowCardinality(String),
    scope LowCardinality(String),
    session_id UUID,
    start_time SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    end_time SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    event_count SimpleAggregateFunction(sum, UInt64),
    entry SimpleAggregateFunction(min, String),
    exit SimpleAggregateFunction(max, String),
    last_block SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (project_id, scope, session_id)
SETTINGS
    index_granularity = 256,
    min_compress_block_size = 4096,
    max_compress_block_size = 8192,
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS dashboard_session_rollup_feed TO dashboard_session_rollup AS
WITH
    concatWithSeparator('\0',
        toString(country),
        toString(region),
        toString(city),
        toString(browser),
        toString(os),
        toString(device),
        toString(platform),
        toString(url),
        toString(utm_source),
        toString(utm_medium),
        toString(utm_campaign),
        toString(pathname),
        toString(referrer_domain),
        toString(channel),
        toString(utm_term),
        toString(utm_content)
    ) AS joined,
    if(countSubstrings(joined, '\0') = 15, joined, concatWithSeparator('\0',
        replaceAll(toString(country), '\0', ''),
        replaceAll(toString(region), '\0', ''),
        replaceAll(toString(city), '\0', ''),
        replaceAll(toString(browser), '\0', ''),
        replaceAll(toString(os), '\0', ''),
        replaceAll(toString(device), '\0', ''),
        replaceAll(toString(platform), '\0', ''),
        replaceAll(toString(url), '\0', ''),
        replaceAll(toString(utm_source), '\0', ''),
        replaceAll(toString(utm_medium), '\0', ''),
        replaceAll(toString(utm_campaign), '\0', ''),
        replaceAll(toString(pathname), '\0', ''),
        replaceAll(toString(referrer_domain), '\0', ''),
        replaceAll(toString(channel), '\0', ''),
        replaceAll(toString(utm_term), '\0', ''),
        replaceAll(toString(utm_content), '\0', '')
    )) AS slots,
    concat(
        reverse(reinterpretAsFixedString(toUInt64(toUnixTimestamp64Milli(occur_time) + 100000000000000))),
        reverse(reinterpretAsFixedString(event_id)),
        slots
    ) AS ordered
SELECT
    project_id,
    arrayJoin(['', toString(kind)]) AS scope,
    session_id,
    min(occur_time) AS start_time,
    max(occur_time) AS end_time,
    count() AS event_count,
    min(ordered) AS entry,
    max(ordered) AS exit,
    max(insert_block) AS last_block
FROM events
WHERE insert_block >= 0
GROUP BY project_id, scope, session_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS dashboard_session_rollup_repair TO dashboard_session_rollup AS
WITH
    concatWithSeparator('\0',
        toString(country),
        toString(region),
        toString(city),
        toString(browser),
        toString(os),
        toString(device),
        toString(platform),
        toString(url),
        toString(utm_source),
        toString(utm_medium),
        toString(utm_campaign),
        toString(pathname),
        toString(referrer_domain),
        toString(channel),
        toString(utm_term),
        toString(utm_content)
    ) AS joined,
    if(countSubstrings(joined, '\0') = 15, joined, concatWithSeparator('\0',
        replaceAll(toString(country), '\0', ''),
        replaceAll(toString(region), '\0', ''),
        replaceAll(toString(city), '\0', ''),
        replaceAll(toString(browser), '\0', ''),
        replaceAll(toString(os), '\0', ''),
        replaceAll(toString(device), '\0', ''),
        replaceAll(toString(platform), '\0', ''),
        replaceAll(toString(url), '\0', ''),
        replaceAll(toString(utm_source), '\0', ''),
        replaceAll(toString(utm_medium), '\0', ''),
        replaceAll(toString(utm_campaign), '\0', ''),
        replaceAll(toString(pathname), '\0', ''),
        replaceAll(toString(referrer_domain), '\0', ''),
        replaceAll(toString(channel), '\0', ''),
        replaceAll(toString(utm_term), '\0', ''),
        replaceAll(toString(utm_content), '\0', '')
    )) AS slots,
    concat(
        reverse(reinterpretAsFixedString(toUInt64(toUnixTimestamp64Milli(occur_time) + 100000000000000))),
        reverse(reinterpretAsFixedString(event_id)),
        slots
    ) AS ordered
SELECT
    project_id,
    arrayJoin(['', toString(kind)]) AS scope,
    session_id,
    min(occur_time) AS start_time,
    max(occur_time) AS end_time,
    count() AS event_count,
    min(ordered) AS entry,
    max(ordered) AS exit,
    max(insert_block) AS last_block
FROM events_repair
WHERE repair_target = 'dashboard_session_rollup'
GROUP BY project_id, scope, session_id;
