//! Questions to the pieces of documents that may answer them.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{PgConnection, PgPool};

use crate::database;
use crate::database::chunks::{self, Candidate, ChunkKey, FoundChunk};
use crate::domain::text::{self, QueryWord};
use crate::domain::{BusinessId, ChunkId, DocumentId};
use crate::error::{Error, Result};
use crate::providers::{Embedder, Passage, ProviderError};

mod excerpt;
mod fusion;

pub use fusion::{RELEVANT, Scores};

/// How many candidates each side brings.
const CANDIDATES: i64 = 100;

/// What a search may be told.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// How many hits at most; taken as 1 to 20.
    pub top_k: usize,
    /// Search in these documents only; `None`: in all.
    pub document_ids: Option<Vec<DocumentId>>,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            top_k: 5,
            document_ids: None,
        }
    }
}

/// A chunk that may hold the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The chunk.
    pub chunk_id: ChunkId,
    /// The document it is of.
    pub document_id: DocumentId,
    /// The document's name.
    pub filename: String,
    /// The page it starts on, from 1; `None`: the document has no pages.
    pub page: Option<i32>,
    /// The page it ends on; `None` as `page`.
    pub page_end: Option<i32>,
    /// Its place in the document, from 0.
    pub chunk_index: i32,
    /// The headings it stands under; `None`: none known.
    pub section: Option<String>,
    /// Its text.
    pub text: String,
    /// The cosine to the question, from 0 to 1.
    pub vector_score: f64,
    /// The share of the question's words, by rarity, that it is about, from 0 to 1.
    pub lexical_score: f64,
    /// Both in one, from 0 to 1: the order of hits. Comparable between questions.
    pub score: f64,
}

impl Hit {
    /// Whether it is about the question at all. Where no hit is, the documents do not answer.
    pub fn is_relevant(&self) -> bool {
        self.score >= RELEVANT
    }

    /// The sentences that meet the question best, at most about `max_chars` of them, with `…` where the text goes on.
    pub fn excerpt(&self, question: &str, max_chars: usize) -> String {
        excerpt::excerpt(&self.text, question, max_chars)
    }
}

impl From<&Hit> for Passage {
    fn from(hit: &Hit) -> Self {
        Self {
            filename: hit.filename.clone(),
            page: hit.page.and_then(|page| u32::try_from(page).ok()),
            section: hit.section.clone(),
            text: hit.text.clone(),
        }
    }
}

/// Searches what businesses have uploaded.
#[derive(Clone)]
pub struct Retriever {
    embedder: Arc<dyn Embedder>,
}

impl Retriever {
    /// A retriever of vectors made by `embedder`.
    pub fn new(embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder }
    }

    /// Who embeds; documents must be embedded by the same.
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.embedder
    }

    /// The chunks that meet the question best, best first. Holds no connection while the question is embedded.
    ///
    /// # Errors
    ///
    /// [`Error::Provider`] if the question could not be embedded.
    #[tracing::instrument(name = "retrieval.search", skip_all, fields(business.id = %business_id), err)]
    pub async fn search(
        &self,
        pool: &PgPool,
        business_id: BusinessId,
        question: &str,
        options: &SearchOptions,
    ) -> Result<Vec<Hit>> {
        let candidates = self
            .candidates(pool, business_id, question, options.document_ids.as_deref())
            .await?;
        let mut ranked = candidates.fused();
        ranked.truncate(options.top_k.clamp(1, 20));
        if ranked.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<ChunkKey> = ranked.iter().map(|(key, _)| *key).collect();
        let mut tx = database::business(pool, business_id).await?;
        let found = chunks::list_by_key(&mut tx, business_id, &keys).await?;
        tx.commit().await?;
        let mut found: HashMap<ChunkKey, FoundChunk> = found
            .into_iter()
            .map(|chunk| ((chunk.document_id, chunk.index), chunk))
            .collect();
        Ok(ranked
            .into_iter()
            .filter_map(|(key, scores)| Some(hit(found.remove(&key)?, scores)))
            .collect())
    }

    /// What either side finds, before it is fused and loaded.
    pub async fn candidates(
        &self,
        pool: &PgPool,
        business_id: BusinessId,
        question: &str,
        document_ids: Option<&[DocumentId]>,
    ) -> Result<Candidates> {
        let language = text::detect_language(question).unwrap_or_default();
        let words = text::query_words(question, language);
        if words.is_empty() {
            return Ok(Candidates::default());
        }
        let embedding = self.embed(question).await?;
        let search = Search {
            business_id,
            model: self.embedder.model(),
            embedding: &embedding,
            words: &words,
            document_ids,
        };
        match search.run(pool).await {
            // The tenant's index was replaced between finding it and reading it.
            Err(Error::Database(error)) if is_undefined_table(&error) => search.run(pool).await,
            result => result,
        }
    }

    async fn embed(&self, question: &str) -> Result<Vec<f32>> {
        let embeddings = self.embedder.embed(&[question.to_owned()]).await?;
        let missing = ProviderError::Unavailable {
            provider: "embedder",
            reason: "no vector came back".to_owned(),
        };
        Ok(embeddings.into_iter().next().ok_or(missing)?)
    }
}

