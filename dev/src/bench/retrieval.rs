//! How often the right passage is found: hit@10 and MRR@10 over a folder of passages and questions.
//!
//! A folder holds `passages.jsonl` (`id`, `title`, `text`) and `queries.jsonl` (`id`, `text`, `relevant`: ids of passages).
//! Passages are stored and found as in production, by the offline embedder.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::database::chunks::{self, Candidate, ChunkKey, NewChunk};
use common::database::{self, MIGRATOR};
use common::domain::{BusinessId, DocumentId, text};
use common::providers::{Embedder, OfflineEmbedder};
use common::retrieval::Retriever;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::servers::{Postgres, PostgresOptions, default_cache_dir, find_postgres};

/// Results further down than this do not count.
const CUTOFF: usize = 10;

/// Passages a stored document.
const DOCUMENT_PASSAGES: usize = 50;

/// Words a mistake may be made in; shorter ones are what people get right.
const MISSPELT_CHARS: usize = 4;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Deserialize)]
struct PassageLine {
    id: String,
    #[serde(default)]
    title: Option<String>,
    text: String,
}

#[derive(Deserialize)]
struct QueryLine {
    text: String,
    relevant: Vec<String>,
}

/// Measures each folder of `data` and writes a Markdown table of every variant to `out`.
///
/// # Errors
///
/// If a folder is not of this form, or PostgreSQL cannot be run.
pub async fn run(data: &[PathBuf], out: &mut impl Write) -> Result<(), Failure> {
    let postgres = Postgres::start(
        &find_postgres(&default_cache_dir()).await?,
        PostgresOptions::throwaway(),
    )
    .await?;
    let pool = pool(&postgres.owner_url("postgres")).await?;
    writeln!(
        out,
        "| set | questions | lexical hit@10 | MRR@10 | vector hit@10 | MRR@10 | fused hit@10 | MRR@10 | ms a question |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for folder in data {
        let stored = store(&pool, folder).await?;
        let queries: Vec<QueryLine> = lines(&folder.join("queries.jsonl"))?;
        for variant in [Variant::AsIs, Variant::WithoutAccents, Variant::Misspelt] {
            let measured = stored.measure(&pool, &queries, variant).await?;
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            writeln!(out, "| {name} | {} | {measured} |", variant.name())?;
        }
    }
    Ok(())
}

/// The database migrated, through the services' role.
async fn pool(owner_url: &str) -> Result<PgPool, Failure> {
    MIGRATOR
        .run(&mut PgConnection::connect(owner_url).await?)
        .await?;
    let options = PgPoolOptions::new().after_connect(|conn, _| {
        Box::pin(async move { conn.execute("SET ROLE relais_app").await.map(drop) })
    });
    Ok(options.connect(owner_url).await?)
}

fn lines<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, Failure> {
    let content =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(content
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

/// How a question is typed.
#[derive(Clone, Copy)]
enum Variant {
    AsIs,
    WithoutAccents,
    Misspelt,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as is",
            Self::WithoutAccents => "without accents",
            Self::Misspelt => "one typo",
        }
    }

    fn of(self, question: &str, random: &mut StdRng) -> String {
        match self {
            Self::AsIs => question.to_owned(),
            Self::WithoutAccents => text::fold(question),
            Self::Misspelt => misspelt(question, random),
        }
    }
}

