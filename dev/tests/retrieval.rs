//! Retrieval against a real PostgreSQL: what is found, what is gone, who sees what, and the two ways to a vector.

#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

use std::collections::HashSet;
use std::sync::Arc;

use common::database::chunks::{self, ChunkKey, NewChunk};
use common::database::{self, MIGRATOR, vector_index};
use common::domain::{BusinessId, DocumentId, Language, text};
use common::providers::{DIMENSIONS, Embedder, OfflineEmbedder};
use common::retrieval::{Hit, Retriever, SearchOptions};
use dev::servers::{Binaries, Postgres, PostgresOptions, default_cache_dir};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::sync::OnceCell;

const MODEL: &str = "test-model";

/// A new database, migrated, through the services' role.
async fn test_pool() -> PgPool {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    let start = || async {
        let binaries = Binaries::locate(&default_cache_dir()).await.unwrap();
        Postgres::start(&binaries.postgres_bin, PostgresOptions::throwaway())
            .await
            .unwrap()
    };
    let server = SERVER.get_or_init(start).await;
    let name = format!("retrieval_{}", uuid::Uuid::now_v7().simple());
    let mut owner = PgConnection::connect(&server.owner_url("postgres"))
        .await
        .unwrap();
    owner
        .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await
        .unwrap();
    let mut owner = PgConnection::connect(&server.owner_url(&name))
        .await
        .unwrap();
    MIGRATOR.run(&mut owner).await.unwrap();
    let options = PgPoolOptions::new().after_connect(|conn, _| {
        Box::pin(async move { conn.execute("SET ROLE relais_app").await.map(drop) })
    });
    options.connect(&server.owner_url(&name)).await.unwrap()
}

