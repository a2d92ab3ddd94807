-- Why: saved groups of people, by what they did or are, or as lists of ids (docs/cohorts.md).
-- Locks: creates only, nothing waits. Size: some kilobytes a cohort, and 50 bytes for a listed id.

CREATE TABLE cohorts (
    id varchar(20) PRIMARY KEY,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    display_name varchar(150) NOT NULL,
    description text NOT NULL DEFAULT '',
    rules jsonb CHECK (jsonb_typeof(rules) = 'object'),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX cohorts_name_key ON cohorts (project_id, lower(display_name));
CREATE TRIGGER cohorts_touch BEFORE UPDATE ON cohorts
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();
COMMENT ON COLUMN cohorts.rules IS 'ProtoJSON of appliance.cohorts.v1.CohortRules; NULL for a list';

CREATE TABLE cohort_ids (
    cohort_id varchar(20) NOT NULL REFERENCES cohorts (id) ON DELETE CASCADE,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    distinct_id text NOT NULL CHECK (distinct_id <> ''),
    PRIMARY KEY (cohort_id, distinct_id)
);
CREATE INDEX cohort_ids_person ON cohort_ids (project_id, distinct_id);
