-- What a business says of itself, and its end.
ALTER TABLE businesses
    ADD COLUMN industry text,
    ADD COLUMN description text,
    ADD COLUMN team jsonb NOT NULL DEFAULT '[]' CONSTRAINT businesses_team_check CHECK (jsonb_typeof(team) = 'array'),
    ADD COLUMN finances jsonb NOT NULL DEFAULT '{}' CONSTRAINT businesses_finances_check CHECK (jsonb_typeof(finances) = 'object'),
    ADD COLUMN assets jsonb NOT NULL DEFAULT '[]' CONSTRAINT businesses_assets_check CHECK (jsonb_typeof(assets) = 'array'),
    ADD COLUMN location text,
    ADD COLUMN currency text NOT NULL DEFAULT 'EUR' CONSTRAINT businesses_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    ADD COLUMN time_zone text NOT NULL DEFAULT 'Europe/Paris' CONSTRAINT businesses_time_zone_check CHECK (time_zone <> ''),
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN deletion_requested_at timestamptz,
    ADD COLUMN erase_after timestamptz,
    ADD CONSTRAINT businesses_erase_after_check CHECK ((deletion_requested_at IS NULL) = (erase_after IS NULL));
COMMENT ON COLUMN businesses.industry IS 'one of a list the services keep; NULL: not said';
COMMENT ON COLUMN businesses.description IS 'NULL: none';
COMMENT ON COLUMN businesses.team IS 'people: [{name, role}]';
COMMENT ON COLUMN businesses.finances IS 'amounts in minor units of the currency, by name';
COMMENT ON COLUMN businesses.assets IS 'what it owns: [{name, value}], in minor units of the currency';
COMMENT ON COLUMN businesses.location IS 'NULL: not said';
COMMENT ON COLUMN businesses.currency IS 'ISO 4217';
COMMENT ON COLUMN businesses.time_zone IS 'of the IANA database';
COMMENT ON COLUMN businesses.deletion_requested_at IS 'since when nothing works for it any more; NULL: it lives';
COMMENT ON COLUMN businesses.erase_after IS 'when nothing of it is left; until then it may be restored. NULL: it lives';
CREATE INDEX businesses_erase_after_idx ON businesses (erase_after) WHERE erase_after IS NOT NULL;

-- Deletes up to `most` rows of the business that is set, of whatever tables have any: leaves before what they hang on, so that
-- no single row takes many others with it. With the caller's rights; returns how many, 0 where nothing is left but the
-- business itself and what only the functions of the owner may touch.
CREATE FUNCTION erase_rows_of_business(most integer) RETURNS integer
    LANGUAGE plpgsql
AS $$
DECLARE
    target regclass;
    erased integer := 0;
    batch integer;
BEGIN
    FOR target IN
        SELECT class.oid FROM pg_class AS class
        WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
          AND class.relname NOT LIKE 'vectors\_%'
          AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = class.oid AND attname = 'business_id' AND NOT attisdropped)
          AND has_table_privilege(class.oid, 'DELETE')
        -- Those on which others hang come last.
        ORDER BY (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = class.oid), class.relname
    LOOP
        EXIT WHEN erased >= most;
        EXECUTE format(
            'DELETE FROM %s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %s WHERE business_id = current_business() LIMIT $1))',
            target, target
        ) USING most - erased;
        GET DIAGNOSTICS batch = ROW_COUNT;
        erased := erased + batch;
    END LOOP;
    RETURN erased;
END
$$;

-- The audit log is append-only to the services: what is of a business that is being erased goes by this alone.
CREATE POLICY erasure ON audit_events TO CURRENT_USER USING (business_id = (SELECT current_business()));
CREATE POLICY erasure ON businesses FOR SELECT TO CURRENT_USER USING (id = (SELECT current_business()));
CREATE FUNCTION erase_audit_events(business uuid, most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    erased integer;
BEGIN
    PERFORM set_config('relais.business_id', business::text, true);
    IF NOT EXISTS (SELECT FROM businesses WHERE id = business AND erase_after IS NOT NULL) THEN
        RAISE EXCEPTION 'the business is not being deleted';
    END IF;
    DELETE FROM audit_events
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM audit_events WHERE business_id = business LIMIT most));
    GET DIAGNOSTICS erased = ROW_COUNT;
    PERFORM set_config('relais.business_id', '', true);
    RETURN erased;
END
$$;
REVOKE EXECUTE ON FUNCTION erase_audit_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_audit_events TO relais_platform;
GRANT DELETE ON businesses TO relais_platform;
