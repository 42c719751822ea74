//! The lexical side: postings, and BM25 over them.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::Candidate;
use crate::domain::text::TermWeight;
use crate::domain::{BusinessId, DocumentId};
use crate::error::Result;

/// How soon repeats of a term stop counting, and how much long chunks are held back: the customary values, which also
/// measured best (k1 0.9 to 2.0, b 0.3 to 0.9).
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// What a business's chunks say about some terms.
#[derive(Clone, Debug, Default)]
pub struct TermStatistics {
    /// How many chunks the business has.
    pub chunk_count: i64,
    /// How many terms a chunk has on average.
    pub mean_length: f64,
    /// In how many chunks each term is; terms in none are missing.
    pub frequencies: HashMap<String, i64>,
}

/// Writes the terms of a document's chunks: per chunk its index and its terms, with repeats.
pub(super) async fn insert_postings(
    conn: &mut PgConnection,
    business_id: BusinessId,
    document_id: DocumentId,
    chunks: &[(i32, Vec<String>)],
) -> Result<()> {
    let (mut terms, mut indexes, mut frequencies, mut lengths) = (vec![], vec![], vec![], vec![]);
    for (index, chunk_terms) in chunks {
        let length = i16::try_from(chunk_terms.len()).unwrap_or(i16::MAX);
        let mut counts: HashMap<&str, i16> = HashMap::new();
        for term in chunk_terms {
            let count = counts.entry(term).or_default();
            *count = count.saturating_add(1);
        }
        for (term, count) in counts {
            terms.push(term.to_owned());
            indexes.push(*index);
            frequencies.push(count);
            lengths.push(length);
        }
    }
    sqlx::query!(
        r#"
        INSERT INTO postings (business_id, document_id, term, chunk_count, chunk_indexes, frequencies, lengths)
        SELECT $1, $2, term, count(*), array_agg(chunk_index), array_agg(frequency), array_agg(length)
        FROM unnest($3::text[], $4::integer[], $5::smallint[], $6::smallint[]) AS rows (term, chunk_index, frequency, length)
        GROUP BY term
        "#,
        business_id as _,
        document_id as _,
        &terms,
        &indexes,
        &frequencies,
        &lengths,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How common `terms` are among a business's chunks.
pub async fn term_statistics(
    conn: &mut PgConnection,
    business_id: BusinessId,
    terms: &[String],
) -> Result<TermStatistics> {
    let rows = sqlx::query!(
        r#"
        SELECT NULL AS term, coalesce(sum(chunk_count), 0)::bigint AS "chunk_count!", coalesce(sum(term_count), 0)::bigint AS "term_count!"
        FROM lexical_statistics WHERE business_id = $1
        UNION ALL
        SELECT term, found.chunk_count, 0
        FROM unnest($2::text[]) AS terms (term)
        CROSS JOIN LATERAL (
            SELECT sum(chunk_count)::bigint AS chunk_count FROM postings WHERE business_id = $1 AND postings.term = terms.term
        ) AS found
        WHERE found.chunk_count > 0
        "#,
        business_id as _,
        terms,
    )
    .fetch_all(conn)
    .await?;
    let mut statistics = TermStatistics::default();
    for row in rows {
        if let Some(term) = row.term {
            statistics.frequencies.insert(term, row.chunk_count);
        } else {
            statistics.chunk_count = row.chunk_count;
            #[expect(clippy::cast_precision_loss, reason = "a mean needs no more digits")]
            let mean = row.term_count as f64 / row.chunk_count.max(1) as f64;
            statistics.mean_length = mean.max(1.0);
        }
    }
    Ok(statistics)
}

/// The chunks that hold any of `terms`, best first: the sum over words of BM25's share of the word's best term.
///
/// `OFFSET 0` keeps the look-up of a term a look-up: of a tenant newer than its statistics the planner expects one row,
/// and would as soon read them all. With weights that sum to 1 over words, a chunk full of every word scores just under 1.
pub async fn lexical_candidates(
    conn: &mut PgConnection,
    business_id: BusinessId,
    terms: &[TermWeight],
    mean_length: f64,
    document_ids: Option<&[DocumentId]>,
    limit: i64,
) -> Result<Vec<Candidate>> {
    let words: Vec<i32> = terms.iter().map(|term| term.word).collect();
    let names: Vec<String> = terms.iter().map(|term| term.term.clone()).collect();
    let weights: Vec<f64> = terms.iter().map(|term| term.weight).collect();
    let document_ids: Option<Vec<Uuid>> =
        document_ids.map(|ids| ids.iter().map(|id| id.0).collect());
    let rows = sqlx::query!(
        r#"
        SELECT document_id AS "document_id!: DocumentId", chunk_index AS "chunk_index!", sum(share) AS "score!"
        FROM (
            SELECT found.document_id, hit.chunk_index, query.word,
                max(query.weight * hit.frequency / (hit.frequency + $6::float8 * (1 - $7::float8 + $7 * hit.length / $5::float8))) AS share
            FROM unnest($2::integer[], $3::text[], $4::float8[]) AS query (word, term, weight)
            CROSS JOIN LATERAL (
                SELECT document_id, chunk_indexes, frequencies, lengths
                FROM postings
                WHERE business_id = $1 AND postings.term = query.term AND ($8::uuid[] IS NULL OR document_id = ANY($8))
                OFFSET 0
            ) AS found
            CROSS JOIN unnest(found.chunk_indexes, found.frequencies, found.lengths) AS hit (chunk_index, frequency, length)
            GROUP BY found.document_id, hit.chunk_index, query.word
        ) AS shares
        GROUP BY document_id, chunk_index
        ORDER BY sum(share) DESC, document_id, chunk_index
        LIMIT $9
        "#,
        business_id as _,
        &words,
        &names,
        &weights,
        mean_length,
        K1,
        B,
        document_ids.as_deref(),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Candidate {
            key: (row.document_id, row.chunk_index),
            score: row.score,
        })
        .collect())
}
