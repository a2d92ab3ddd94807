-- Why: the read side of people: every read of a profile asks here [storage 3.6, profiles 2.4].
-- Locks: creates only. Size: one row per change of a profile or alias until a merge.
-- `version` comes from one sequence of the relational store, so the last change wins however the
-- queue orders the messages; readers take the greatest one themselves, merges are lazy.
-- A deleted profile stays as a row: its id and external id remain claimed [profiles 4].
CREATE TABLE IF NOT EXISTS profiles
(
    project_id LowCardinality(String),
    id String,
    external_id String,
    properties String CODEC(ZSTD(1)),
    deleted Bool,
    create_time DateTime64(6, 'UTC'),
    update_time DateTime64(6, 'UTC'),
    version UInt64,
    INDEX external_id_bloom external_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project_id, id)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- The key holds the profile too: old and new owners of an alias stay side by side, because erasing
-- a person must find every alias it ever had [profiles 9].
CREATE TABLE IF NOT EXISTS profile_aliases
(
    project_id LowCardinality(String),
    alias_id String,
    profile_id String,
    external_id String,
    version UInt64,
    INDEX profile_id_bloom profile_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project_id, alias_id, profile_id)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;
