-- Why: saved questions and the pages that show them [storage 1.3].
-- Locks: creates only, nothing waits. Size: tens of rows per project.

CREATE TABLE dashboards (
    id varchar(20) PRIMARY KEY,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    display_name varchar(150) NOT NULL,
    description text NOT NULL DEFAULT '',
    default_time_range varchar(64) NOT NULL DEFAULT 'TIME_RANGE_PRESET_LAST_30_DAYS',
    default_granularity varchar(64) NOT NULL DEFAULT 'GRANULARITY_DAY',
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dashboards_project ON dashboards (project_id);
CREATE TRIGGER dashboards_touch BEFORE UPDATE ON dashboards
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE dashboard_tiles (
    id varchar(20) PRIMARY KEY,
    dashboard_id varchar(20) NOT NULL REFERENCES dashboards (id) ON DELETE CASCADE,
    kind smallint NOT NULL CHECK (kind IN (1, 2)),
    view_mode varchar(64) NOT NULL DEFAULT '',
    display_name varchar(150) NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    insight_query jsonb,
    markdown text,
    "position" jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof("position") = 'object'),
    header jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(header) = 'object'),
    visualization jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(visualization) = 'object'),
    thresholds jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(thresholds) = 'array'),
    compare_mode varchar(64) NOT NULL DEFAULT '',
    payload_hash bytea NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dashboard_tiles_content CHECK (
        (kind = 1 AND insight_query IS NOT NULL AND markdown IS NULL)
        OR (kind = 2 AND insight_query IS NULL AND markdown IS NOT NULL AND markdown <> '')
    )
);
CREATE INDEX dashboard_tiles_dashboard ON dashboard_tiles (dashboard_id);
CREATE UNIQUE INDEX dashboard_tiles_name_key ON dashboard_tiles (dashboard_id, lower(display_name))
    WHERE display_name <> '';
CREATE TRIGGER dashboard_tiles_touch BEFORE UPDATE ON dashboard_tiles
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE dashboard_shares (
    id varchar(20) PRIMARY KEY,
    dashboard_id varchar(20) NOT NULL UNIQUE REFERENCES dashboards (id) ON DELETE CASCADE,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    token varchar(64) NOT NULL UNIQUE CHECK (token ~ '^[0-9a-f]{64}$'),
    enabled boolean NOT NULL DEFAULT true,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dashboard_shares_project ON dashboard_shares (project_id);
CREATE TRIGGER dashboard_shares_touch BEFORE UPDATE ON dashboard_shares
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();