async fn business(pool: &PgPool) -> BusinessId {
    let business_id = BusinessId::new();
    let mut tx = database::business(pool, business_id).await.unwrap();
    let insert =
        "INSERT INTO businesses (id, name, stage, created_at) VALUES ($1, 'test', 'idea', now())";
    sqlx::query(insert)
        .bind(business_id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    business_id
}

async fn document(pool: &PgPool, business_id: BusinessId, filename: &str) -> DocumentId {
    let document_id = DocumentId::new();
    let mut tx = database::business(pool, business_id).await.unwrap();
    let insert = "INSERT INTO documents
        (id, business_id, filename, media_type, size_bytes, content_sha256, object_key, status, job_id, created_at)
        VALUES ($1, $2, $3, 'text/plain', 1, '', 'key', 'pending', $1, now())";
    sqlx::query(insert)
        .bind(document_id)
        .bind(business_id)
        .bind(filename)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    document_id
}

async fn store(
    pool: &PgPool,
    business_id: BusinessId,
    document_id: DocumentId,
    model: &str,
    new: &[NewChunk],
) {
    let mut tx = database::business(pool, business_id).await.unwrap();
    chunks::replace(
        &mut tx,
        business_id,
        document_id,
        model,
        &chunks::prepare(new.to_vec()),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

fn new_chunk(index: usize, text: &str, embedding: Vec<f32>) -> NewChunk {
    NewChunk {
        index: i32::try_from(index).unwrap(),
        page_start: Some(1),
        page_end: Some(1),
        section: None,
        text: text.to_owned(),
        language: text::detect_language(text),
        tokens: 10,
        embedding,
    }
}

/// A document of these texts, embedded offline.
async fn document_of(
    pool: &PgPool,
    business_id: BusinessId,
    filename: &str,
    texts: &[&str],
) -> DocumentId {
    let owned: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let embeddings = OfflineEmbedder.embed(&owned).await.unwrap();
    let new: Vec<NewChunk> = texts
        .iter()
        .zip(embeddings)
        .enumerate()
        .map(|(index, (text, embedding))| new_chunk(index, text, embedding))
        .collect();
    let document_id = document(pool, business_id, filename).await;
    store(
        pool,
        business_id,
        document_id,
        OfflineEmbedder.model(),
        &new,
    )
    .await;
    document_id
}

async fn search(pool: &PgPool, business_id: BusinessId, question: &str) -> Vec<Hit> {
    let retriever = Retriever::new(Arc::new(OfflineEmbedder));
    retriever
        .search(pool, business_id, question, &SearchOptions::default())
        .await
        .unwrap()
}

const SHOP: [&str; 3] = [
    "La boutique est ouverte du lundi au samedi, de neuf heures à dix-huit heures.",
    "La livraison à Cotonou coûte mille cinq cents francs et prend deux jours ouvrés.",
    "Les œuvres de l'artisan sont faites à la main, en bois d'ébène.",
];
const LEDGER: [&str; 2] = [
    "A timestamp server takes a hash of a block of items and publishes it widely.",
    "Nodes can leave and rejoin the network at will, accepting the longest chain.",
];

#[tokio::test]
async fn questions_find_their_chunk_with_or_without_accents_and_misspelt() {
    let pool = test_pool().await;
    let business_id = business(&pool).await;
    document_of(&pool, business_id, "boutique.pdf", &SHOP).await;
    document_of(&pool, business_id, "bitcoin.pdf", &LEDGER).await;

    for (question, expected) in [
        ("Combien coûte la livraison ?", SHOP[1]),
        ("combien coute la livraison a cotonou", SHOP[1]),
        ("la livraisson", SHOP[1]),
        ("quelles oeuvres en ebene", SHOP[2]),
        ("What is a timestamp server?", LEDGER[0]),
        ("A quoi servent les timestamps ?", LEDGER[0]),
        ("timestmap", LEDGER[0]),
    ] {
        let hits = search(&pool, business_id, question).await;
        assert_eq!(hits[0].text, expected, "{question}");
        assert!(hits[0].is_relevant(), "{question}: {:?}", hits[0]);
        assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
    }
    let hits = search(
        &pool,
        business_id,
        "Quelle est la capitale de la Mongolie ?",
    )
    .await;
    assert!(hits.iter().all(|hit| !hit.is_relevant()), "{hits:?}");
    assert!(search(&pool, business_id, "?!").await.is_empty());
}

#[tokio::test]
async fn a_search_keeps_to_the_documents_and_the_number_asked_for() {
    let pool = test_pool().await;
    let business_id = business(&pool).await;
    document_of(&pool, business_id, "one.txt", &LEDGER).await;
    let two = document_of(&pool, business_id, "two.txt", &LEDGER).await;
    let retriever = Retriever::new(Arc::new(OfflineEmbedder));

    let options = SearchOptions {
        top_k: 20,
        document_ids: Some(vec![two]),
    };
    let hits = retriever
        .search(&pool, business_id, "timestamp network", &options)
        .await
        .unwrap();
    assert_eq!(hits.len(), 2);
    assert!(
        hits.iter()
            .all(|hit| hit.document_id == two && hit.filename == "two.txt")
    );

    let options = SearchOptions {
        top_k: 1,
        document_ids: None,
    };
    assert_eq!(
        retriever
            .search(&pool, business_id, "timestamp network", &options)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn another_business_finds_nothing() {
    let pool = test_pool().await;
    let (ours, theirs) = (business(&pool).await, business(&pool).await);
    let document_id = document_of(&pool, ours, "ours.txt", &SHOP).await;

    assert!(search(&pool, theirs, "livraison").await.is_empty());
    let mut tx = database::business(&pool, theirs).await.unwrap();
    assert_eq!(chunks::count(&mut tx, ours).await.unwrap(), 0);
    assert!(
        chunks::list_of_document(&mut tx, ours, document_id, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    chunks::delete_of_document(&mut tx, ours, document_id)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(search(&pool, ours, "livraison").await.len(), 3);
}

async fn statistics(pool: &PgPool, business_id: BusinessId) -> (i64, String, Option<i64>) {
    let mut tx = database::business(pool, business_id).await.unwrap();
    let term = text::terms("livraison", Language::French);
    let found = chunks::term_statistics(&mut tx, business_id, &term)
        .await
        .unwrap();
    (
        found.chunk_count,
        format!("{:.3}", found.mean_length),
        found.frequencies.get(&term[0]).copied(),
    )
}

async fn rows(pool: &PgPool, business_id: BusinessId, document_id: DocumentId) -> Vec<i64> {
    let mut tx = database::business(pool, business_id).await.unwrap();
    let mut counts = Vec::new();
    for table in [
        "chunks",
        "chunk_embeddings",
        "postings",
        "lexical_statistics",
    ] {
        let count = format!("SELECT count(*) FROM {table} WHERE document_id = $1");
        counts.push(
            sqlx::query_scalar(AssertSqlSafe(count))
                .bind(document_id)
                .fetch_one(&mut *tx)
                .await
                .unwrap(),
        );
    }
    counts
}

#[tokio::test]
async fn statistics_are_those_of_the_documents_that_are_there() {
    let pool = test_pool().await;
    let business_id = business(&pool).await;
    let kept = document_of(&pool, business_id, "kept.txt", &SHOP).await;
    let before = statistics(&pool, business_id).await;

    // Deleted by its chunks, and by its row.
    let emptied = document_of(&pool, business_id, "emptied.txt", &SHOP).await;
    let deleted = document_of(&pool, business_id, "deleted.txt", &[SHOP[1], SHOP[1]]).await;
    assert_eq!(statistics(&pool, business_id).await.2, Some(4));
    let mut tx = database::business(&pool, business_id).await.unwrap();
    chunks::delete_of_document(&mut tx, business_id, emptied)
        .await
        .unwrap();
    sqlx::query("DELETE FROM documents WHERE id = $1")
        .bind(deleted)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    assert_eq!(statistics(&pool, business_id).await, before);
    assert_eq!(rows(&pool, business_id, emptied).await, [0; 4]);
    assert_eq!(rows(&pool, business_id, deleted).await, [0; 4]);

    // Written again, it is not there twice.
    let new = new_chunk(0, SHOP[1], vec![1.0; DIMENSIONS]);
    store(&pool, business_id, kept, MODEL, &[new]).await;
    let (chunk_count, _, frequency) = statistics(&pool, business_id).await;
    assert_eq!((chunk_count, frequency), (1, Some(1)));
}

#[tokio::test]
async fn chunks_are_listed_in_order_page_by_page() {
    let pool = test_pool().await;
    let business_id = business(&pool).await;
    let document_id = document_of(&pool, business_id, "shop.txt", &SHOP).await;

    let mut tx = database::business(&pool, business_id).await.unwrap();
    let first = chunks::list_of_document(&mut tx, business_id, document_id, None, 2)
        .await
        .unwrap();
    let rest = chunks::list_of_document(&mut tx, business_id, document_id, Some(first[1].index), 2)
        .await
        .unwrap();
    let texts: Vec<&str> = first
        .iter()
        .chain(&rest)
        .map(|chunk| chunk.text.as_str())
        .collect();
    assert_eq!(texts, SHOP);
    assert_eq!(first[0].language.as_deref(), Some("fr"));
}

/// Vectors as texts have them: around a few topics, on some of the dimensions.
struct Vectors(StdRng);

impl Vectors {
    fn next(&mut self) -> Vec<f32> {
        let topic = self.0.random_range(0..40_usize);
        let mut vector = vec![0.0; DIMENSIONS];
        for word in 0..40 {
            vector[(topic * 31 + word * 7) % DIMENSIONS] += self.0.random_range(0.0..1.0);
            vector[self.0.random_range(0..DIMENSIONS)] += self.0.random_range(-1.0..1.0);
        }
        vector
    }

    async fn fill(&mut self, pool: &PgPool, business_id: BusinessId, count: usize) -> DocumentId {
        let document_id = document(pool, business_id, "vectors").await;
        let new: Vec<NewChunk> = (0..count)
            .map(|index| new_chunk(index, "text", self.next()))
            .collect();
        store(pool, business_id, document_id, MODEL, &new).await;
        document_id
    }

    /// The share of the ten nearest that is found, over some questions.
    async fn recall(&mut self, pool: &PgPool, business_id: BusinessId) -> f64 {
        let mut tx = database::business(pool, business_id).await.unwrap();
        let all: Vec<DocumentId> =
            sqlx::query_scalar("SELECT id FROM documents WHERE business_id = $1")
                .bind(business_id)
                .fetch_all(&mut *tx)
                .await
                .unwrap();
        let (mut found, mut expected) = (0_u32, 0_u32);
        for _ in 0..30 {
            let question = self.next();
            let near = chunks::vector_candidates(&mut tx, business_id, MODEL, &question, None, 10)
                .await
                .unwrap();
            // With documents picked, the search is exact.
            let exact =
                chunks::vector_candidates(&mut tx, business_id, MODEL, &question, Some(&all), 10)
                    .await
                    .unwrap();
            let exact: HashSet<ChunkKey> = exact.iter().map(|candidate| candidate.key).collect();
            found += near
                .iter()
                .map(|candidate| u32::from(exact.contains(&candidate.key)))
                .sum::<u32>();
            expected += u32::try_from(exact.len()).unwrap();
        }
        f64::from(found) / f64::from(expected)
    }
}

#[tokio::test]
async fn tenants_of_every_size_find_their_nearest() {
    let pool = test_pool().await;
    let mut vectors = Vectors(StdRng::seed_from_u64(7));
    let mut tenants = Vec::new();
    for size in [40, 2_000, 3_000] {
        let business_id = business(&pool).await;
        vectors.fill(&pool, business_id, size / 2).await;
        vectors.fill(&pool, business_id, size / 2).await;
        tenants.push(business_id);
    }
    // The rule says more; the index does not mind.
    let held = vector_index::ensure(&pool, tenants[2], MODEL)
        .await
        .unwrap();
    assert_eq!(held, 3_000);

    for business_id in &tenants {
        let recall = vectors.recall(&pool, *business_id).await;
        assert!(recall >= 0.99, "{recall}");
    }
}

#[tokio::test]
async fn an_index_follows_what_is_written_and_deleted() {
    let pool = test_pool().await;
    let mut vectors = Vectors(StdRng::seed_from_u64(8));
    let business_id = business(&pool).await;
    let old = vectors.fill(&pool, business_id, 500).await;
    vector_index::ensure(&pool, business_id, MODEL)
        .await
        .unwrap();

    vectors.fill(&pool, business_id, 300).await;
    let mut tx = database::business(&pool, business_id).await.unwrap();
    sqlx::query("DELETE FROM documents WHERE id = $1")
        .bind(old)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(vectors.recall(&pool, business_id).await >= 0.99);
    assert_eq!(indexed(&pool, business_id).await, Some(300));

    // Built anew, then given up: the search goes on.
    assert_eq!(
        vector_index::ensure(&pool, business_id, MODEL)
            .await
            .unwrap(),
        300
    );
    assert!(vectors.recall(&pool, business_id).await >= 0.99);
    assert!(vector_index::drop(&pool, business_id).await.unwrap());
    assert!(!vector_index::drop(&pool, business_id).await.unwrap());
    assert_eq!(indexed(&pool, business_id).await, None);
    assert!(vectors.recall(&pool, business_id).await >= 0.99);
}

/// How many rows the business's own index has.
async fn indexed(pool: &PgPool, business_id: BusinessId) -> Option<i64> {
    let mut tx = database::business(pool, business_id).await.unwrap();
    let index = vector_index::find(&mut tx, business_id).await.unwrap()?;
    let count = format!("SELECT count(*) FROM {}", index.table_name);
    Some(
        sqlx::query_scalar(AssertSqlSafe(count))
            .fetch_one(&mut *tx)
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn an_index_is_built_by_the_platform_alone_and_read_by_its_business_alone() {
    let pool = test_pool().await;
    let mut vectors = Vectors(StdRng::seed_from_u64(9));
    let (ours, theirs) = (business(&pool).await, business(&pool).await);
    vectors.fill(&pool, ours, 20).await;

    let mut tx = database::business(&pool, ours).await.unwrap();
    let refused = sqlx::query("SELECT build_vector_index($1, $2)")
        .bind(ours)
        .bind(MODEL)
        .execute(&mut *tx)
        .await;
    assert_eq!(
        refused
            .unwrap_err()
            .as_database_error()
            .unwrap()
            .code()
            .as_deref(),
        Some("42501")
    );
    drop(tx);

    vector_index::ensure(&pool, ours, MODEL).await.unwrap();
    let mut tx = database::business(&pool, ours).await.unwrap();
    let table_name = vector_index::find(&mut tx, ours)
        .await
        .unwrap()
        .unwrap()
        .table_name;
    drop(tx);
    let mut tx = database::business(&pool, theirs).await.unwrap();
    let count = format!("SELECT count(*) FROM {table_name}");
    assert_eq!(
        sqlx::query_scalar::<_, i64>(AssertSqlSafe(count))
            .fetch_one(&mut *tx)
            .await
            .unwrap(),
        0
    );
    assert!(vector_index::find(&mut tx, ours).await.unwrap().is_none());
}

#[tokio::test]
async fn a_business_whose_chunks_went_loses_its_index() {
    let pool = test_pool().await;
    let mut vectors = Vectors(StdRng::seed_from_u64(10));
    let business_id = business(&pool).await;
    vectors.fill(&pool, business_id, 20).await;
    vector_index::ensure(&pool, business_id, MODEL)
        .await
        .unwrap();

    let mut tx = database::platform(&pool).await.unwrap();
    let planned = vector_index::list_planned(&mut tx, MODEL).await.unwrap();
    assert_eq!(
        planned,
        [vector_index::PlannedIndex {
            business_id,
            plan: vector_index::IndexPlan::Drop
        }]
    );
}