/// What either side of a search found.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// By words, best first.
    pub lexical: Vec<Candidate>,
    /// By vectors, the nearest first, then what only the words found.
    pub vector: Vec<Candidate>,
}

impl Candidates {
    /// All of them with the scores of both sides, best first.
    pub fn fused(&self) -> Vec<(ChunkKey, Scores)> {
        fusion::fuse(&self.lexical, &self.vector)
    }
}

struct Search<'a> {
    business_id: BusinessId,
    model: &'a str,
    embedding: &'a [f32],
    words: &'a [QueryWord],
    document_ids: Option<&'a [DocumentId]>,
}

impl Search<'_> {
    async fn run(&self, pool: &PgPool) -> Result<Candidates> {
        let mut tx = database::business(pool, self.business_id).await?;
        let lexical = self.lexical(&mut tx).await?;
        let vector = self.vector(&mut tx, &lexical).await?;
        tx.commit().await?;
        Ok(Candidates { lexical, vector })
    }

    async fn lexical(&self, conn: &mut PgConnection) -> Result<Vec<Candidate>> {
        let terms: Vec<String> = self
            .words
            .iter()
            .flat_map(|word| word.terms.clone())
            .collect();
        let mut statistics = chunks::term_statistics(conn, self.business_id, &terms).await?;
        let guesses = text::guesses(self.words, &statistics.frequencies);
        if !guesses.is_empty() {
            let more = chunks::term_statistics(conn, self.business_id, &guesses).await?;
            statistics.frequencies.extend(more.frequencies);
        }
        let weights = text::weigh(self.words, statistics.chunk_count, &statistics.frequencies);
        if weights.is_empty() {
            return Ok(Vec::new());
        }
        let mean_length = statistics.mean_length;
        chunks::lexical_candidates(
            conn,
            self.business_id,
            &weights,
            mean_length,
            self.document_ids,
            CANDIDATES,
        )
        .await
    }

    /// The nearest chunks, and how near those are that were found by their words.
    async fn vector(
        &self,
        conn: &mut PgConnection,
        lexical: &[Candidate],
    ) -> Result<Vec<Candidate>> {
        let mut nearest = chunks::vector_candidates(
            conn,
            self.business_id,
            self.model,
            self.embedding,
            self.document_ids,
            CANDIDATES,
        )
        .await?;
        let missing: Vec<ChunkKey> = lexical
            .iter()
            .map(|candidate| candidate.key)
            .filter(|key| nearest.iter().all(|candidate| candidate.key != *key))
            .collect();
        nearest.extend(
            chunks::vector_scores(conn, self.business_id, self.model, self.embedding, &missing)
                .await?,
        );
        Ok(nearest)
    }
}

fn hit(chunk: FoundChunk, scores: Scores) -> Hit {
    Hit {
        chunk_id: chunk.id,
        document_id: chunk.document_id,
        filename: chunk.filename,
        page: chunk.page_start,
        page_end: chunk.page_end,
        chunk_index: chunk.index,
        section: chunk.section,
        text: chunk.text,
        vector_score: scores.vector,
        lexical_score: scores.lexical,
        score: scores.fused(),
    }
}

fn is_undefined_table(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "42P01")
}
