//! Reads a document, cuts it, embeds the pieces and makes them searchable.

use std::time::Duration;

use async_trait::async_trait;
use common::Error;
use common::database::chunks::{self, NewChunk};
use common::database::documents::{self, Document};
use common::database::jobs::run::{self, ClaimedJob};
use common::database::{self};
use common::domain::chunking::{self, DraftChunk};
use common::domain::document_kind::DocumentKind;
use common::domain::{Language, text};
use common::providers::{ProviderError, object_store};
use common::queue::Enqueued;
use common::queue::jobs::IngestDocument;
use sqlx::PgConnection;

use crate::context::Context;
use crate::error::JobError;
use crate::extraction::{ExtractedDocument, ExtractionError};
use crate::handler::{Handler, Outcome};

/// The largest original: what the upload accepts.
const MAX_BYTES: u64 = 20 * 1024 * 1024;

/// How much of a document its language is told from, in characters.
const LANGUAGE_SAMPLE: usize = 5_000;

#[async_trait]
impl Handler for IngestDocument {
    // A long document is minutes of reading and hundreds of embedding requests.
    const TIMEOUT: Duration = Duration::from_mins(10);

    async fn run(self, context: &Context, job: &ClaimedJob) -> Result<Outcome, JobError> {
        let mut tx = database::business(&context.pool, self.business_id).await?;
        let found = documents::find(&mut tx, self.business_id, self.document_id).await?;
        // Give the connection back before the slow work.
        tx.commit().await?;
        let Some(document) = found else {
            return Ok(Outcome::Finished(None));
        };

        let ingestion = Ingestion {
            work: &self,
            context,
            job,
            document: &document,
        };
        match ingestion.read().await? {
            Ok(extracted) => ingestion.store(extracted).await,
            Err(refusal) => ingestion.fail(&refusal).await,
        }
    }

    async fn give_up(
        self,
        context: &Context,
        _: &ClaimedJob,
        _: &str,
        conn: &mut PgConnection,
    ) -> common::Result<Vec<Enqueued>> {
        let now = context.clock.now();
        let reason = "it could not be processed after several tries: upload it again later";
        match documents::mark_failed(
            conn,
            self.business_id,
            self.document_id,
            "unavailable",
            reason,
            now,
        )
        .await
        {
            Err(Error::NotFound(_)) => {}
            marked => marked?,
        }
        Ok(Vec::new())
    }
}

/// One attempt under way.
struct Ingestion<'a> {
    work: &'a IngestDocument,
    context: &'a Context,
    job: &'a ClaimedJob,
    document: &'a Document,
}

impl Ingestion<'_> {
    /// The document's text; the inner error is the file's own fault.
    async fn read(&self) -> Result<Result<ExtractedDocument, ExtractionError>, JobError> {
        let (context, document) = (self.context, self.document);
        let kind = DocumentKind::from_media_type(&document.media_type)
            .ok_or(Error::Corrupt("media type"))?;
        let folder = tempfile::tempdir().map_err(|error| no_folder(&error))?;
        let file = folder.path().join("original");
        object_store::get_to_file(&*context.objects, &document.object_key, &file, MAX_BYTES)
            .await?;
        match context.extractor.extract(&file, kind).await {
            Err(error) if error.is_transient() => {
                let reason = error.to_string();
                Err(ProviderError::Unavailable {
                    provider: "extraction",
                    reason,
                }
                .into())
            }
            ended => Ok(ended),
        }
    }

    async fn store(&self, extracted: ExtractedDocument) -> Result<Outcome, JobError> {
        let Self {
            work:
                &IngestDocument {
                    business_id,
                    document_id,
                },
            context,
            job,
            document,
        } = *self;
        let has_pages = document.media_type == DocumentKind::Pdf.media_type();
        let language = language(&extracted);
        let page_count = extracted.page_count;
        let drafts = on_the_side(move || chunking::chunk(&extracted.pages)).await;
        let texts: Vec<String> = drafts
            .iter()
            .map(|draft| chunks::indexed_text(draft.section.as_deref(), &draft.text))
            .collect();
        let embedder = context.retriever.embedder();
        let embeddings = embedder.embed(&texts).await?;
        let count = i32::try_from(drafts.len()).unwrap_or(i32::MAX);
        let new = on_the_side(move || {
            let pairs = drafts.into_iter().zip(embeddings);
            let new = pairs.map(|(draft, embedding)| new_chunk(draft, embedding, has_pages));
            chunks::prepare(new.collect())
        })
        .await;

        let now = context.clock.now();
        let pages = i32::try_from(page_count).unwrap_or(i32::MAX);
        let mut tx = database::business(&context.pool, business_id).await?;
        let code = Some(language.code());
        match documents::mark_processed(&mut tx, business_id, document_id, pages, count, code, now)
            .await
        {
            // Deleted meanwhile.
            Err(Error::NotFound(_)) => return Ok(Outcome::Finished(None)),
            // Marked first: that locks the row, so it cannot be deleted under its chunks.
            marked => marked?,
        }
        chunks::replace(&mut tx, business_id, document_id, embedder.model(), &new).await?;
        if !run::succeed(&mut tx, job, None, context.job_retention).await? {
            return Ok(Outcome::Superseded);
        }
        tx.commit().await?;
        Ok(Outcome::committed())
    }

    /// The file is at fault: trying again would not help, so the job ends well and the document says why.
    async fn fail(&self, refusal: &ExtractionError) -> Result<Outcome, JobError> {
        let Self {
            work:
                &IngestDocument {
                    business_id,
                    document_id,
                },
            context,
            job,
            ..
        } = *self;
        let now = context.clock.now();
        tracing::info!(code = refusal.code(), "the document cannot be read");
        let mut tx = database::business(&context.pool, business_id).await?;
        let (code, reason) = (refusal.code(), refusal.to_string());
        match documents::mark_failed(&mut tx, business_id, document_id, code, &reason, now).await {
            Err(Error::NotFound(_)) => return Ok(Outcome::Finished(None)),
            marked => marked?,
        }
        if !run::succeed(&mut tx, job, None, context.job_retention).await? {
            return Ok(Outcome::Superseded);
        }
        tx.commit().await?;
        Ok(Outcome::committed())
    }
}

fn new_chunk(draft: DraftChunk, embedding: Vec<f32>, has_pages: bool) -> NewChunk {
    let page = |page: u32| has_pages.then(|| i32::try_from(page).unwrap_or(i32::MAX));
    NewChunk {
        index: i32::try_from(draft.index).unwrap_or(i32::MAX),
        page_start: page(draft.page),
        page_end: page(draft.page),
        section: draft.section,
        tokens: i32::try_from(draft.tokens).unwrap_or(i32::MAX),
        // Its own: a document may hold both.
        language: text::detect_language(&draft.text),
        text: draft.text,
        embedding,
    }
}

/// Runs work of a core's seconds where nobody waits for the thread.
async fn on_the_side<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // It panicked, which the runner records; or the process ends.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn no_folder(error: &std::io::Error) -> ProviderError {
    ProviderError::Unavailable {
        provider: "extraction",
        reason: format!("no temporary folder: {error}"),
    }
}

fn language(extracted: &ExtractedDocument) -> Language {
    let sample: String = extracted
        .pages
        .iter()
        .flat_map(|page| page.text.chars())
        .take(LANGUAGE_SAMPLE)
        .collect();
    text::detect_language(&sample).unwrap_or_default()
}
