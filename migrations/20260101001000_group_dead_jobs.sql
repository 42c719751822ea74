-- Dead jobs by what killed them. Errors that differ only in what they name (ids, addresses, times, numbers) are one error:
-- a cause kills many jobs, and a person wants to see the cause once.

-- The error with what it names left out. A status of HTTP ("404 Not Found") tells causes apart, and stays.
CREATE FUNCTION error_pattern(error text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT
AS $$
DECLARE
    -- Longer errors differ at their ends only.
    pattern text := left(error, 2000);
BEGIN
    pattern := regexp_replace(pattern, '[a-z][a-z0-9+.-]*://[^\s"''<>(),;]+', '<url>', 'gi');
    pattern := regexp_replace(pattern, '[^\s"''<>(),;:=]+@[^\s"''<>(),;:=]+\.[a-z]+', '<email>', 'gi');
    pattern := regexp_replace(pattern, '\m[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\M', '<id>', 'gi');
    pattern := regexp_replace(pattern, '\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z| UTC|[+-]\d\d:?\d\d)?)?', '<time>', 'g');
    -- A word with digits in it, long enough to be an id: hexadecimal, a ULID, `req_8fJ2…`.
    pattern := regexp_replace(pattern, '\m(?=\w*\d)(?=\w*[a-z])\w{10,}\M', '<id>', 'gi');
    pattern := regexp_replace(pattern, '\m(?![45]\d\d [A-Z])\d+([.,:]\d+)*', '#', 'g');
    RETURN left(regexp_replace(pattern, '\s+', ' ', 'g'), 300);
END
$$;

ALTER TABLE jobs
    ADD COLUMN error_fingerprint text,
    ADD COLUMN note text;
COMMENT ON COLUMN jobs.error_fingerprint IS 'of the pattern of the error it died of; NULL: it never died';
COMMENT ON COLUMN jobs.note IS 'what the person said who last tried it again or discarded it; NULL: nobody did';

-- Whoever gives a job up, a worker or a person, it is counted with its like.
CREATE FUNCTION fingerprint_dead_job() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    NEW.error_fingerprint := left(md5(error_pattern(coalesce(NEW.last_error, ''))), 8);
    RETURN NEW;
END
$$;

CREATE TRIGGER fingerprint_dead_job BEFORE INSERT OR UPDATE OF state ON jobs
    FOR EACH ROW WHEN (NEW.state = 'dead') EXECUTE FUNCTION fingerprint_dead_job();

-- Row-level security is forced on the owner too, and the owner of a migration need not be allowed past it.
ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY;
UPDATE jobs SET state = 'dead' WHERE state = 'dead';
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;

-- The groups are read from this index alone, however many jobs are dead.
CREATE INDEX jobs_dead_error_idx ON jobs (queue, kind, error_fingerprint, finished_at, lane) WHERE state = 'dead';
