CREATE EXTENSION IF NOT EXISTS vector;

-- The pieces of a document, as they are shown and cited. What they are found by lies in the tables below, each keyed by
-- document so that a document's row takes all of it along when it is deleted.
CREATE TABLE chunks (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    document_id uuid NOT NULL,
    index integer NOT NULL CONSTRAINT chunks_index_check CHECK (index >= 0),
    page_start integer,
    page_end integer,
    section text,
    text text NOT NULL,
    language text,
    tokens integer NOT NULL,
    CONSTRAINT chunks_index_key UNIQUE (business_id, document_id, index),
    CONSTRAINT chunks_document_id_fkey FOREIGN KEY (document_id, business_id)
        REFERENCES documents (id, business_id) ON DELETE CASCADE
);
COMMENT ON COLUMN chunks.index IS 'its place in the document, from 0';
COMMENT ON COLUMN chunks.page_start IS 'from 1; NULL: the document has no pages';
COMMENT ON COLUMN chunks.page_end IS 'NULL as page_start';
COMMENT ON COLUMN chunks.section IS 'the headings it stands under; NULL: none known';
COMMENT ON COLUMN chunks.language IS 'ISO 639-1; NULL: neither French nor English, or unknown';
CALL protect_tenant_table('chunks', '');

-- Vectors, apart from the text so that a scan reads nothing else, and by model so that two can live side by side.
CREATE TABLE chunk_embeddings (
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    document_id uuid NOT NULL,
    chunk_index integer NOT NULL,
    model text NOT NULL,
    -- In the row, not TOASTed: a scan would spend most of its time fetching.
    embedding halfvec(1536) STORAGE PLAIN NOT NULL,
    PRIMARY KEY (business_id, model, document_id, chunk_index),
    CONSTRAINT chunk_embeddings_document_id_fkey FOREIGN KEY (document_id, business_id)
        REFERENCES documents (id, business_id) ON DELETE CASCADE
);
CREATE INDEX chunk_embeddings_document_id_idx ON chunk_embeddings (document_id, business_id);
CALL protect_tenant_table('chunk_embeddings', '');

-- Per document: what it adds to the statistics of BM25. Sums of rows that live and die with their document cannot drift.
CREATE TABLE lexical_statistics (
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    document_id uuid NOT NULL,
    chunk_count integer NOT NULL,
    term_count bigint NOT NULL,
    analyser_version smallint NOT NULL,
    PRIMARY KEY (business_id, document_id),
    CONSTRAINT lexical_statistics_document_id_fkey FOREIGN KEY (document_id, business_id)
        REFERENCES documents (id, business_id) ON DELETE CASCADE
);
COMMENT ON COLUMN lexical_statistics.term_count IS 'terms of its chunks, repeats counted';
COMMENT ON COLUMN lexical_statistics.analyser_version IS 'of the analysis its postings were made by; another than the current: index again';
CALL protect_tenant_table('lexical_statistics', 'SELECT');

-- Which chunks of a document hold a term. One row a term and document, not a chunk: a tenth of the rows to write and read.
-- The arrays run in step: one element a chunk.
CREATE TABLE postings (
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    term text NOT NULL,
    document_id uuid NOT NULL,
    chunk_count integer NOT NULL,
    chunk_indexes integer[] NOT NULL,
    frequencies smallint[] NOT NULL,
    lengths smallint[] NOT NULL,
    PRIMARY KEY (business_id, term, document_id),
    CONSTRAINT postings_document_id_fkey FOREIGN KEY (document_id, business_id)
        REFERENCES documents (id, business_id) ON DELETE CASCADE
);
COMMENT ON COLUMN postings.chunk_count IS 'how many elements the arrays have: summed over documents, the term''s document frequency';
COMMENT ON COLUMN postings.frequencies IS 'how often the chunk has the term';
COMMENT ON COLUMN postings.lengths IS 'how many terms the chunk has, repeats counted';
CREATE INDEX postings_document_id_idx ON postings (document_id, business_id);
CALL protect_tenant_table('postings', '');

-- Large tenants have a table of their own for their vectors, with an HNSW index: a copy of chunk_embeddings that triggers
-- keep up to date. An index of its own on the shared table would block everybody's writes while it is built, and burden
-- everybody's inserts and plans after. See docs/decisions/0002-exact-then-index-retrieval.md.
CREATE TABLE vector_indexes (
    business_id uuid PRIMARY KEY REFERENCES businesses ON DELETE CASCADE,
    model text NOT NULL,
    table_name name NOT NULL,
    chunk_count integer NOT NULL,
    built_at timestamptz NOT NULL
);
COMMENT ON COLUMN vector_indexes.chunk_count IS 'when it was built';
CALL protect_tenant_table('vector_indexes', 'SELECT');
-- Written by the functions below alone.
REVOKE INSERT, UPDATE, DELETE ON vector_indexes FROM relais_app;

