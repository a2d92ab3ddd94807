-- Why: an alert watches one number of an insight; when its condition begins or ceases to hold,
-- people and machines inside the network are told, each once (decision 0035).
-- Locks: creates only, nothing waits. Size: about a kilobyte for each alert and each firing, some
-- hundred bytes for each delivery; firings are purged 90 days after their end.

CREATE TABLE alerts (
    id varchar(20) PRIMARY KEY,
    project_id varchar(20) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    display_name varchar(150) NOT NULL CHECK (display_name <> ''),
    enabled boolean NOT NULL DEFAULT true,
    question jsonb NOT NULL CHECK (jsonb_typeof(question) = 'object'),
    granularity varchar(16) NOT NULL,
    periods integer NOT NULL CHECK (periods > 0),
    comparison varchar(16) NOT NULL,
    unit varchar(16) NOT NULL,
    amount double precision NOT NULL,
    frequency varchar(16) NOT NULL,
    state varchar(16) NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'firing')),
    revision integer NOT NULL DEFAULT 0,
    next_time timestamptz NOT NULL,
    evaluate_time timestamptz,
    value double precision,
    baseline double precision,
    window_start timestamptz,
    window_end timestamptz,
    failures integer NOT NULL DEFAULT 0,
    problem_reason varchar(64) NOT NULL DEFAULT '',
    problem varchar(500) NOT NULL DEFAULT '',
    author_id varchar(20) REFERENCES customers (id) ON DELETE SET NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX alerts_project ON alerts (project_id);
CREATE INDEX alerts_due ON alerts (next_time) WHERE enabled;
CREATE INDEX alerts_author ON alerts (author_id) WHERE author_id IS NOT NULL;

CREATE TABLE alert_members (
    alert_id varchar(20) NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    customer_id varchar(20) NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    PRIMARY KEY (alert_id, customer_id)
);
CREATE INDEX alert_members_customer ON alert_members (customer_id);

CREATE TABLE alert_webhooks (
    id varchar(20) PRIMARY KEY,
    alert_id varchar(20) NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    url varchar(1000) NOT NULL,
    sealed_secret bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX alert_webhooks_alert ON alert_webhooks (alert_id);

CREATE TABLE alert_firings (
    id varchar(20) PRIMARY KEY,
    alert_id varchar(20) NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    is_test boolean NOT NULL DEFAULT false,
    display_name varchar(150) NOT NULL,
    comparison varchar(16) NOT NULL,
    unit varchar(16) NOT NULL,
    amount double precision NOT NULL,
    start_time timestamptz NOT NULL,
    value double precision,
    baseline double precision,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    end_time timestamptz,
    end_cause varchar(16) NOT NULL DEFAULT '',
    end_value double precision,
    end_baseline double precision,
    end_window_start timestamptz,
    end_window_end timestamptz
);
CREATE INDEX alert_firings_alert ON alert_firings (alert_id, start_time, id);
CREATE INDEX alert_firings_ended ON alert_firings (end_time) WHERE end_time IS NOT NULL;
CREATE UNIQUE INDEX alert_firings_open_key ON alert_firings (alert_id) WHERE end_time IS NULL;

CREATE TABLE alert_deliveries (
    id varchar(20) PRIMARY KEY,
    firing_id varchar(20) NOT NULL REFERENCES alert_firings (id) ON DELETE CASCADE,
    act varchar(16) NOT NULL CHECK (act IN ('fired', 'resolved', 'test')),
    customer_id varchar(20) REFERENCES customers (id) ON DELETE CASCADE,
    webhook_id varchar(20) REFERENCES alert_webhooks (id) ON DELETE CASCADE,
    state varchar(16) NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'given_up')),
    attempts integer NOT NULL DEFAULT 0,
    next_time timestamptz NOT NULL,
    problem varchar(500) NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    end_time timestamptz,
    CHECK ((customer_id IS NULL) <> (webhook_id IS NULL))
);
CREATE INDEX alert_deliveries_due ON alert_deliveries (next_time) WHERE state = 'pending';
CREATE UNIQUE INDEX alert_deliveries_member_key ON alert_deliveries (firing_id, act, customer_id)
    WHERE customer_id IS NOT NULL;
CREATE UNIQUE INDEX alert_deliveries_webhook_key ON alert_deliveries (firing_id, act, webhook_id)
    WHERE webhook_id IS NOT NULL;
CREATE INDEX alert_deliveries_customer ON alert_deliveries (customer_id)
    WHERE customer_id IS NOT NULL;
CREATE INDEX alert_deliveries_webhook ON alert_deliveries (webhook_id) WHERE webhook_id IS NOT NULL;
