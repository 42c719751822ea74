//! The pieces of documents and what they are found by: vectors, postings, statistics.
//!
//! All of it is keyed by document and goes with the document's row, whichever way that is deleted.

use pgvector::HalfVector;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::text::{self, ANALYSER_VERSION};
use crate::domain::{BusinessId, ChunkId, DocumentId, Language};
use crate::error::Result;

mod lexical;
mod vectors;

pub use lexical::{TermStatistics, lexical_candidates, term_statistics};
pub use vectors::{EXACT_LIMIT, vector_candidates, vector_scores};

/// A chunk to be stored.
#[derive(Clone, Debug)]
pub struct NewChunk {
    /// Its place in the document, from 0.
    pub index: i32,
    /// The page it starts on, from 1; `None`: the document has no pages.
    pub page_start: Option<i32>,
    /// The page it ends on; `None` as `page_start`.
    pub page_end: Option<i32>,
    /// The headings it stands under; `None`: none known.
    pub section: Option<String>,
    /// Its text.
    pub text: String,
    /// `None`: neither French nor English, or unknown.
    pub language: Option<Language>,
    /// About how many tokens a model reads in it.
    pub tokens: i32,
    /// The vector of [`indexed_text`], of [`DIMENSIONS`](crate::providers::DIMENSIONS) values.
    pub embedding: Vec<f32>,
}

/// A stored chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its id.
    pub id: ChunkId,
    /// The document it is of.
    pub document_id: DocumentId,
    /// Its place in the document, from 0.
    pub index: i32,
    /// The page it starts on, from 1; `None`: the document has no pages.
    pub page_start: Option<i32>,
    /// The page it ends on; `None` as `page_start`.
    pub page_end: Option<i32>,
    /// The headings it stands under; `None`: none known.
    pub section: Option<String>,
    /// Its text.
    pub text: String,
    /// ISO 639-1; `None`: neither French nor English, or unknown.
    pub language: Option<String>,
    /// About how many tokens a model reads in it.
    pub tokens: i32,
}

/// A chunk by its place, which is what the indexes know it by.
pub type ChunkKey = (DocumentId, i32);

/// A chunk that may be an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub key: ChunkKey,
    /// How good, from 0 to 1; scores of two kinds are not to be compared.
    pub score: f64,
}

/// What a chunk is found by: its headings and its text. What is to be embedded.
pub fn indexed_text(section: Option<&str>, text: &str) -> String {
    match section {
        Some(section) => format!("{section}\n{text}"),
        None => text.to_owned(),
    }
}

/// Chunks and what they are found by, ready to be stored.
#[derive(Clone, Debug)]
pub struct PreparedChunks {
    chunks: Vec<NewChunk>,
    /// Per chunk its index and its terms, with repeats.
    terms: Vec<(i32, Vec<String>)>,
}

/// Analyses `chunks`: seconds of a core for a long document, so not within a transaction, nor on a thread others wait for.
pub fn prepare(chunks: Vec<NewChunk>) -> PreparedChunks {
    let terms = chunks
        .iter()
        .map(|chunk| {
            let text = indexed_text(chunk.section.as_deref(), &chunk.text);
            (
                chunk.index,
                text::terms(&text, chunk.language.unwrap_or_default()),
            )
        })
        .collect();
    PreparedChunks { chunks, terms }
}

/// Stores a document's chunks in place of those it had. The embeddings are of `embedding_model`.
pub async fn replace(
    conn: &mut PgConnection,
    business_id: BusinessId,
    document_id: DocumentId,
    embedding_model: &str,
    prepared: &PreparedChunks,
) -> Result<()> {
    let PreparedChunks { chunks, terms } = prepared;
    delete_of_document(conn, business_id, document_id).await?;
    if chunks.is_empty() {
        return Ok(());
    }
    insert_chunks(conn, business_id, document_id, chunks).await?;
    insert_embeddings(conn, business_id, document_id, embedding_model, chunks).await?;
    lexical::insert_postings(conn, business_id, document_id, terms).await?;
    insert_statistics(conn, business_id, document_id, terms).await
}

