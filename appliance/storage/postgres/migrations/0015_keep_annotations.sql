-- Why: people mark moments and spans on the time axis of their charts, for a whole project or for
-- one board (decision 0035).
-- Locks: creates only, nothing waits. Size: some hundred bytes for each annotation.

CREATE TABLE annotations (
    id varchar(20) PRIMARY KEY,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    dashboard_id varchar(20) REFERENCES dashboards (id) ON DELETE CASCADE,
    text varchar(500) NOT NULL CHECK (text <> ''),
    start_time timestamptz NOT NULL,
    end_time timestamptz CHECK (end_time > start_time),
    author_id varchar(20) REFERENCES customers (id) ON DELETE SET NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX annotations_project ON annotations (project_id, start_time, id);
CREATE INDEX annotations_dashboard ON annotations (dashboard_id) WHERE dashboard_id IS NOT NULL;
CREATE INDEX annotations_author ON annotations (author_id) WHERE author_id IS NOT NULL;
CREATE TRIGGER annotations_touch BEFORE UPDATE ON annotations
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();
