CREATE TABLE documents (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    filename text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL,
    content_sha256 bytea NOT NULL,
    object_key text NOT NULL,
    status text NOT NULL CONSTRAINT documents_status_check CHECK (status IN ('pending', 'processed', 'failed')),
    job_id uuid NOT NULL,
    pages integer,
    chunk_count integer,
    language text,
    error_code text,
    error text,
    created_at timestamptz NOT NULL,
    processed_at timestamptz,
    CONSTRAINT documents_id_business_id_key UNIQUE (id, business_id)
);
COMMENT ON COLUMN documents.object_key IS 'where the original lies in object storage';
COMMENT ON COLUMN documents.job_id IS 'the ingestion; its row may be gone once retention has passed';
COMMENT ON COLUMN documents.pages IS 'NULL until processed';
COMMENT ON COLUMN documents.chunk_count IS 'NULL until processed';
COMMENT ON COLUMN documents.language IS 'ISO 639-1 of most of the text; NULL until processed, or unknown';
COMMENT ON COLUMN documents.error_code IS 'NULL unless failed';
COMMENT ON COLUMN documents.error IS 'what a person should know; NULL unless failed';
COMMENT ON COLUMN documents.processed_at IS 'when it was processed or failed; NULL: pending';
CREATE INDEX documents_business_id_idx ON documents (business_id, id DESC);
CALL protect_tenant_table('documents', 'SELECT');
