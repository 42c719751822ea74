-- Who may do what in a business: people by membership, machines by API key. And who did.

CREATE TABLE memberships (
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role text NOT NULL CONSTRAINT memberships_role_check CHECK (role IN ('owner', 'admin', 'member')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (business_id, user_id)
);
CREATE INDEX memberships_user_id_idx ON memberships (user_id);
CALL protect_tenant_table('memberships', 'SELECT, INSERT, UPDATE, DELETE');
-- A user sees the own memberships, of whatever business, and the businesses they are in.
CREATE POLICY own ON memberships FOR SELECT TO relais_app USING (user_id = (SELECT current_user_id()));
CREATE POLICY member ON businesses FOR SELECT TO relais_app USING (
    (SELECT current_user_id()) IS NOT NULL
    AND EXISTS (SELECT FROM memberships WHERE memberships.business_id = businesses.id AND memberships.user_id = (SELECT current_user_id()))
);
-- A business sees who its members are.
CREATE POLICY colleague ON users FOR SELECT TO relais_app USING (
    (SELECT current_business()) IS NOT NULL
    AND EXISTS (SELECT FROM memberships WHERE memberships.user_id = users.id AND memberships.business_id = (SELECT current_business()))
);
-- Signing up makes a business.
GRANT INSERT, UPDATE ON businesses TO relais_platform;
GRANT INSERT, UPDATE ON business_settings TO relais_platform;

CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    email text NOT NULL CONSTRAINT invitations_email_check CHECK (email = lower(email)),
    role text NOT NULL CONSTRAINT invitations_role_check CHECK (role IN ('admin', 'member')),
    invited_by uuid REFERENCES users ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON TABLE invitations IS 'sent by e-mail. Their tokens are derived from the id with a key, and kept nowhere';
COMMENT ON COLUMN invitations.invited_by IS 'NULL: an API key, or somebody since erased';
COMMENT ON COLUMN invitations.accepted_at IS 'NULL: not yet';
COMMENT ON COLUMN invitations.revoked_at IS 'NULL: works until it expires';
CREATE UNIQUE INDEX invitations_open_key ON invitations (business_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX invitations_expires_at_idx ON invitations (expires_at);
CALL protect_tenant_table('invitations', 'SELECT, UPDATE (accepted_at)');

-- Keys made before had every right a key can have.
ALTER TABLE api_keys
    ADD COLUMN scopes text[] NOT NULL DEFAULT '{*}',
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN created_by uuid REFERENCES users ON DELETE SET NULL,
    ADD COLUMN replaced_by uuid REFERENCES api_keys ON DELETE SET NULL;
ALTER TABLE api_keys ALTER COLUMN scopes DROP DEFAULT;
COMMENT ON COLUMN api_keys.scopes IS 'permissions by name; * is every one a key can have';
COMMENT ON COLUMN api_keys.expires_at IS 'NULL: works until revoked';
COMMENT ON COLUMN api_keys.created_by IS 'NULL: the operator, or somebody since erased';
COMMENT ON COLUMN api_keys.replaced_by IS 'the key it was rotated to; NULL: none';
CREATE INDEX api_keys_created_by_idx ON api_keys (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX api_keys_replaced_by_idx ON api_keys (replaced_by) WHERE replaced_by IS NOT NULL;

CREATE TABLE audit_events (
    id uuid PRIMARY KEY,
    business_id uuid,
    actor_kind text NOT NULL CONSTRAINT audit_events_actor_kind_check CHECK (actor_kind IN ('user', 'api_key', 'operator', 'nobody')),
    actor_id uuid,
    on_behalf_of uuid,
    action text NOT NULL CONSTRAINT audit_events_action_check CHECK (action <> ''),
    object_kind text NOT NULL,
    object_id text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}' CONSTRAINT audit_events_details_check CHECK (jsonb_typeof(details) = 'object'),
    address text,
    user_agent text,
    request_id text,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE audit_events IS 'append-only: nobody but the owner of the database may change or remove a row. No foreign keys: it outlives what it tells of';
COMMENT ON COLUMN audit_events.business_id IS 'NULL: of the platform, such as a role or a sign-in';
COMMENT ON COLUMN audit_events.actor_id IS 'the user or API key; NULL: the operator at the command line, or nobody known';
COMMENT ON COLUMN audit_events.on_behalf_of IS 'the user the actor acted as; NULL: for themselves';
COMMENT ON COLUMN audit_events.address IS 'NULL: not over the network';
COMMENT ON COLUMN audit_events.user_agent IS 'NULL: not said';
COMMENT ON COLUMN audit_events.request_id IS 'NULL: not by a request';
CREATE INDEX audit_events_business_id_idx ON audit_events (business_id, id DESC);
CREATE INDEX audit_events_created_at_idx ON audit_events (created_at);
CALL protect_tenant_table('audit_events', 'SELECT, INSERT');
REVOKE UPDATE, DELETE ON audit_events FROM relais_app;
