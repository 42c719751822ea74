-- Offering a job to Redis changes dispatch_at alone. With no index on that column, and room on the row's own page, the change
-- stays on the page: no index learns of it. What is waiting is found by when it was to run.
DROP INDEX jobs_waiting_lane_idx;
DROP INDEX jobs_waiting_dispatch_at_idx;

-- A fair round: per lane, the first waiting rows.
CREATE INDEX jobs_waiting_lane_idx ON jobs (queue, lane, priority, run_at, id) WHERE state IN ('queued', 'failed');
-- Is anything due, and when is the next.
CREATE INDEX jobs_waiting_run_at_idx ON jobs (queue, run_at) WHERE state IN ('queued', 'failed');

-- Room for the offer, the claim and the end of each row beside it.
ALTER TABLE jobs SET (fillfactor = 50);
