//! The rows that are asked for, and those of others that are not.

use common::database;
use common::database::chunks::{self, NewChunk};
use common::domain::{BusinessId, DocumentId, text};
use common::providers::{Embedder, OfflineEmbedder};

use super::super::{Failure, probes};
use crate::testing::Platform;

/// Rows of each business beside its chunks; messages are each chat's.
const JOBS: i32 = 1_000;
const CHATS: i32 = 200;
const MESSAGES: i32 = 50;
const DOCUMENTS: usize = 50;

/// What chunks are made of, a few words of it each.
const WORDS: [&str; 16] = [
    "livraison",
    "vélo",
    "café",
    "heures",
    "coûte",
    "euros",
    "gratuite",
    "commande",
    "adresse",
    "dimanche",
    "terrasse",
    "réservation",
    "menu",
    "dessert",
    "paiement",
    "carte",
];

/// Makes businesses alike, each with `chunks` chunks.
pub(super) async fn fill(
    platform: &Platform,
    businesses: usize,
    chunks: usize,
) -> Result<Vec<BusinessId>, Failure> {
    let ids = probes::businesses(platform, businesses).await?;
    let all: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    for (statement, of_each) in [
        (FILL_JOBS, JOBS),
        (FILL_CHATS, CHATS),
        (FILL_MESSAGES, MESSAGES),
    ] {
        let filled = sqlx::query(statement).bind(&all).bind(of_each);
        filled.execute(&platform.owner).await?;
    }
    for &id in &ids {
        store(platform, id, chunks).await?;
    }
    sqlx::query("VACUUM ANALYZE")
        .execute(&platform.owner)
        .await?;
    Ok(ids)
}

const FILL_JOBS: &str = "
    INSERT INTO jobs (id, queue, kind, business_id, args, state, run_at, dispatch_at, max_attempts, created_at, finished_at)
    SELECT gen_random_uuid(), 'maintenance', 'probe', id, '{}', 'succeeded', now(), now(), 3, now(), now()
    FROM unnest($1::uuid[]) AS id CROSS JOIN generate_series(1, $2)";
const FILL_CHATS: &str = "
    INSERT INTO chats (id, business_id, channel, title, created_at, last_message_at)
    SELECT gen_random_uuid(), id, 'api', 'Livraison', now(), now()
    FROM unnest($1::uuid[]) AS id CROSS JOIN generate_series(1, $2)";
const FILL_MESSAGES: &str = "
    INSERT INTO messages (id, business_id, chat_id, seq, direction, role, content, status, turn_job_id, created_at)
    SELECT gen_random_uuid(), business_id, chats.id, seq, 'inbound', 'user', 'Combien coûte la livraison ?', 'answered',
        gen_random_uuid(), now()
    FROM chats CROSS JOIN generate_series(1, $2) AS seq WHERE business_id = ANY($1)";

/// Stores a business's documents, through the functions that ingestion ends with.
async fn store(platform: &Platform, business_id: BusinessId, count: usize) -> Result<(), Failure> {
    let mut tx = database::business_relaxed(&platform.pool, business_id).await?;
    let each = count.div_ceil(DOCUMENTS);
    for document in 0..DOCUMENTS {
        let document_id = DocumentId::new();
        let insert = "INSERT INTO documents
            (id, business_id, filename, media_type, size_bytes, content_sha256, object_key, status, job_id, created_at)
            VALUES ($1, $2, 'benchmark', 'text/plain', 0, '', '', 'processed', $1, now())";
        let insert = sqlx::query(insert).bind(document_id).bind(business_id);
        insert.execute(&mut *tx).await?;
        let texts: Vec<String> = (0..each)
            .map(|chunk| words(document * each + chunk))
            .collect();
        let embeddings = OfflineEmbedder.embed(&texts).await?;
        let new = (0..)
            .zip(texts)
            .zip(embeddings)
            .map(|((index, text), embedding)| NewChunk {
                index,
                page_start: None,
                page_end: None,
                section: None,
                language: text::detect_language(&text),
                text,
                tokens: 0,
                embedding,
            });
        let prepared = chunks::prepare(new.collect());
        chunks::replace(
            &mut tx,
            business_id,
            document_id,
            OfflineEmbedder.model(),
            &prepared,
        )
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The words of a chunk: the same for the same number, and different enough for others.
fn words(number: usize) -> String {
    let word = |place: usize| WORDS[(number * (place + 3) + place * place) % WORDS.len()];
    (0..24)
        .map(word)
        .chain([&*format!("n{number}")])
        .collect::<Vec<_>>()
        .join(" ")
}
