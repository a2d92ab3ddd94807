-- Why: visitors of whole days as bitmaps of small numbers: several times cheaper to unite and to read
-- than the sets of the daily roll-up (0002) that they are made from (decision 0042).
-- Locks: creates only. Filled by the job `compact-sessions`, never by the feed.
-- A row never holds anybody whom the same row of the roll-up does not, so rows of one key are united,
-- whenever and however often they were written. Rows of another epoch than the one in
-- `compacted_visitors_progress` do not exist for questions. `days` is 1, or 7 in rows that unite a week
-- from the Monday `day` on. `is_sampled` marks a row of which the roll-up keeps a sample (more than 65,536
-- visitors of a day), and which has no bitmap.
-- Nothing here is backed up: it is made again from the roll-up.
CREATE TABLE IF NOT EXISTS compacted_visitors
(
    project_id LowCardinality(String),
    epoch UInt64,
    kind LowCardinality(String),
    dimension LowCardinality(String),
    days UInt8,
    day Date32,
    value String,
    cookieless UInt8,
    visitors AggregateFunction(groupBitmap, UInt64),
    is_sampled SimpleAggregateFunction(max, UInt8)
)
ENGINE = AggregatingMergeTree
PARTITION BY (project_id, epoch)
ORDER BY (kind, dimension, days, day, value, cookieless)
SETTINGS
    index_granularity = 256,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- The number of each visitor, from 1 on; `hash` is what the sets of the roll-up keep of an id.
CREATE TABLE IF NOT EXISTS compacted_visitor_numbers
(
    project_id LowCardinality(String),
    epoch UInt64,
    hash UInt32,
    number UInt32
)
ENGINE = MergeTree
PARTITION BY (project_id, epoch)
ORDER BY hash
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- How far each project is: the epoch, the block from which on changes are not in the bitmaps, the first
-- day (since 1970) that is not, and the numbers that are given.
CREATE TABLE IF NOT EXISTS compacted_visitors_progress
(
    project_id String,
    reached SimpleAggregateFunction(
        max, Tuple(epoch UInt64, before_block Int64, before_day Int32, before_number UInt32)
    )
)
ENGINE = AggregatingMergeTree
ORDER BY project_id
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;
