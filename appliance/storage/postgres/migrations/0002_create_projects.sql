-- Why: what events belong to and who may send them [storage 1.2].
-- Locks: creates only, nothing waits. Size: a handful of rows per organisation.

CREATE TABLE projects (
    id varchar(20) PRIMARY KEY,
    org_id varchar(20) NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    display_name varchar(150) NOT NULL,
    push_service_account jsonb,
    reporting_timezone varchar(64) NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT projects_name_key UNIQUE (org_id, display_name)
);
CREATE TRIGGER projects_touch BEFORE UPDATE ON projects
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE api_keys (
    id varchar(20) PRIMARY KEY,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind varchar(10) NOT NULL CHECK (kind IN ('public', 'private')),
    display_name varchar(150) NOT NULL DEFAULT '',
    masked varchar(24) NOT NULL,
    token varchar(64) NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT api_keys_token_key UNIQUE (token)
);
CREATE INDEX api_keys_project ON api_keys (project_id);
CREATE TRIGGER api_keys_touch BEFORE UPDATE ON api_keys
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();
