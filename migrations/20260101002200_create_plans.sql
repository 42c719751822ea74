-- What a business may use. Prices, credits and features come with billing.
CREATE TABLE plans (
    name text PRIMARY KEY,
    requests_per_minute integer NOT NULL CONSTRAINT plans_requests_per_minute_check CHECK (requests_per_minute > 0)
);
COMMENT ON COLUMN plans.requests_per_minute IS 'of those that ask a model';
INSERT INTO plans (name, requests_per_minute) VALUES ('free', 5), ('premium', 30), ('vip', 100);
-- Everybody may know what the plans are.
GRANT SELECT ON plans TO relais_app;
GRANT SELECT, INSERT, UPDATE ON plans TO relais_platform;

-- Businesses made before were the operator's own: nothing is taken from them.
ALTER TABLE businesses ADD COLUMN plan text NOT NULL DEFAULT 'vip' REFERENCES plans;
ALTER TABLE businesses ALTER COLUMN plan SET DEFAULT 'free';
CREATE INDEX businesses_plan_idx ON businesses (plan);
