-- Envelope encryption: a business's secrets are sealed with a key of its own, which is wrapped by the master key. Another
-- master key then needs only these few rows written anew.
CREATE TABLE data_keys (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    wrapped bytea NOT NULL,
    master_key_id text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT data_keys_business_id_key UNIQUE (business_id)
);
COMMENT ON COLUMN data_keys.wrapped IS 'sealed with the master key, for this row';
COMMENT ON COLUMN data_keys.master_key_id IS 'fingerprint of the master key that wraps it';
CREATE INDEX data_keys_master_key_id_idx ON data_keys (master_key_id, id);
CALL protect_tenant_table('data_keys', 'SELECT, UPDATE (wrapped, master_key_id)');
REVOKE UPDATE ON data_keys FROM relais_app;
COMMENT ON COLUMN business_settings.manychat_api_key IS 'sealed with the business''s data key; rows of before: with the master key. NULL: ManyChat is not connected';
