-- Why: between the way to a sign-in provider and the way back, state, nonce and PKCE verifier must be
-- kept where a browser cannot change them, and be used once (decision 0017).
-- Locks: creates only. Size: one row per begun sign-in, for ten minutes, and a bound on their number.

CREATE TABLE oidc_flows (
    state_hash varchar(64) PRIMARY KEY CHECK (state_hash ~ '^[0-9a-f]{64}$'),
    browser_hash varchar(64) NOT NULL CHECK (browser_hash ~ '^[0-9a-f]{64}$'),
    provider varchar(63) NOT NULL,
    nonce varchar(128) NOT NULL,
    verifier varchar(128) NOT NULL,
    timezone varchar(64) NOT NULL DEFAULT '',
    expire_time timestamptz NOT NULL
);
CREATE INDEX oidc_flows_expiry ON oidc_flows (expire_time);
