-- Who signs in. Users belong to nobody: a user is in as many businesses as have a membership of theirs. A third scope
-- stands beside a business's and the platform's: a user's own rows, with relais.user_id set for the transaction.

-- The user set for this transaction, or NULL. After a local setting ends it is '', not unset.
CREATE FUNCTION current_user_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('relais.user_id', true), '')::uuid;

-- Puts a table under forced row-level security with the platform's policy alone: no tenant and no user reaches it.
CREATE PROCEDURE protect_platform_table(target regclass, platform_rights text)
    LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY platform ON %s TO relais_platform USING (true) WITH CHECK (true)', target);
    EXECUTE format('GRANT %s ON %s TO relais_platform', platform_rights, target);
END
$$;

-- The same, and a user sees and changes the own rows, within app_rights.
CREATE PROCEDURE protect_user_table(target regclass, platform_rights text, app_rights text, user_column name DEFAULT 'user_id')
    LANGUAGE plpgsql
AS $$
BEGIN
    CALL protect_platform_table(target, platform_rights);
    EXECUTE format(
        'CREATE POLICY own ON %s TO relais_app USING (%I = (SELECT current_user_id())) WITH CHECK (%I = (SELECT current_user_id()))',
        target, user_column, user_column
    );
    EXECUTE format('GRANT %s ON %s TO relais_app', app_rights, target);
END
$$;

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text,
    email_verified_at timestamptz,
    phone text,
    password_hash text,
    name text NOT NULL CONSTRAINT users_name_check CHECK (name <> ''),
    avatar_url text,
    language text NOT NULL DEFAULT 'fr' CONSTRAINT users_language_check CHECK (language IN ('fr', 'en')),
    role text NOT NULL DEFAULT 'user' CONSTRAINT users_role_check CHECK (role IN ('user', 'support', 'admin', 'service')),
    default_business_id uuid REFERENCES businesses ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    last_login_at timestamptz,
    deactivated_at timestamptz,
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_phone_key UNIQUE (phone),
    CONSTRAINT users_email_check CHECK (email = lower(email)),
    CONSTRAINT users_phone_check CHECK (phone ~ '^\+[1-9][0-9]{6,14}$')
);
COMMENT ON COLUMN users.email IS 'lower case; NULL: signed up by phone, or by an issuer that told none';
COMMENT ON COLUMN users.email_verified_at IS 'NULL: nobody has proved to read it';
COMMENT ON COLUMN users.phone IS 'E.164, always proved by a code; NULL: none given';
COMMENT ON COLUMN users.password_hash IS 'bcrypt; NULL: signs in otherwise';
COMMENT ON COLUMN users.avatar_url IS 'NULL: none';
COMMENT ON COLUMN users.role IS 'on the platform; the role in a business is the membership''s';
COMMENT ON COLUMN users.default_business_id IS 'for which a request acts that names none; NULL: such a request is refused';
COMMENT ON COLUMN users.last_login_at IS 'NULL: never';
COMMENT ON COLUMN users.deactivated_at IS 'NULL: may sign in';
CREATE INDEX users_default_business_id_idx ON users (default_business_id);
CALL protect_user_table('users', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT, UPDATE (name, avatar_url, language, default_business_id, updated_at)', 'id');

CREATE TABLE user_identities (
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
COMMENT ON TABLE user_identities IS 'who a user is to an OpenID Connect issuer';
CREATE INDEX user_identities_user_id_idx ON user_identities (user_id);
CALL protect_user_table('user_identities', 'SELECT, INSERT, DELETE', 'SELECT');

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    impersonator_id uuid REFERENCES users ON DELETE CASCADE,
    address text,
    user_agent text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_for text
);
COMMENT ON COLUMN sessions.impersonator_id IS 'who acts as the user; NULL: the user';
COMMENT ON COLUMN sessions.address IS 'from where it was begun; NULL: unknown';
COMMENT ON COLUMN sessions.user_agent IS 'with what it was begun; NULL: not said';
COMMENT ON COLUMN sessions.expires_at IS 'put off at each refresh';
COMMENT ON COLUMN sessions.revoked_at IS 'NULL: valid';
COMMENT ON COLUMN sessions.revoked_for IS 'logout, reuse, password, deactivation; NULL: valid';
CREATE INDEX sessions_user_id_idx ON sessions (user_id);
CREATE INDEX sessions_impersonator_id_idx ON sessions (impersonator_id) WHERE impersonator_id IS NOT NULL;
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);
CALL protect_user_table('sessions', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT');

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    used_at timestamptz
);
COMMENT ON TABLE refresh_tokens IS 'every one a session had, so that the use of an old one is known for what it is';
COMMENT ON COLUMN refresh_tokens.token_hash IS 'SHA-256 of the token, which has 256 random bits';
COMMENT ON COLUMN refresh_tokens.used_at IS 'when its successor was given; NULL: it is the current one';
CREATE INDEX refresh_tokens_session_id_idx ON refresh_tokens (session_id);
CALL protect_platform_table('refresh_tokens', 'SELECT, INSERT, UPDATE, DELETE');

CREATE TABLE email_proofs (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    purpose text NOT NULL CONSTRAINT email_proofs_purpose_check CHECK (purpose IN ('verify_email', 'reset_password')),
    email text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
COMMENT ON TABLE email_proofs IS 'links sent by e-mail. Their tokens are derived from the id with a key, and kept nowhere';
COMMENT ON COLUMN email_proofs.email IS 'where it was sent: proves nothing of an address the user has since changed to';
COMMENT ON COLUMN email_proofs.used_at IS 'NULL: works until it expires';
CREATE INDEX email_proofs_user_id_idx ON email_proofs (user_id, purpose, created_at);
CREATE INDEX email_proofs_expires_at_idx ON email_proofs (expires_at);
CALL protect_platform_table('email_proofs', 'SELECT, INSERT, UPDATE, DELETE');

CREATE TABLE phone_codes (
    id uuid PRIMARY KEY,
    phone text NOT NULL,
    code_hash bytea NOT NULL,
    address text,
    tries smallint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
COMMENT ON TABLE phone_codes IS 'one-time codes. The latest of a phone counts; older ones are kept a day, to be counted';
COMMENT ON COLUMN phone_codes.code_hash IS 'HMAC-SHA-256 of id and code';
COMMENT ON COLUMN phone_codes.address IS 'who asked for it; NULL: unknown';
COMMENT ON COLUMN phone_codes.used_at IS 'NULL: works until it expires, is outdone by a later one, or was tried 5 times';
CREATE INDEX phone_codes_phone_idx ON phone_codes (phone, created_at);
CREATE INDEX phone_codes_address_idx ON phone_codes (address, created_at);
CREATE INDEX phone_codes_created_at_idx ON phone_codes (created_at);
CALL protect_platform_table('phone_codes', 'SELECT, INSERT, UPDATE, DELETE');
