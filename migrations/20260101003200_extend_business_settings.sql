ALTER TABLE business_settings
    ADD COLUMN manychat_connected_at timestamptz,
    ADD COLUMN outbound_webhook_url text CONSTRAINT business_settings_outbound_webhook_url_check CHECK (outbound_webhook_url LIKE 'https://%'),
    ADD COLUMN business_hours jsonb CONSTRAINT business_settings_business_hours_check CHECK (jsonb_typeof(business_hours) = 'object');
COMMENT ON COLUMN business_settings.manychat_connected_at IS 'when its key was set; NULL: not connected, or before this was kept';
COMMENT ON COLUMN business_settings.outbound_webhook_url IS 'NULL: none';
COMMENT ON COLUMN business_settings.business_hours IS 'time zone, slots by weekday, holidays; NULL: always open';
