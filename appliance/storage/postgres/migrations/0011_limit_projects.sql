-- Why: a project may be given a rate and a monthly number of events; what it sent this month is
-- counted by the API, which tells it here every few seconds.
-- Locks: creates only, nothing waits. Size: a row a project, and one a project and month.

CREATE TABLE project_limits (
    project_id varchar(20) PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    events_per_second bigint CHECK (events_per_second > 0),
    events_per_month bigint CHECK (events_per_month > 0),
    update_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE accepted_months (
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    month date NOT NULL,
    events bigint NOT NULL DEFAULT 0 CHECK (events >= 0),
    PRIMARY KEY (project_id, month)
);