-- Row-level security is forced on the owner too: let the functions below, which run as the owner, do their work.
CREATE POLICY maintenance ON chunk_embeddings FOR SELECT TO CURRENT_USER USING (business_id = (SELECT current_business()));
CREATE POLICY maintenance ON vector_indexes TO CURRENT_USER USING (true) WITH CHECK (true);

-- Serialises writes of one business's vectors with the last step of building its index.
CREATE FUNCTION vector_index_lock(business uuid) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN hashtextextended('vector_index ' || business, 0);

CREATE FUNCTION copy_embeddings_to_vector_indexes() RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    business uuid;
    target record;
BEGIN
    FOR business IN SELECT DISTINCT business_id FROM changed LOOP
        PERFORM pg_advisory_xact_lock_shared(vector_index_lock(business));
        SELECT table_name, model INTO target FROM vector_indexes WHERE business_id = business;
        CONTINUE WHEN NOT FOUND;
        IF TG_OP = 'INSERT' THEN
            EXECUTE format(
                'INSERT INTO %I SELECT business_id, document_id, chunk_index, embedding FROM changed WHERE business_id = $1 AND model = $2',
                target.table_name
            ) USING business, target.model;
        ELSE
            EXECUTE format(
                'DELETE FROM %I AS copy USING changed WHERE changed.business_id = $1 AND changed.model = $2
                 AND copy.document_id = changed.document_id AND copy.chunk_index = changed.chunk_index',
                target.table_name
            ) USING business, target.model;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE TRIGGER copy_inserts AFTER INSERT ON chunk_embeddings
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION copy_embeddings_to_vector_indexes();
CREATE TRIGGER copy_deletes AFTER DELETE ON chunk_embeddings
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION copy_embeddings_to_vector_indexes();

-- Builds, or builds anew, the table and index of one business's vectors of a model; returns how many it holds.
-- Reads go on as before until it commits; the business's writes wait only while the last changes are copied.
CREATE FUNCTION build_vector_index(business uuid, embedding_model text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    old_name name;
    new_name name := format('vectors_%s_%s', replace(business::text, '-', ''), to_char(clock_timestamp(), 'YYMMDDHH24MISSMS'));
    held integer;
BEGIN
    PERFORM set_config('relais.business_id', business::text, true);
    EXECUTE format(
        'CREATE TABLE %I (
            business_id uuid NOT NULL CHECK (business_id = %L),
            document_id uuid NOT NULL,
            chunk_index integer NOT NULL,
            embedding halfvec(1536) STORAGE PLAIN NOT NULL,
            PRIMARY KEY (document_id, chunk_index)
        )',
        new_name, business
    );
    EXECUTE format(
        'INSERT INTO %I SELECT business_id, document_id, chunk_index, embedding FROM chunk_embeddings WHERE business_id = $1 AND model = $2',
        new_name
    ) USING business, embedding_model;
    EXECUTE format('CREATE INDEX ON %I USING hnsw (embedding halfvec_cosine_ops) WITH (m = 24, ef_construction = 200)', new_name);
    EXECUTE format('ANALYZE %I', new_name);

    PERFORM pg_advisory_xact_lock(vector_index_lock(business));
    EXECUTE format(
        'DELETE FROM %I AS copy WHERE NOT EXISTS (
            SELECT FROM chunk_embeddings AS kept
            WHERE kept.business_id = $1 AND kept.model = $2
              AND kept.document_id = copy.document_id AND kept.chunk_index = copy.chunk_index
        )',
        new_name
    ) USING business, embedding_model;
    EXECUTE format(
        'INSERT INTO %I SELECT business_id, document_id, chunk_index, embedding FROM chunk_embeddings
         WHERE business_id = $1 AND model = $2 ON CONFLICT DO NOTHING',
        new_name
    ) USING business, embedding_model;
    EXECUTE format('SELECT count(*) FROM %I', new_name) INTO held;
    -- After the copying, which as the owner it would hide the rows from.
    CALL protect_tenant_table(new_name::text::regclass, '');

    SELECT table_name INTO old_name FROM vector_indexes WHERE business_id = business FOR UPDATE;
    INSERT INTO vector_indexes (business_id, model, table_name, chunk_count, built_at)
    VALUES (business, embedding_model, new_name, held, clock_timestamp())
    ON CONFLICT (business_id) DO UPDATE
    SET model = excluded.model, table_name = excluded.table_name, chunk_count = excluded.chunk_count, built_at = excluded.built_at;
    IF old_name IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', old_name);
    END IF;
    PERFORM set_config('relais.business_id', '', true);
    RETURN held;
END
$$;

-- Gives up the table and index of one business's vectors, if it has one.
CREATE FUNCTION drop_vector_index(business uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    old_name name;
BEGIN
    PERFORM pg_advisory_xact_lock(vector_index_lock(business));
    DELETE FROM vector_indexes WHERE business_id = business RETURNING table_name INTO old_name;
    IF old_name IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', old_name);
    RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION build_vector_index, drop_vector_index FROM PUBLIC;
GRANT EXECUTE ON FUNCTION build_vector_index, drop_vector_index TO relais_platform;
