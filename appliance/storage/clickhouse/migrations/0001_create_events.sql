-- Why: every accepted event once, as sent and enriched [storage 2].
-- Locks: creates only. Size: 50 to 160 bytes an event.
-- `date_trunc` and not `toStartOfMinute`: the latter answers 32-bit seconds and would put every event
-- outside 1970 to 2106 into one minute. `insert_block` names the block of the events worker that
-- brought the row; a negative one was repaired and is not fed to the roll-ups (decision 0002).
CREATE TABLE IF NOT EXISTS events
(
    event_id UUID,
    project_id LowCardinality(String),
    distinct_id String,
    session_id UUID,
    kind LowCardinality(String),
    occur_time DateTime64(3, 'UTC'),
    insert_time DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    insert_block Int64 DEFAULT 0,
    auto_properties Map(LowCardinality(String), String),
    custom_properties Map(LowCardinality(String), String),
    bot_score Nullable(UInt8),
    verified_bot Nullable(Bool),
    mobile Bool DEFAULT false,
    country LowCardinality(String),
    region LowCardinality(String),
    city String,
    browser LowCardinality(String),
    browser_version String,
    os LowCardinality(String),
    os_version String,
    device LowCardinality(String),
    platform LowCardinality(String),
    url String,
    utm_source LowCardinality(String),
    utm_medium LowCardinality(String),
    utm_campaign LowCardinality(String),
    pathname String,
    hostname LowCardinality(String),
    referrer String,
    referrer_domain LowCardinality(String),
    channel LowCardinality(String),
    locale LowCardinality(String),
    screen_size LowCardinality(String),
    utm_term LowCardinality(String),
    utm_content LowCardinality(String),
    page_title String,
    INDEX by_distinct_id distinct_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_session_id session_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_country country TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_browser browser TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_platform platform TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(insert_time)
PARTITION BY toYYYYMM(occur_time)
ORDER BY (project_id, date_trunc('minute', occur_time), kind, event_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- The repair door: what is inserted here is stored nowhere and feeds only the roll-up it names.
CREATE TABLE IF NOT EXISTS events_repair
(
    repair_target LowCardinality(String),
    event_id UUID,
    project_id LowCardinality(String),
    distinct_id String,
    session_id UUID,
    kind LowCardinality(String),
    occur_time DateTime64(3, 'UTC'),
    insert_block Int64 DEFAULT 0,
    auto_properties Map(LowCardinality(String), String),
    custom_properties Map(LowCardinality(String), String),
    bot_score Nullable(UInt8),
    verified_bot Nullable(Bool),
    mobile Bool DEFAULT false,
    country LowCardinality(String),
    region LowCardinality(String),
    city String,
    browser LowCardinality(String),
    browser_version String,
    os LowCardinality(String),
    os_version String,
    device LowCardinality(String),
    platform LowCardinality(String),
    url String,
    utm_source LowCardinality(String),
    utm_medium LowCardinality(String),
    utm_campaign LowCardinality(String),
    pathname String,
    hostname LowCardinality(String),
    referrer String,
    referrer_domain LowCardinality(String),
    channel LowCardinality(String),
    locale LowCardinality(String),
    screen_size LowCardinality(String),
    utm_term LowCardinality(String),
    utm_content LowCardinality(String),
    page_title String
)
ENGINE = Null;
