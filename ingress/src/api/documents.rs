//! Documents: upload, look, delete.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database::chunks::{self, Chunk};
use common::database::documents::{self, Document};
use common::database::jobs::view;
use common::domain::{BusinessId, DocumentId, JobId};
use common::providers::object_store;
use common::queue::jobs::{DeleteObject, IngestDocument};
use common::queue::{self, NewJob};
use common::{Error, database};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use uuid::Uuid;

use super::Tag;
use super::page::{Page, PageRequest};
use super::upload::{self, Received, UploadForm};
use crate::auth::{Allowed, can};
use crate::context::Context;
use crate::error::ApiError;

/// What became of a document.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "lowercase")]
enum DocumentStatus {
    /// Waits for its ingestion, or is being read.
    Pending,
    /// Found by questions.
    Processed,
    /// Could not be read: `error` says why.
    Failed,
}

impl From<documents::DocumentStatus> for DocumentStatus {
    fn from(status: documents::DocumentStatus) -> Self {
        match status {
            documents::DocumentStatus::Pending => Self::Pending,
            documents::DocumentStatus::Processed => Self::Processed,
            documents::DocumentStatus::Failed => Self::Failed,
        }
    }
}

impl From<DocumentStatus> for documents::DocumentStatus {
    fn from(status: DocumentStatus) -> Self {
        match status {
            DocumentStatus::Pending => Self::Pending,
            DocumentStatus::Processed => Self::Processed,
            DocumentStatus::Failed => Self::Failed,
        }
    }
}

/// An uploaded file.
#[derive(Debug, Object)]
#[oai(rename = "Document")]
struct DocumentResponse {
    id: Uuid,
    /// Its name, as uploaded.
    filename: String,
    media_type: String,
    size_bytes: i64,
    status: DocumentStatus,
    /// Null until processed.
    pages: Option<i32>,
    /// How many pieces it was cut into; null until processed.
    chunks: Option<i32>,
    /// ISO 639-1 of most of its text; null until processed, or unknown.
    language: Option<String>,
    /// Why it failed, for people; null unless failed.
    error: Option<String>,
    /// Why it failed, for programs; null unless failed.
    error_code: Option<String>,
    /// Its ingestion.
    job_id: Uuid,
    created_at: DateTime<Utc>,
    /// When it was processed or failed; null while pending.
    processed_at: Option<DateTime<Utc>>,
}

impl From<Document> for DocumentResponse {
    fn from(document: Document) -> Self {
        Self {
            id: document.id.0,
            filename: document.filename,
            media_type: document.media_type,
            size_bytes: document.size_bytes,
            status: document.status.into(),
            pages: document.pages,
            chunks: document.chunk_count,
            language: document.language,
            error: document.error,
            error_code: document.error_code,
            job_id: document.job_id.0,
            created_at: document.created_at,
            processed_at: document.processed_at,
        }
    }
}

/// A piece of a document, as questions find it.
#[derive(Debug, Object)]
#[oai(rename = "Chunk")]
struct ChunkResponse {
    id: Uuid,
    /// Its place in the document, from 0.
    index: i32,
    /// The page its text starts on, from 1; null: the document has no pages.
    page: Option<i32>,
    /// The page its text ends on.
    page_end: Option<i32>,
    /// The headings it stands under.
    section: Option<String>,
    text: String,
    /// An estimate of its length in a language model's tokens.
    tokens: i32,
}

impl From<Chunk> for ChunkResponse {
    fn from(chunk: Chunk) -> Self {
        Self {
            id: chunk.id.0,
            index: chunk.index,
            page: chunk.page_start,
            page_end: chunk.page_end,
            section: chunk.section,
            text: chunk.text,
            tokens: chunk.tokens,
        }
    }
}

#[derive(ApiResponse)]
enum Uploaded {
    /// Kept: it is being read. Ask for it until its status is no longer `pending`.
    #[oai(status = 202)]
    Accepted(Json<DocumentResponse>),
}

#[derive(ApiResponse)]
enum Deleted {
    /// Gone, with all that was made of it.
    #[oai(status = 204)]
    Gone,
}

/// The operations on documents.
pub(crate) struct Documents;