/// The question with one mistake in one of its longer words: a letter left out, swapped, changed or added.
fn misspelt(question: &str, random: &mut StdRng) -> String {
    let mut words: Vec<Vec<char>> = question
        .split(' ')
        .map(|word| word.chars().collect())
        .collect();
    let letters = |word: &[char]| word.iter().filter(|c| c.is_alphabetic()).count();
    let long: Vec<usize> = (0..words.len())
        .filter(|at| letters(&words[*at]) >= MISSPELT_CHARS)
        .collect();
    if let Some(at) = long.get(random.random_range(0..long.len().max(1))) {
        let word = &mut words[*at];
        let place = random.random_range(0..word.len() - 1);
        let letter = char::from(random.random_range(b'a'..=b'z'));
        match random.random_range(0..4) {
            0 => _ = word.remove(place),
            1 => word.swap(place, place + 1),
            2 => word[place] = letter,
            _ => word.insert(place, letter),
        }
    }
    words
        .into_iter()
        .map(String::from_iter)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A stored set.
struct Stored {
    business_id: BusinessId,
    passages: HashMap<ChunkKey, String>,
}

async fn store(pool: &PgPool, folder: &Path) -> Result<Stored, Failure> {
    let lines: Vec<PassageLine> = lines(&folder.join("passages.jsonl"))?;
    let business_id = BusinessId::new();
    let mut tx = database::business(pool, business_id).await?;
    let insert = "INSERT INTO businesses (id, name, stage, created_at) VALUES ($1, 'benchmark', 'idea', now())";
    sqlx::query(insert)
        .bind(business_id)
        .execute(&mut *tx)
        .await?;
    let mut passages = HashMap::new();
    for lines in lines.chunks(DOCUMENT_PASSAGES) {
        let document_id = DocumentId::new();
        let insert = "INSERT INTO documents
            (id, business_id, filename, media_type, size_bytes, content_sha256, object_key, status, job_id, created_at)
            VALUES ($1, $2, 'benchmark', 'text/plain', 0, '', '', 'processed', $1, now())";
        sqlx::query(insert)
            .bind(document_id)
            .bind(business_id)
            .execute(&mut *tx)
            .await?;
        chunks::replace(
            &mut tx,
            business_id,
            document_id,
            OfflineEmbedder.model(),
            &chunks::prepare(new_chunks(lines).await?),
        )
        .await?;
        passages.extend(
            (0..)
                .zip(lines)
                .map(|(index, line)| ((document_id, index), line.id.clone())),
        );
    }
    tx.commit().await?;
    Ok(Stored {
        business_id,
        passages,
    })
}

async fn new_chunks(lines: &[PassageLine]) -> Result<Vec<NewChunk>, Failure> {
    let texts: Vec<String> = lines
        .iter()
        .map(|line| chunks::indexed_text(line.title.as_deref(), &line.text))
        .collect();
    let embeddings = OfflineEmbedder.embed(&texts).await?;
    let new_chunk = |((index, line), embedding): ((i32, &PassageLine), Vec<f32>)| NewChunk {
        index,
        page_start: None,
        page_end: None,
        section: line.title.clone(),
        text: line.text.clone(),
        language: text::detect_language(&line.text),
        tokens: 0,
        embedding,
    };
    Ok((0..).zip(lines).zip(embeddings).map(new_chunk).collect())
}

impl Stored {
    async fn measure(
        &self,
        pool: &PgPool,
        queries: &[QueryLine],
        variant: Variant,
    ) -> Result<Measured, Failure> {
        let retriever = Retriever::new(Arc::new(OfflineEmbedder));
        // The same mistakes every time.
        let mut random = StdRng::seed_from_u64(1);
        let mut measured = Measured::default();
        for query in queries {
            let question = variant.of(&query.text, &mut random);
            let start = Instant::now();
            let found = retriever
                .candidates(pool, self.business_id, &question, None)
                .await?;
            let fused = found.fused().into_iter().map(|(key, _)| key);
            measured.time += start.elapsed();
            let keys = |side: &[Candidate]| {
                side.iter()
                    .map(|candidate| candidate.key)
                    .collect::<Vec<_>>()
            };
            measured.lexical.add(self.rank(query, keys(&found.lexical)));
            measured.vector.add(self.rank(query, keys(&found.vector)));
            measured.fused.add(self.rank(query, fused.collect()));
        }
        Ok(measured)
    }

    /// Where the first relevant passage is, from 1; `None`: beyond the cut-off.
    fn rank(&self, query: &QueryLine, found: Vec<ChunkKey>) -> Option<usize> {
        let relevant = |key: ChunkKey| {
            self.passages
                .get(&key)
                .is_some_and(|id| query.relevant.contains(id))
        };
        found
            .into_iter()
            .take(CUTOFF)
            .position(relevant)
            .map(|place| place + 1)
    }
}

#[derive(Default)]
struct Measured {
    lexical: Quality,
    vector: Quality,
    fused: Quality,
    time: Duration,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = self.time.as_secs_f64() * 1000.0 / f64::from(self.fused.questions.max(1));
        write!(
            f,
            "{} | {} | {} | {each:.1}",
            self.lexical, self.vector, self.fused
        )
    }
}

#[derive(Default)]
struct Quality {
    questions: u32,
    hits: u32,
    reciprocal_ranks: f64,
}

impl Quality {
    fn add(&mut self, rank: Option<usize>) {
        self.questions += 1;
        if let Some(rank) = rank.and_then(|rank| u32::try_from(rank).ok()) {
            self.hits += 1;
            self.reciprocal_ranks += 1.0 / f64::from(rank);
        }
    }
}

impl std::fmt::Display for Quality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let questions = f64::from(self.questions.max(1));
        write!(
            f,
            "{:.3} | {:.3}",
            f64::from(self.hits) / questions,
            self.reciprocal_ranks / questions
        )
    }
}
