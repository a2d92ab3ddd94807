-- Why: whoever remembers keys must learn within a second that one has ended, even when nobody could
-- tell them: a number says whether anything about keys has changed (decision 0019). And the push
-- credentials are text that nobody checks [services 6.3], and usage has a time of metering.
-- Locks: short ones while triggers and a column are added; no row is rewritten.
-- Size: two rows.

CREATE TABLE key_changes (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint NOT NULL DEFAULT 0
);
INSERT INTO key_changes DEFAULT VALUES;

CREATE FUNCTION count_key_change() RETURNS trigger LANGUAGE plpgsql AS $count$
BEGIN
    UPDATE key_changes SET version = version + 1;
    RETURN NULL;
END
$count$;

-- Deferred: the one row everybody writes is locked at the very end of a transaction, for a moment.
CREATE CONSTRAINT TRIGGER api_keys_counted
    AFTER INSERT OR DELETE OR UPDATE OF project_id, kind, token, expire_time ON api_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_key_change();
CREATE CONSTRAINT TRIGGER projects_counted
    AFTER DELETE OR UPDATE OF delete_time, reporting_timezone ON projects
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_key_change();

CREATE INDEX api_keys_expiry ON api_keys (expire_time) WHERE expire_time IS NOT NULL;

ALTER TABLE projects ADD COLUMN fcm_service_json text NOT NULL DEFAULT '';

CREATE TABLE usage_meter (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    meter_time timestamptz NOT NULL
);
