-- Why: counts and unique users per UTC day without reading events [storage 3.1].
-- Locks: creates only. Cost of the feed: about 4 us of processor an event, because the 21 rows of an
-- event are summed inside the view before they are written.
-- `uniq` and not a HyperLogLog: exact up to 65,536 ids, its merged result depends only on the set of
-- ids, so it equals `uniq` over the raw events, and small sets take the least disk.
-- A question needs few rows with large states, and reads whole granules: 256 rows instead of 8,192
-- take a fifth of the processor time (229 to 45 ms for the visitors of 30 days of a large project).
-- The `_repair` view fills the same table from the repair door of 0001 when a block reached
-- `events` but not this table (decision 0002).
CREATE TABLE IF NOT EXISTS dashboard_event_rollup_daily
(
    project_id LowCardinality(String),
    kind LowCardinality(String),
    dimension LowCardinality(String),
    day Date32,
    value String,
    cookieless UInt8,
    event_count SimpleAggregateFunction(sum, UInt64),
    visitors AggregateFunction(uniq, String),
    last_block SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (project_id, kind, dimension, day, value, cookieless)
SETTINGS
    index_granularity = 256,
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS dashboard_event_rollup_daily_feed TO dashboard_event_rollup_daily AS
SELECT
    project_id,
    kind,
    slot.1 AS dimension,
    toDate32(occur_time) AS day,
    slot.2 AS value,
    toUInt8(startsWith(distinct_id, 'cookieless-')) AS cookieless,
    count() AS event_count,
    uniqState(distinct_id) AS visitors,
    max(insert_block) AS last_block
FROM events
ARRAY JOIN
    [
        ('$__total__', ''),
        ('$country', toString(country)),
        ('$region', toString(region)),
        ('$city', toString(city)),
        ('$browser', toString(browser)),
        ('$browserVersion', toString(browser_version)),
        ('$os', toString(os)),
        ('$osVersion', toString(os_version)),
        ('$device', toString(device)),
        ('$platform', toString(platform)),
        ('$utmSource', toString(utm_source)),
        ('$utmMedium', toString(utm_medium)),
        ('$utmCampaign', toString(utm_campaign)),
        ('$pathname', toString(pathname)),
        ('$hostname', toString(hostname)),
        ('$referrerDomain', toString(referrer_domain)),
        ('$channel', toString(channel)),
        ('$locale', toString(locale)),
        ('$screenSize', toString(screen_size)),
        ('$utmTerm', toString(utm_term)),
        ('$utmContent', toString(utm_content))
    ] AS slot
WHERE insert_block >= 0
GROUP BY project_id, kind, dimension, day, value, cookieless;

CREATE MATERIALIZED VIEW IF NOT EXISTS dashboard_event_rollup_daily_repair TO dashboard_event_rollup_daily AS
SELECT
    project_id,
    kind,
    slot.1 AS dimension,
    toDate32(occur_time) AS day,
    slot.2 AS value,
    toUInt8(startsWith(distinct_id, 'cookieless-')) AS cookieless,
    count() AS event_count,
    uniqState(distinct_id) AS visitors,
    max(insert_block) AS last_block
FROM events_repair
ARRAY JOIN
    [
        ('$__total__', ''),
        ('$country', toString(country)),
        ('$region', toString(region)),
        ('$city', toString(city)),
        ('$browser', toString(browser)),
        ('$browserVersion', toString(browser_version)),
        ('$os', toString(os)),
        ('$osVersion', toString(os_version)),
        ('$device', toString(device)),
        ('$platform', toString(platform)),
        ('$utmSource', toString(utm_source)),
        ('$utmMedium', toString(utm_medium)),
        ('$utmCampaign', toString(utm_campaign)),
        ('$pathname', toString(pathname)),
        ('$hostname', toString(hostname)),
        ('$referrerDomain', toString(referrer_domain)),
        ('$channel', toString(channel)),
        ('$locale', toString(locale)),
        ('$screenSize', toString(screen_size)),
        ('$utmTerm', toString(utm_term)),
        ('$utmContent', toString(utm_content))
    ] AS slot
WHERE repair_target = 'dashboard_event_rollup_daily'
GROUP BY project_id, kind, dimension, day, value, cookieless;
