CREATE TYPE job_state AS ENUM ('queued', 'running', 'succeeded', 'failed', 'dead', 'cancelled');

-- One row, one life: the row is the job; Redis only says which rows to look at next.
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    queue text NOT NULL,
    kind text NOT NULL,
    business_id uuid,
    lane uuid NOT NULL GENERATED ALWAYS AS (coalesce(business_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')) STORED,
    args jsonb NOT NULL,
    key text,
    key_expires_at timestamptz,
    group_key text,
    state job_state NOT NULL DEFAULT 'queued',
    priority smallint NOT NULL DEFAULT 1,
    run_at timestamptz NOT NULL,
    dispatch_at timestamptz NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    lease_until timestamptz,
    worker text,
    wait_reason text,
    last_error text,
    result jsonb,
    reply_to text,
    request_id text,
    traceparent text,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    expires_at timestamptz
)
-- A row is updated twice in its life: leave room for it on its page. Dead rows at the head of the waiting indexes cost each
-- probe, so they are cleared by their number, not by their share of a table that keeps a week.
WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON COLUMN jobs.business_id IS 'NULL: the platform''s own work';
COMMENT ON COLUMN jobs.lane IS 'the fair share this job counts against: its business, or the last of all ids for the platform';
COMMENT ON COLUMN jobs.key IS 'unique while the row is kept: deduplication; NULL: none';
COMMENT ON COLUMN jobs.key_expires_at IS 'when another job may take the key; NULL: as long as the row is kept';
COMMENT ON COLUMN jobs.group_key IS 'jobs of one group are taken together, in order of id; NULL: on its own';
COMMENT ON COLUMN jobs.priority IS 'lower first, within one lane';
COMMENT ON COLUMN jobs.run_at IS 'not before';
COMMENT ON COLUMN jobs.dispatch_at IS 'when the dispatcher may (again) hand the waiting row to Redis: a visibility timeout';
COMMENT ON COLUMN jobs.attempt IS 'counted at each claim; the fencing token of the attempt that runs';
COMMENT ON COLUMN jobs.lease_until IS 'NULL unless running; past it the worker is taken for dead';
COMMENT ON COLUMN jobs.worker IS 'who claimed it last; NULL: never claimed';
COMMENT ON COLUMN jobs.wait_reason IS 'why a waiting job waits, for people; NULL: its turn has not come';
COMMENT ON COLUMN jobs.last_error IS 'NULL: no attempt failed';
COMMENT ON COLUMN jobs.result IS 'NULL: none';
COMMENT ON COLUMN jobs.reply_to IS 'Redis channel told when the job ends, for who waits; NULL: nobody';
COMMENT ON COLUMN jobs.traceparent IS 'W3C trace context of the cause; NULL: untraced';
COMMENT ON COLUMN jobs.finished_at IS 'NULL: not ended';
COMMENT ON COLUMN jobs.expires_at IS 'when the ended row is deleted; NULL: not ended';

CREATE UNIQUE INDEX jobs_key_key ON jobs (key) WHERE key IS NOT NULL;
-- A fair round: per lane, the first waiting rows.
CREATE INDEX jobs_waiting_lane_idx ON jobs (queue, lane, priority, dispatch_at, id) WHERE state IN ('queued', 'failed');
-- Is anything due, and when is the next.
CREATE INDEX jobs_waiting_dispatch_at_idx ON jobs (queue, dispatch_at) WHERE state IN ('queued', 'failed');
-- Not on lease_until: renewing a lease then touches no index.
CREATE INDEX jobs_running_idx ON jobs (queue, lane) WHERE state = 'running';
CREATE INDEX jobs_group_key_idx ON jobs (group_key, id) WHERE group_key IS NOT NULL AND state IN ('queued', 'running', 'failed');
CREATE INDEX jobs_dead_idx ON jobs (queue, finished_at) WHERE state = 'dead';
CREATE INDEX jobs_expires_at_idx ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CALL protect_tenant_table('jobs', 'SELECT, INSERT, UPDATE, DELETE');

-- Queues a person has paused: the dispatcher leaves them alone. No row: running.
CREATE TABLE queue_pauses (
    queue text PRIMARY KEY,
    reason text NOT NULL,
    paused_at timestamptz NOT NULL
);
GRANT SELECT ON queue_pauses TO relais_app;
GRANT SELECT, INSERT, DELETE ON queue_pauses TO relais_platform;