#[OpenApi(prefix_path = "/documents", tag = "Tag::Documents")]
impl Documents {
    /// Upload a document.
    ///
    /// PDF, plain text or Markdown of at most 20 MB (20,971,520 bytes) and 200 pages. Answered once it is kept; a worker
    /// reads it then.
    #[oai(path = "/upload", method = "post", operation_id = "upload_document")]
    async fn upload(
        &self,
        caller: Allowed<can::WriteDocuments>,
        context: Data<&Arc<Context>>,
        form: UploadForm,
    ) -> Result<Uploaded, ApiError> {
        let _room = context
            .uploads
            .try_acquire()
            .map_err(|_| ApiError::unavailable())?;
        let id = DocumentId::new();
        let object_key = format!("documents/{}/{id}", caller.business_id);
        let received = upload::receive(&context.objects, &object_key, form).await?;
        match record(&context, caller.business_id, id, &object_key, &received).await {
            Ok(document) => Ok(Uploaded::Accepted(Json(document.into()))),
            Err(error) => {
                // No row names it. Best effort: the file does no harm.
                object_store::delete(&*context.objects, &object_key)
                    .await
                    .ok();
                Err(error.into())
            }
        }
    }

    /// List documents.
    #[oai(path = "/", method = "get", operation_id = "list_documents")]
    async fn list(
        &self,
        caller: Allowed<can::ReadDocuments>,
        context: Data<&Arc<Context>>,
        /// Only those.
        status: Query<Option<DocumentStatus>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<DocumentResponse>>, ApiError> {
        let page = PageRequest::new(limit.0, cursor.0.as_deref())?;
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let rows = documents::list(
            &mut tx,
            caller.business_id,
            status.0.map(Into::into),
            page.after,
            page.rows(),
        )
        .await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |document| document.id.0)))
    }

    /// Get a document.
    #[oai(path = "/:id", method = "get", operation_id = "get_document")]
    async fn get(
        &self,
        caller: Allowed<can::ReadDocuments>,
        context: Data<&Arc<Context>>,
        id: Path<Uuid>,
    ) -> Result<Json<DocumentResponse>, ApiError> {
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let document = documents::find(&mut tx, caller.business_id, DocumentId(id.0)).await?;
        tx.commit().await?;
        Ok(Json(
            document
                .ok_or_else(|| ApiError::not_found("document"))?
                .into(),
        ))
    }

    /// Delete a document.
    ///
    /// With its pieces, and soon after its original. Answers no longer rest on it.
    #[oai(path = "/:id", method = "delete", operation_id = "delete_document")]
    async fn delete(
        &self,
        caller: Allowed<can::WriteDocuments>,
        context: Data<&Arc<Context>>,
        id: Path<Uuid>,
    ) -> Result<Deleted, ApiError> {
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let now = context.clock.now();
        let deleted = documents::delete(&mut tx, caller.business_id, DocumentId(id.0)).await?;
        let deleted = deleted.ok_or_else(|| ApiError::not_found("document"))?;
        view::cancel(
            &mut tx,
            caller.business_id,
            deleted.job_id,
            context.config.job_retention,
            now,
        )
        .await?;
        let job = NewJob::new(&DeleteObject {
            business_id: caller.business_id,
            object_key: deleted.object_key,
        });
        let job = queue::enqueue(&mut tx, &job, now).await?;
        tx.commit().await?;
        context.dispatch.push(job.as_slice()).await;
        Ok(Deleted::Gone)
    }

    /// List a document's pieces, in its order.
    #[oai(
        path = "/:id/chunks",
        method = "get",
        operation_id = "list_document_chunks"
    )]
    async fn chunks(
        &self,
        caller: Allowed<can::ReadDocuments>,
        context: Data<&Arc<Context>>,
        id: Path<Uuid>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<ChunkResponse>>, ApiError> {
        let page = PageRequest::<i64>::new(limit.0, cursor.0.as_deref())?;
        let id = DocumentId(id.0);
        let after = page
            .after
            .map(|after| i32::try_from(after).unwrap_or(i32::MAX));
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let document = documents::find(&mut tx, caller.business_id, id).await?;
        document.ok_or_else(|| ApiError::not_found("document"))?;
        let rows =
            chunks::list_of_document(&mut tx, caller.business_id, id, after, page.rows()).await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |chunk| i64::from(chunk.index))))
    }
}

/// Writes the row and queues its ingestion, in one commit.
async fn record(
    context: &Context,
    business_id: BusinessId,
    id: DocumentId,
    object_key: &str,
    received: &Received,
) -> Result<Document, Error> {
    let job = NewJob::new(&IngestDocument {
        business_id,
        document_id: id,
    });
    let document = documents::NewDocument {
        id,
        filename: &received.filename,
        kind: received.kind,
        size_bytes: received.size_bytes,
        content_sha256: &received.sha256,
        object_key,
        job_id: JobId(job.id.0),
    };
    let now = context.clock.now();
    let mut tx = database::business(&context.pool, business_id).await?;
    let document = documents::insert(&mut tx, business_id, &document, now).await?;
    let job = queue::enqueue(&mut tx, &job, now).await?;
    tx.commit().await?;
    context.dispatch.push(job.as_slice()).await;
    Ok(document)
}
