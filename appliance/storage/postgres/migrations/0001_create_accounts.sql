-- Why: who may sign in, to which organisation, with which role [storage 1.1].
-- Locks: creates only, nothing waits. Size: one row per person, membership, invitation, session.

CREATE FUNCTION touch_update_time() RETURNS trigger LANGUAGE plpgsql AS $touch$
BEGIN
    NEW.update_time := now();
    RETURN NEW;
END
$touch$;

CREATE TABLE orgs (
    id varchar(20) PRIMARY KEY,
    display_name varchar(150) NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER orgs_touch BEFORE UPDATE ON orgs
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE customers (
    id varchar(20) PRIMARY KEY,
    display_name varchar(150) NOT NULL DEFAULT '',
    email varchar(255) NOT NULL,
    password_hash text NOT NULL DEFAULT '',
    picture_uri varchar(255) NOT NULL DEFAULT '',
    email_verify_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX customers_email_key ON customers (lower(email));
CREATE TRIGGER customers_touch BEFORE UPDATE ON customers
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE org_members (
    org_id varchar(20) NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    customer_id varchar(20) NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    role varchar(32) NOT NULL DEFAULT 'ORG_ROLE_MEMBER'
        CHECK (role IN ('ORG_ROLE_ADMIN', 'ORG_ROLE_MEMBER', 'ORG_ROLE_VIEWER')),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, customer_id)
);
CREATE INDEX org_members_customer ON org_members (customer_id);
CREATE TRIGGER org_members_touch BEFORE UPDATE ON org_members
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE org_invitations (
    id varchar(20) PRIMARY KEY,
    org_id varchar(20) NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    email varchar(255) NOT NULL,
    role varchar(32) NOT NULL DEFAULT 'ORG_ROLE_MEMBER'
        CHECK (role IN ('ORG_ROLE_ADMIN', 'ORG_ROLE_MEMBER', 'ORG_ROLE_VIEWER')),
    inviter_id varchar(20) REFERENCES customers (id) ON DELETE SET NULL,
    status varchar(32) NOT NULL DEFAULT 'INVITATION_STATUS_PENDING'
        CHECK (status IN ('INVITATION_STATUS_PENDING', 'INVITATION_STATUS_ACCEPTED')),
    token varchar(32) NOT NULL UNIQUE,
    expire_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX org_invitations_pending_key ON org_invitations (org_id, lower(email))
    WHERE status = 'INVITATION_STATUS_PENDING';
CREATE INDEX org_invitations_inviter ON org_invitations (inviter_id);
CREATE TRIGGER org_invitations_touch BEFORE UPDATE ON org_invitations
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE customer_identities (
    id varchar(20) PRIMARY KEY,
    customer_id varchar(20) NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    provider varchar(50) NOT NULL,
    subject varchar(255) NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    UNIQUE (provider, subject)
);
CREATE INDEX customer_identities_customer ON customer_identities (customer_id);
CREATE TRIGGER customer_identities_touch BEFORE UPDATE ON customer_identities
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE email_action_tokens (
    id varchar(20) PRIMARY KEY,
    email varchar(255) NOT NULL,
    purpose varchar(30) NOT NULL CHECK (purpose IN ('magic_link', 'org_invite')),
    token_hash varchar(64) NOT NULL UNIQUE CHECK (token_hash ~ '^[0-9a-f]{64}$'),
    customer_id varchar(20) REFERENCES customers (id) ON DELETE CASCADE,
    invitation_id varchar(20) REFERENCES org_invitations (id) ON DELETE CASCADE,
    expire_time timestamptz NOT NULL,
    consume_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX email_action_tokens_active ON email_action_tokens (lower(email), purpose)
    WHERE consume_time IS NULL;
CREATE INDEX email_action_tokens_customer ON email_action_tokens (customer_id, purpose);
CREATE INDEX email_action_tokens_invitation ON email_action_tokens (invitation_id);
CREATE INDEX email_action_tokens_expiry ON email_action_tokens (expire_time);
CREATE TRIGGER email_action_tokens_touch BEFORE UPDATE ON email_action_tokens
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE refresh_tokens (
    id varchar(20) PRIMARY KEY,
    customer_id varchar(20) NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    family_id varchar(20) NOT NULL,
    token_hash varchar(64) NOT NULL UNIQUE CHECK (token_hash ~ '^[0-9a-f]{64}$'),
    expire_time timestamptz NOT NULL,
    consume_time timestamptz,
    revoke_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refresh_tokens_customer ON refresh_tokens (customer_id);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_live ON refresh_tokens (expire_time)
    WHERE consume_time IS NULL AND revoke_time IS NULL;
CREATE TRIGGER refresh_tokens_touch BEFORE UPDATE ON refresh_tokens
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();

CREATE TABLE org_email_providers (
    org_id varchar(20) PRIMARY KEY REFERENCES orgs (id) ON DELETE CASCADE,
    kind varchar(40) NOT NULL CHECK (
        kind IN ('ORG_EMAIL_PROVIDER_KIND_SMTP', 'ORG_EMAIL_PROVIDER_KIND_RESEND')
    ),
    from_address varchar(255) NOT NULL,
    reply_to varchar(255) NOT NULL DEFAULT '',
    encrypted_config bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER org_email_providers_touch BEFORE UPDATE ON org_email_providers
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_update_time();
