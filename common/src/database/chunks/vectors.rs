//! The vector side: an exact scan within the tenant, or the tenant's own index.

use pgvector::HalfVector;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{Candidate, ChunkKey};
use crate::database::vector_index;
use crate::domain::{BusinessId, DocumentId};
use crate::error::Result;

/// Up to so many chunks a scan of the whole tenant is as fast as an index of the recall we promise, and perfect: measured
/// at 0.7 ms a thousand chunks, against 4 to 8 ms through an index at 10,000 to 20,000.
pub const EXACT_LIMIT: i64 = 8_000;

/// How many neighbours a search through the index keeps in view: recall@10 is then 0.996 at 20,000 of the offline
/// embedder's vectors, which are harder to index than a language model's.
const EF_SEARCH: &str = "set local hnsw.ef_search = 200";

/// The chunks nearest to `embedding`, of those embedded by `model`, best first; the score is the cosine.
///
/// Exact, except where the tenant has an index of its own and no documents are picked.
pub async fn vector_candidates(
    conn: &mut PgConnection,
    business_id: BusinessId,
    model: &str,
    embedding: &[f32],
    document_ids: Option<&[DocumentId]>,
    limit: i64,
) -> Result<Vec<Candidate>> {
    let index = match document_ids {
        None => vector_index::find(conn, business_id)
            .await?
            .filter(|index| index.model == model),
        // An index filters after the search, and then finds too little.
        Some(_) => None,
    };
    match index {
        Some(index) => through_index(conn, business_id, &index.table_name, embedding, limit).await,
        None => by_scan(conn, business_id, model, embedding, document_ids, limit).await,
    }
}

async fn by_scan(
    conn: &mut PgConnection,
    business_id: BusinessId,
    model: &str,
    embedding: &[f32],
    document_ids: Option<&[DocumentId]>,
    limit: i64,
) -> Result<Vec<Candidate>> {
    let document_ids: Option<Vec<Uuid>> =
        document_ids.map(|ids| ids.iter().map(|id| id.0).collect());
    let rows = sqlx::query!(
        r#"
        SELECT document_id AS "document_id: DocumentId", chunk_index, (embedding <=> $3::halfvec) AS "distance!"
        FROM chunk_embeddings
        WHERE business_id = $1 AND model = $2 AND ($4::uuid[] IS NULL OR document_id = ANY($4))
        ORDER BY embedding <=> $3::halfvec
        LIMIT $5
        "#,
        business_id as _,
        model,
        HalfVector::from_f32_slice(embedding) as _,
        document_ids.as_deref(),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| candidate((row.document_id, row.chunk_index), row.distance))
        .collect())
}

async fn through_index(
    conn: &mut PgConnection,
    business_id: BusinessId,
    table_name: &str,
    embedding: &[f32],
    limit: i64,
) -> Result<Vec<Candidate>> {
    sqlx::raw_sql(EF_SEARCH).execute(&mut *conn).await?;
    // The name comes from `vector_indexes`, which only the functions that make these tables write.
    let query = format!(
        "SELECT document_id, chunk_index, embedding <=> $2 FROM \"{table_name}\" WHERE business_id = $1 ORDER BY embedding <=> $2 LIMIT $3"
    );
    let rows: Vec<(DocumentId, i32, f64)> = sqlx::query_as(AssertSqlSafe(query))
        .bind(business_id)
        .bind(HalfVector::from_f32_slice(embedding))
        .bind(limit)
        .fetch_all(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(document_id, index, distance)| candidate((document_id, index), distance))
        .collect())
}

/// How near these chunks are to `embedding`; those without an embedding of `model` are missing.
pub async fn vector_scores(
    conn: &mut PgConnection,
    business_id: BusinessId,
    model: &str,
    embedding: &[f32],
    keys: &[ChunkKey],
) -> Result<Vec<Candidate>> {
    let (document_ids, indexes): (Vec<Uuid>, Vec<i32>) = keys
        .iter()
        .map(|(document, index)| (document.0, *index))
        .unzip();
    let rows = sqlx::query!(
        r#"
        SELECT keys.document_id AS "document_id!: DocumentId", keys.chunk_index AS "chunk_index!",
            (stored.embedding <=> $3::halfvec) AS "distance!"
        FROM unnest($4::uuid[], $5::integer[]) AS keys (document_id, chunk_index)
        CROSS JOIN LATERAL (
            SELECT embedding FROM chunk_embeddings
            WHERE business_id = $1 AND model = $2 AND document_id = keys.document_id AND chunk_index = keys.chunk_index
            OFFSET 0
        ) AS stored
        "#,
        business_id as _,
        model,
        HalfVector::from_f32_slice(embedding) as _,
        &document_ids,
        &indexes,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| candidate((row.document_id, row.chunk_index), row.distance))
        .collect())
}

/// A text without a word has no direction: its distance is not a number, and it is near nothing.
fn candidate(key: ChunkKey, distance: f64) -> Candidate {
    let score = if distance.is_nan() {
        0.0
    } else {
        (1.0 - distance).clamp(0.0, 1.0)
    };
    Candidate { key, score }
}
