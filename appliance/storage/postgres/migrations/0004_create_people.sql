-- Why: the write side of profiles, their devices, campaigns, and the erasure ledger [storage 1.4, 1.5].
-- Locks: creates only, nothing waits. Size: one row per known person and device.
-- Ids that can be distinct ids are variable-length text: a distinct id has no length of its own.

CREATE TABLE profiles (
    id text NOT NULL,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    external_id text,
    properties jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    delete_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, project_id)
);
CREATE UNIQUE INDEX profiles_external_key ON profiles (project_id, external_id)
    WHERE delete_time IS NULL;
CREATE INDEX profiles_properties ON profiles USING gin (properties jsonb_path_ops);
CREATE INDEX profiles_newest ON profiles (project_id, create_time DESC, id DESC);
CREATE TRIGGER profiles_touch BEFORE UPDATE ON profiles
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE profile_devices (
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    device_id varchar(36) NOT NULL,
    platform varchar(10) NOT NULL CHECK (platform IN ('android', 'ios', 'web')),
    profile_id text,
    properties jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    status varchar(10) NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    push_token text,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, device_id),
    FOREIGN KEY (profile_id, project_id) REFERENCES profiles (id, project_id)
        ON DELETE SET NULL (profile_id)
);
CREATE INDEX profile_devices_profile ON profile_devices (profile_id, project_id);
CREATE INDEX profile_devices_status ON profile_devices (project_id, status, platform);
CREATE INDEX profile_devices_properties ON profile_devices USING gin (properties jsonb_path_ops);
CREATE TRIGGER profile_devices_touch BEFORE UPDATE ON profile_devices
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE campaigns (
    id varchar(20) PRIMARY KEY,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name varchar(150) NOT NULL,
    notification jsonb NOT NULL DEFAULT '{}',
    scheduled_time timestamptz,
    start_time timestamptz,
    end_time timestamptz,
    status varchar(20) NOT NULL DEFAULT 'scheduled'
        CHECK (status IN ('scheduled', 'in-progress', 'complete', 'fail')),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX campaigns_project ON campaigns (project_id);
CREATE INDEX campaigns_schedule ON campaigns (scheduled_time);
CREATE INDEX campaigns_status ON campaigns (status);
CREATE TRIGGER campaigns_touch BEFORE UPDATE ON campaigns
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE compliance_requests (
    id varchar(20) PRIMARY KEY,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind varchar(10) NOT NULL CHECK (kind IN ('erase', 'export')),
    profile_id text,
    external_id text,
    status varchar(12) NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    distinct_ids text[],
    session_ids text[],
    events_affected bigint NOT NULL DEFAULT 0,
    requested_by varchar(20),
    request_time timestamptz NOT NULL DEFAULT now(),
    complete_time timestamptz,
    update_time timestamptz NOT NULL DEFAULT now(),
    error text,
    CONSTRAINT compliance_requests_completed
        CHECK (status <> 'completed' OR complete_time IS NOT NULL),
    CONSTRAINT compliance_requests_subject
        CHECK (COALESCE(profile_id, '') <> '' OR COALESCE(external_id, '') <> '')
);
CREATE UNIQUE INDEX compliance_requests_open_profile_key
    ON compliance_requests (project_id, kind, profile_id)
    WHERE status IN ('pending', 'processing') AND COALESCE(profile_id, '') <> '';
CREATE UNIQUE INDEX compliance_requests_open_external_key
    ON compliance_requests (project_id, kind, external_id)
    WHERE status IN ('pending', 'processing') AND COALESCE(external_id, '') <> '';
CREATE INDEX compliance_requests_status ON compliance_requests (project_id, kind, status);
CREATE TRIGGER compliance_requests_touch BEFORE UPDATE ON compliance_requests
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();