/// Deletes a document's chunks, and all they are found by.
pub async fn delete_of_document(
    conn: &mut PgConnection,
    business_id: BusinessId,
    document_id: DocumentId,
) -> Result<()> {
    // One statement, so that no reader between two of them sees half.
    sqlx::query!(
        r#"
        WITH embeddings AS (DELETE FROM chunk_embeddings WHERE business_id = $1 AND document_id = $2),
            terms AS (DELETE FROM postings WHERE business_id = $1 AND document_id = $2),
            statistics AS (DELETE FROM lexical_statistics WHERE business_id = $1 AND document_id = $2)
        DELETE FROM chunks WHERE business_id = $1 AND document_id = $2
        "#,
        business_id as _,
        document_id as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A page of a document's chunks in order: those after index `after`, or from the first.
pub async fn list_of_document(
    conn: &mut PgConnection,
    business_id: BusinessId,
    document_id: DocumentId,
    after: Option<i32>,
    limit: i64,
) -> Result<Vec<Chunk>> {
    let chunks = sqlx::query_as!(
        Chunk,
        r#"
        SELECT id AS "id: _", document_id AS "document_id: _", index, page_start, page_end, section, text, language, tokens
        FROM chunks
        WHERE business_id = $1 AND document_id = $2 AND index > $3
        ORDER BY index
        LIMIT $4
        "#,
        business_id as _,
        document_id as _,
        after.unwrap_or(-1),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(chunks)
}

/// A chunk that was asked for by its key, with the name of its document.
#[derive(Clone, Debug)]
pub struct FoundChunk {
    /// Its id.
    pub id: ChunkId,
    /// The document it is of.
    pub document_id: DocumentId,
    /// The document's name.
    pub filename: String,
    /// Its place in the document.
    pub index: i32,
    /// The page it starts on.
    pub page_start: Option<i32>,
    /// The page it ends on.
    pub page_end: Option<i32>,
    /// The headings it stands under.
    pub section: Option<String>,
    /// Its text.
    pub text: String,
}

/// The chunks of these keys, in no order; those deleted meanwhile are missing.
pub async fn list_by_key(
    conn: &mut PgConnection,
    business_id: BusinessId,
    keys: &[ChunkKey],
) -> Result<Vec<FoundChunk>> {
    let (document_ids, indexes): (Vec<Uuid>, Vec<i32>) = keys
        .iter()
        .map(|(document, index)| (document.0, *index))
        .unzip();
    let chunks = sqlx::query_as!(
        FoundChunk,
        r#"
        SELECT found.id AS "id: _", found.document_id AS "document_id: _", documents.filename, found.index,
            found.page_start, found.page_end, found.section, found.text
        FROM unnest($2::uuid[], $3::integer[]) AS keys (document_id, index)
        CROSS JOIN LATERAL (
            SELECT * FROM chunks
            WHERE business_id = $1 AND document_id = keys.document_id AND index = keys.index
            OFFSET 0
        ) AS found
        JOIN documents ON documents.business_id = $1 AND documents.id = found.document_id
        "#,
        business_id as _,
        &document_ids,
        &indexes,
    )
    .fetch_all(conn)
    .await?;
    Ok(chunks)
}

/// How many chunks a business has. Reads a row a document, not a chunk.
pub async fn count(conn: &mut PgConnection, business_id: BusinessId) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(chunk_count), 0) AS "count!" FROM lexical_statistics WHERE business_id = $1"#,
        business_id as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

async fn insert_chunks(
    conn: &mut PgConnection,
    business_id: BusinessId,
    document_id: DocumentId,
    chunks: &[NewChunk],
) -> Result<()> {
    let ids: Vec<Uuid> = chunks.iter().map(|_| ChunkId::new().0).collect();
    let indexes: Vec<i32> = chunks.iter().map(|chunk| chunk.index).collect();
    let first_pages: Vec<Option<i32>> = chunks.iter().map(|chunk| chunk.page_start).collect();
    let last_pages: Vec<Option<i32>> = chunks.iter().map(|chunk| chunk.page_end).collect();
    let sections: Vec<Option<String>> = chunks.iter().map(|chunk| chunk.section.clone()).collect();
    let texts: Vec<String> = chunks.iter().map(|chunk| chunk.text.clone()).collect();
    let languages: Vec<Option<String>> = chunks
        .iter()
        .map(|chunk| chunk.language.map(|language| language.code().to_owned()))
        .collect();
    let tokens: Vec<i32> = chunks.iter().map(|chunk| chunk.tokens).collect();
    sqlx::query!(
        r#"
        INSERT INTO chunks (business_id, document_id, id, index, page_start, page_end, section, text, language, tokens)
        SELECT $1, $2, rows.*
        FROM unnest($3::uuid[], $4::integer[], $5::integer[], $6::integer[], $7::text[], $8::text[], $9::text[], $10::integer[]) AS rows
        "#,
        business_id as _,
        document_id as _,
        &ids,
        &indexes,
        &first_pages as _,
        &last_pages as _,
        &sections as _,
        &texts,
        &languages as _,
        &tokens,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_embeddings(
    conn: &mut PgConnection,
    business_id: BusinessId,
    document_id: DocumentId,
    model: &str,
    chunks: &[NewChunk],
) -> Result<()> {
    let indexes: Vec<i32> = chunks.iter().map(|chunk| chunk.index).collect();
    let embeddings: Vec<HalfVector> = chunks
        .iter()
        .map(|chunk| HalfVector::from_f32_slice(&chunk.embedding))
        .collect();
    sqlx::query!(
        r#"
        INSERT INTO chunk_embeddings (business_id, document_id, chunk_index, model, embedding)
        SELECT $1, $2, chunk_index, $3, embedding
        FROM unnest($4::integer[], $5::halfvec[]) AS rows (chunk_index, embedding)
        "#,
        business_id as _,
        document_id as _,
        model,
        &indexes,
        &embeddings as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_statistics(
    conn: &mut PgConnection,
    business_id: BusinessId,
    document_id: DocumentId,
    terms: &[(i32, Vec<String>)],
) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO lexical_statistics (business_id, document_id, chunk_count, term_count, analyser_version)
        VALUES ($1, $2, $3, $4, $5)
        "#,
        business_id as _,
        document_id as _,
        i32::try_from(terms.len()).unwrap_or(i32::MAX),
        i64::try_from(terms.iter().map(|(_, terms)| terms.len()).sum::<usize>()).unwrap_or(i64::MAX),
        ANALYSER_VERSION,
    )
    .execute(conn)
    .await?;
    Ok(())
}
