-- Why: overviews ask for the sessions of days and of where they came from, never for single ones: these
-- sums are thousands of times smaller than the sessions (decision 0044).
-- Locks: none; the sums of rows that exist are made in the background, and until then questions read rows.
-- A projection is written with its part and in the same moment, so it cannot differ from the rows; signs
-- add up in it as they do in them. It is made again from the rows that are left when parts merge and when a
-- project is deleted.
ALTER TABLE compacted_sessions MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild',
    lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE compacted_sessions ADD PROJECTION IF NOT EXISTS sums_of_days
(
    SELECT
        project_id,
        epoch,
        scope,
        toDate32(start_time),
        sum(sign),
        sum(sign * (toUnixTimestamp(end_time) - toUnixTimestamp(start_time))),
        sumIf(sign, event_count = 1),
        sum(sign * toInt64(event_count))
    GROUP BY project_id, epoch, scope, toDate32(start_time)
);

ALTER TABLE compacted_sessions ADD PROJECTION IF NOT EXISTS sums_of_origins
(
    SELECT
        project_id,
        epoch,
        scope,
        toDate32(start_time),
        entry_channel,
        entry_referrer_domain,
        entry_utm_source,
        entry_utm_medium,
        entry_utm_campaign,
        sum(sign),
        sum(sign * (toUnixTimestamp(end_time) - toUnixTimestamp(start_time))),
        sumIf(sign, event_count = 1),
        sum(sign * toInt64(event_count))
    GROUP BY
        project_id, epoch, scope, toDate32(start_time), entry_channel, entry_referrer_domain,
        entry_utm_source, entry_utm_medium, entry_utm_campaign
);

ALTER TABLE compacted_sessions MATERIALIZE PROJECTION sums_of_days;

ALTER TABLE compacted_sessions MATERIALIZE PROJECTION sums_of_origins;
