-- Who may see what. Two roles besides the owner who migrates:
--   relais_app       the services connect as it; sees the rows of the business set for the transaction, and none without.
--   relais_platform  platform work (dispatcher, crons, authentication) switches to it for one transaction, with
--                    SET LOCAL ROLE; it has only the rights each table grants it.
-- Roles belong to the whole server: another database may have created them already.
DO $$
BEGIN
    CREATE ROLE relais_app LOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

DO $$
BEGIN
    CREATE ROLE relais_platform NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

-- INHERIT FALSE: the platform's policies must not apply to the services' role until it asks for them.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_auth_members
        WHERE roleid = 'relais_platform'::regrole AND member = 'relais_app'::regrole AND NOT inherit_option
    ) THEN
        GRANT relais_platform TO relais_app WITH INHERIT FALSE, SET TRUE;
    END IF;
EXCEPTION WHEN unique_violation THEN NULL;
END
$$;

GRANT USAGE ON SCHEMA public TO relais_app, relais_platform;

-- The business set for this transaction, or NULL. After a local setting ends it is '', not unset.
CREATE FUNCTION current_business() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('relais.business_id', true), '')::uuid;

-- Puts a table with a business_id under tenancy: forced row-level security, the tenant's policy, the platform's.
-- The scalar sub-select makes the policy read the setting once a statement, not once a row.
CREATE PROCEDURE protect_tenant_table(target regclass, platform_rights text, tenant_column name DEFAULT 'business_id')
    LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO relais_app USING (%I = (SELECT current_business())) WITH CHECK (%I = (SELECT current_business()))',
        target, tenant_column, tenant_column
    );
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO relais_app', target);
    IF platform_rights <> '' THEN
        EXECUTE format('CREATE POLICY platform ON %s TO relais_platform USING (true) WITH CHECK (true)', target);
        EXECUTE format('GRANT %s ON %s TO relais_platform', platform_rights, target);
    END IF;
END
$$;

CREATE TABLE businesses (
    id uuid PRIMARY KEY,
    name text NOT NULL CONSTRAINT businesses_name_check CHECK (name <> ''),
    stage text NOT NULL CONSTRAINT businesses_stage_check CHECK (stage IN ('personal', 'idea', 'established')),
    dispatch_weight smallint NOT NULL DEFAULT 1 CONSTRAINT businesses_dispatch_weight_check CHECK (dispatch_weight BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL
);
COMMENT ON COLUMN businesses.dispatch_weight IS 'jobs this business may start per fair round, relative to others';
CALL protect_tenant_table('businesses', 'SELECT', 'id');

CREATE TABLE business_settings (
    business_id uuid PRIMARY KEY REFERENCES businesses ON DELETE CASCADE,
    language text NOT NULL DEFAULT 'fr' CONSTRAINT business_settings_language_check CHECK (language IN ('fr', 'en')),
    acknowledgement text CONSTRAINT business_settings_acknowledgement_check CHECK (acknowledgement <> ''),
    manychat_api_key bytea,
    default_character_id uuid,
    delivery_policy text NOT NULL DEFAULT 'at_least_once'
        CONSTRAINT business_settings_delivery_policy_check CHECK (delivery_policy IN ('at_least_once', 'at_most_once')),
    opt_out_words text[] NOT NULL DEFAULT '{stop,arret,desabonner,unsubscribe}',
    updated_at timestamptz NOT NULL
);
COMMENT ON COLUMN business_settings.acknowledgement IS 'NULL: webhooks are acknowledged without a text';
COMMENT ON COLUMN business_settings.manychat_api_key IS 'sealed with the master key; NULL: ManyChat is not connected';
COMMENT ON COLUMN business_settings.default_character_id IS 'NULL: the platform''s default character answers';
COMMENT ON COLUMN business_settings.delivery_policy IS 'what to do with a delivery whose outcome is unknown: send again, or not';
COMMENT ON COLUMN business_settings.opt_out_words IS 'folded: lower case, no accents';
CALL protect_tenant_table('business_settings', 'SELECT');

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    name text NOT NULL,
    secret_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON COLUMN api_keys.secret_hash IS 'SHA-256 of the secret, which has 256 random bits';
COMMENT ON COLUMN api_keys.last_used_at IS 'to the minute; NULL: never used';
COMMENT ON COLUMN api_keys.revoked_at IS 'NULL: valid';
CREATE INDEX api_keys_business_id_idx ON api_keys (business_id);
CALL protect_tenant_table('api_keys', 'SELECT, UPDATE (last_used_at)');

CREATE TABLE webhook_secrets (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    secret_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
COMMENT ON COLUMN webhook_secrets.secret_hash IS 'SHA-256 of the whole secret';
COMMENT ON COLUMN webhook_secrets.expires_at IS 'NULL: the current one; set when rotated, so that both work for a while';
CREATE INDEX webhook_secrets_business_id_idx ON webhook_secrets (business_id);
CALL protect_tenant_table('webhook_secrets', '');
