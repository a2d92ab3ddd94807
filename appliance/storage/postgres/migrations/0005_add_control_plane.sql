-- Why: what administration needs beside accounts: lock-out, soft deletion, retention, key rotation,
-- the audit log, the record of jobs, report subscriptions, metered usage [services 3, 13; workers 2].
-- Locks: short ones while columns are added; no row is rewritten.
-- Size: small, but audit_entries, which its retention bounds.

ALTER TABLE customers ADD COLUMN disable_time timestamptz;

ALTER TABLE projects ADD COLUMN delete_time timestamptz;
ALTER TABLE projects ADD COLUMN retention_days integer CHECK (retention_days BETWEEN 1 AND 36500);
-- A deleted project is called by its id, so that its name is free; here is what it was called.
ALTER TABLE projects ADD COLUMN deleted_name varchar(150);
CREATE INDEX projects_deleted ON projects (delete_time) WHERE delete_time IS NOT NULL;

ALTER TABLE api_keys ADD COLUMN last_use_time timestamptz;
ALTER TABLE api_keys ADD COLUMN expire_time timestamptz;

-- One row per caller's address or account that failed lately; subjects are hashed.
CREATE TABLE sign_in_guards (
    scope varchar(20) NOT NULL CHECK (scope IN ('address', 'account', 'link_address', 'link_account')),
    subject_hash varchar(64) NOT NULL CHECK (subject_hash ~ '^[0-9a-f]{64}$'),
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    window_start timestamptz NOT NULL,
    locked_until timestamptz,
    PRIMARY KEY (scope, subject_hash)
);
CREATE INDEX sign_in_guards_window ON sign_in_guards (window_start);

CREATE TABLE org_invitation_sends (
    id varchar(20) PRIMARY KEY,
    invitation_id varchar(20) NOT NULL REFERENCES org_invitations (id) ON DELETE CASCADE,
    send_time timestamptz NOT NULL
);
CREATE INDEX org_invitation_sends_invitation ON org_invitation_sends (invitation_id, send_time);

-- Without foreign keys: what was done outlives whom it was done to.
CREATE TABLE audit_entries (
    id varchar(20) PRIMARY KEY,
    create_time timestamptz NOT NULL,
    actor_kind varchar(20) NOT NULL CHECK (actor_kind IN ('customer', 'key', 'operator', 'system')),
    actor_id varchar(64) NOT NULL DEFAULT '',
    actor_label varchar(255) NOT NULL DEFAULT '',
    address varchar(64) NOT NULL DEFAULT '',
    action varchar(64) NOT NULL CHECK (action ~ '^[a-z_]+([.][a-z_]+)+$'),
    org_id varchar(20) NOT NULL DEFAULT '',
    project_id varchar(20) NOT NULL DEFAULT '',
    subject_kind varchar(32) NOT NULL DEFAULT '',
    subject_id varchar(255) NOT NULL DEFAULT '',
    details jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object')
);
CREATE INDEX audit_entries_time ON audit_entries (create_time, id);
CREATE INDEX audit_entries_org ON audit_entries (org_id, create_time);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $refuse$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('pug.audit_retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log only grows' USING ERRCODE = 'restrict_violation';
END
$refuse$;
CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_entries_not_emptied BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TABLE job_leases (
    name varchar(50) PRIMARY KEY,
    holder varchar(64) NOT NULL,
    term bigint NOT NULL DEFAULT 1,
    expire_time timestamptz NOT NULL
);

CREATE TABLE job_runs (
    name varchar(50) NOT NULL,
    start_time timestamptz NOT NULL,
    due_time timestamptz NOT NULL,
    leader varchar(64) NOT NULL,
    end_time timestamptz,
    outcome varchar(10) NOT NULL DEFAULT '' CHECK (outcome IN ('', 'ok', 'failed')),
    detail text NOT NULL DEFAULT '',
    PRIMARY KEY (name, start_time)
);

CREATE TABLE report_subscriptions (
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    customer_id varchar(20) NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, customer_id)
);
CREATE INDEX report_subscriptions_customer ON report_subscriptions (customer_id);

-- Without a foreign key: usage of a deleted project was usage all the same.
CREATE TABLE usage_days (
    org_id varchar(20) NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    project_id varchar(20) NOT NULL,
    day date NOT NULL,
    events bigint NOT NULL CHECK (events >= 0),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, day)
);
CREATE INDEX usage_days_org ON usage_days (org_id, day);
