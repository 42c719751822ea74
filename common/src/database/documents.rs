//! Documents: what was uploaded and what became of it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::document_kind::DocumentKind;
use crate::domain::{BusinessId, DocumentId, JobId};
use crate::error::{Error, Result};

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum DocumentStatus {
    /// Waits for its ingestion, or is being read.
    Pending,
    /// Found by questions.
    Processed,
    /// Could not be read.
    Failed,
}

/// An uploaded file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Which.
    pub id: DocumentId,
    /// Its name, as uploaded.
    pub filename: String,
    /// [`DocumentKind::media_type`]
    pub media_type: String,
    /// Its size.
    pub size_bytes: i64,
    /// Where the original lies in object storage.
    pub object_key: String,
    /// What became of it.
    pub status: DocumentStatus,
    /// Its ingestion.
    pub job_id: JobId,
    /// Its pages; `None` until processed.
    pub pages: Option<i32>,
    /// Its chunks; `None` until processed.
    pub chunk_count: Option<i32>,
    /// ISO 639-1 of most of its text; `None` until processed, or unknown.
    pub language: Option<String>,
    /// Why it failed, for programs.
    pub error_code: Option<String>,
    /// Why it failed, for people.
    pub error: Option<String>,
    /// When it was uploaded.
    pub created_at: DateTime<Utc>,
    /// When it was processed or failed.
    pub processed_at: Option<DateTime<Utc>>,
}

/// A document to be inserted.
#[derive(Clone, Debug)]
pub struct NewDocument<'a> {
    /// Its id, known before the row is.
    pub id: DocumentId,
    /// Its name, as uploaded.
    pub filename: &'a str,
    /// What it is.
    pub kind: DocumentKind,
    /// Its size.
    pub size_bytes: i64,
    /// SHA-256 of its bytes.
    pub content_sha256: &'a [u8],
    /// Where the original lies in object storage.
    pub object_key: &'a str,
    /// Its ingestion.
    pub job_id: JobId,
}

/// Inserts a document that waits for its ingestion.
pub async fn insert(
    conn: &mut PgConnection,
    business_id: BusinessId,
    document: &NewDocument<'_>,
    now: DateTime<Utc>,
) -> Result<Document> {
    let row = sqlx::query_as!(
        Document,
        r#"
        INSERT INTO documents (
            id, business_id, filename, media_type, size_bytes, content_sha256, object_key, status, job_id, created_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9)
        RETURNING id AS "id: _", filename, media_type, size_bytes, object_key, status AS "status: _",
            job_id AS "job_id: _", pages, chunk_count, language, error_code, error, created_at, processed_at
        "#,
        document.id as _,
        business_id as _,
        document.filename,
        document.kind.media_type(),
        document.size_bytes,
        document.content_sha256,
        document.object_key,
        document.job_id as _,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(row)
}

/// A business's document.
pub async fn find(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: DocumentId,
) -> Result<Option<Document>> {
    let row = sqlx::query_as!(
        Document,
        r#"
        SELECT id AS "id: _", filename, media_type, size_bytes, object_key, status AS "status: _",
            job_id AS "job_id: _", pages, chunk_count, language, error_code, error, created_at, processed_at
        FROM documents WHERE business_id = $1 AND id = $2
        "#,
        business_id as _,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A business's documents older than `before`, newest first, at most `limit`.
pub async fn list(
    conn: &mut PgConnection,
    business_id: BusinessId,
    status: Option<DocumentStatus>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Document>> {
    let rows = sqlx::query_as!(
        Document,
        r#"
        SELECT id AS "id: _", filename, media_type, size_bytes, object_key, status AS "status: _",
            job_id AS "job_id: _", pages, chunk_count, language, error_code, error, created_at, processed_at
        FROM documents
        WHERE business_id = $1 AND ($2::text IS NULL OR status = $2) AND ($3::uuid IS NULL OR id < $3)
        ORDER BY id DESC LIMIT $4
        "#,
        business_id as _,
        status as _,
        before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// How many of `ids` are documents of the business.
pub async fn count_of(
    conn: &mut PgConnection,
    business_id: BusinessId,
    ids: &[Uuid],
) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM documents WHERE business_id = $1 AND id = ANY($2)"#,
        business_id as _,
        ids,
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// What a deleted document leaves behind.
#[derive(Clone, Debug)]
pub struct DeletedDocument {
    /// Where its original lies.
    pub object_key: String,
    /// Its ingestion, which may still wait.
    pub job_id: JobId,
}

/// Deletes a document with its chunks; `None` where there is none.
pub async fn delete(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: DocumentId,
) -> Result<Option<DeletedDocument>> {
    let row = sqlx::query_as!(
        DeletedDocument,
        r#"DELETE FROM documents WHERE business_id = $1 AND id = $2 RETURNING object_key, job_id AS "job_id: _""#,
        business_id as _,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Records that a document was read and can be found.
///
/// # Errors
///
/// [`Error::NotFound`] where it was deleted meanwhile.
pub async fn mark_processed(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: DocumentId,
    pages: i32,
    chunk_count: i32,
    language: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    let result = sqlx::query!(
        r#"
        UPDATE documents
        SET status = 'processed', pages = $3, chunk_count = $4, language = $5, error_code = NULL, error = NULL,
            processed_at = $6
        WHERE business_id = $1 AND id = $2
        "#,
        business_id as _,
        id as _,
        pages,
        chunk_count,
        language,
        now,
    )
    .execute(conn)
    .await?;
    found(result.rows_affected())
}

/// Records why a document could not be read.
///
/// # Errors
///
/// [`Error::NotFound`] where it was deleted meanwhile.
pub async fn mark_failed(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: DocumentId,
    error_code: &str,
    error: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    let result = sqlx::query!(
        r#"
        UPDATE documents
        SET status = 'failed', pages = NULL, chunk_count = NULL, language = NULL, error_code = $3, error = $4,
            processed_at = $5
        WHERE business_id = $1 AND id = $2
        "#,
        business_id as _,
        id as _,
        error_code,
        error,
        now,
    )
    .execute(conn)
    .await?;
    found(result.rows_affected())
}

fn found(rows: u64) -> Result<()> {
    if rows == 0 {
        Err(Error::NotFound("document"))
    } else {
        Ok(())
    }
}
