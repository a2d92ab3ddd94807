-- Why: one plain row for each session, so that a question reads the columns it needs and nothing is
-- merged: several times cheaper than the roll-up it is made from (decision 0039).
-- Locks: creates only. Filled by the job `compact-sessions`, never by the feed.
-- A row of sign -1 takes an older row of its session back: add up signs, never count rows. Rows of
-- another epoch than the one in `compacted_sessions_progress` do not exist for questions. `version` is
-- the `last_block` of the roll-up when the row was made. Granules and blocks are small, because the few
-- sessions that changed are looked up (0003).
-- Nothing here is backed up: it is made again from the roll-up.
CREATE TABLE IF NOT EXISTS compacted_sessions
(
    project_id LowCardinality(String),
    epoch UInt64,
    scope LowCardinality(String),
    session_id UUID,
    start_time DateTime64(3, 'UTC'),
    end_time DateTime64(3, 'UTC'),
    event_count UInt64,
    entry_country LowCardinality(String),
    entry_region LowCardinality(String),
    entry_city String,
    entry_browser LowCardinality(String),
    entry_os LowCardinality(String),
    entry_device LowCardinality(String),
    entry_platform LowCardinality(String),
    entry_url String,
    entry_utm_source LowCardinality(String),
    entry_utm_medium LowCardinality(String),
    entry_utm_campaign LowCardinality(String),
    entry_pathname String,
    entry_referrer_domain LowCardinality(String),
    entry_channel LowCardinality(String),
    entry_utm_term LowCardinality(String),
    entry_utm_content LowCardinality(String),
    exit_country LowCardinality(String),
    exit_region LowCardinality(String),
    exit_city String,
    exit_browser LowCardinality(String),
    exit_os LowCardinality(String),
    exit_device LowCardinality(String),
    exit_platform LowCardinality(String),
    exit_url String,
    exit_utm_source LowCardinality(String),
    exit_utm_medium LowCardinality(String),
    exit_utm_campaign LowCardinality(String),
    exit_pathname String,
    exit_referrer_domain LowCardinality(String),
    exit_channel LowCardinality(String),
    exit_utm_term LowCardinality(String),
    exit_utm_content LowCardinality(String),
    version Int64,
    sign Int8
)
ENGINE = VersionedCollapsingMergeTree(sign, version)
PARTITION BY (project_id, epoch)
ORDER BY (scope, session_id)
SETTINGS
    index_granularity = 256,
    min_compress_block_size = 4096,
    max_compress_block_size = 8192,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- How far each project is compacted: the epoch, and the block from which on changes are not.
CREATE TABLE IF NOT EXISTS compacted_sessions_progress
(
    project_id String,
    reached SimpleAggregateFunction(max, Tuple(epoch UInt64, before_block Int64))
)
ENGINE = AggregatingMergeTree
ORDER BY project_id
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;
