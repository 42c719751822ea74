//! Tenancy: what row-level security costs the hottest queries.
//!
//! The same functions on the same data, once as the services' role, for which the policies hold, and once as a superuser,
//! for whom they do not. Each query is a transaction with its settings, as the services have it.

mod rows;

use std::time::Duration;

use common::database::chunks;
use common::database::history::{self, MessageFilter};
use common::database::{self, documents, jobs};
use common::domain::{BusinessId, ChatId, JobId, text};
use common::providers::{Embedder, OfflineEmbedder};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;

use super::statistics::{Spread, float};
use super::{Failure, Scale, program, report};
use crate::testing::{Platform, Setup};

/// How to measure what tenancy costs.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Businesses that share the tables. [20; quick: 3]
    #[arg(long)]
    businesses: Option<usize>,
    /// Chunks of each. [1000; quick: 50]
    #[arg(long)]
    chunks: Option<usize>,
    /// Interleaved rounds of each query. [20; quick: 2]
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds of each round, half with and half without. [1000; quick: 100]
    #[arg(long)]
    slice_ms: Option<u64>,
}

/// The share of the throughput that must be left.
const TARGET: f64 = 0.8;

/// Rows of a page, and candidates of a search: as the services ask for.
const PAGE: i64 = 50;
const CANDIDATES: i64 = 100;

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let platform = Setup::stores_only(&program()?).start().await;
    let businesses = scale.pick(options.businesses, 20, 3);
    let chunks = scale.pick(options.chunks, 1_000, 50);
    let subject = prepare(&platform, businesses, chunks).await?;
    let slice = Duration::from_millis(scale.pick(options.slice_ms, 1_000, 100));
    let rounds = scale.pick(options.rounds, 20, 2);

    report(&format!(
        "## With row-level security to without it: throughput, {businesses} businesses, {rounds} rounds\n"
    ));
    report("| query | with | without | ratio (quartiles) | at least 0.8 |\n|---|---|---|---|---|");
    let mut figures = Vec::new();
    for query in Query::ALL {
        let (with, without) = subject.compare(&platform, query, rounds, slice).await?;
        let ratio = Spread::of(
            with.iter()
                .zip(&without)
                .map(|(with, without)| with / without),
        );
        let middle = |rates: &[f64]| Spread::of(rates.iter().copied()).median;
        report(&format!(
            "| {} | {:.0}/s | {:.0}/s | {ratio} | {} |",
            query.name(),
            middle(&with),
            middle(&without),
            if ratio.median >= TARGET { "yes" } else { "no" }
        ));
        figures.push(
            json!({ "query": query.name(), "with": with, "without": without, "ratio": ratio }),
        );
    }
    Ok(json!({ "businesses": businesses, "chunks": chunks, "queries": figures }))
}

/// The hottest queries.
#[derive(Clone, Copy, Debug)]
enum Query {
    JobById,
    ChatPage,
    MessagePage,
    DocumentPage,
    LexicalSearch,
    VectorSearch,
}

impl Query {
    const ALL: [Self; 6] = [
        Self::JobById,
        Self::ChatPage,
        Self::MessagePage,
        Self::DocumentPage,
        Self::LexicalSearch,
        Self::VectorSearch,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::JobById => "a job by its id",
            Self::ChatPage => "a page of chats",
            Self::MessagePage => "a page of messages",
            Self::DocumentPage => "a page of documents",
            Self::LexicalSearch => "chunks by words",
            Self::VectorSearch => "chunks by vector",
        }
    }
}

/// Whose rows are asked for.
struct Subject {
    business_id: BusinessId,
    job_id: JobId,
    chat_id: ChatId,
    terms: Vec<String>,
    embedding: Vec<f32>,
}

impl Subject {
    /// Queries a second in each round, with the policies and without: one query so, the next the other way, so that
    /// whatever else the machine does meets both.
    async fn compare(
        &self,
        platform: &Platform,
        query: Query,
        rounds: usize,
        slice: Duration,
    ) -> Result<(Vec<f64>, Vec<f64>), Failure> {
        let pools = [&platform.pool, &platform.owner];
        let mut rates: [Vec<f64>; 2] = Default::default();
        // The first round makes connections and reads pages.
        for round in 0..=rounds {
            let (mut took, mut count) = ([Duration::ZERO; 2], 0_usize);
            while took[0] + took[1] < slice {
                // Who comes second finds the caches warm.
                for place in [count % 2, (count + 1) % 2] {
                    took[place] += self.time(pools[place], query).await?;
                }
                count += 1;
            }
            for (rates, took) in rates.iter_mut().zip(took).filter(|_| round > 0) {
                rates.push(float(count) / took.as_secs_f64());
            }
        }
        let [with, without] = rates;
        Ok((with, without))
    }

    /// How long a query takes, with its transaction.
    async fn time(&self, pool: &PgPool, query: Query) -> Result<Duration, Failure> {
        let started = Instant::now();
        let mut tx = database::business(pool, self.business_id).await?;
        if self.ask(&mut tx, query).await? == 0 {
            return Err(format!("{} finds nothing", query.name()).into());
        }
        tx.commit().await?;
        Ok(started.elapsed())
    }

    /// How many rows it finds.
    async fn ask(&self, conn: &mut PgConnection, query: Query) -> Result<usize, Failure> {
        let id = self.business_id;
        Ok(match query {
            Query::JobById => jobs::view::find(conn, id, self.job_id)
                .await?
                .iter()
                .count(),
            Query::ChatPage => history::list_chats(conn, id, None, None, PAGE).await?.len(),
            Query::MessagePage => {
                let filter = MessageFilter {
                    chat_id: Some(self.chat_id),
                    ..MessageFilter::default()
                };
                history::list_messages(conn, id, filter, None, PAGE)
                    .await?
                    .len()
            }
            Query::DocumentPage => documents::list(conn, id, None, None, PAGE).await?.len(),
            Query::LexicalSearch => self.by_words(conn).await?,
            Query::VectorSearch => {
                let model = OfflineEmbedder.model();
                let found =
                    chunks::vector_candidates(conn, id, model, &self.embedding, None, CANDIDATES);
                found.await?.len()
            }
        })
    }

    async fn by_words(&self, conn: &mut PgConnection) -> Result<usize, Failure> {
        let id = self.business_id;
        let statistics = chunks::term_statistics(conn, id, &self.terms).await?;
        let words = text::query_words(
            QUESTION,
            text::detect_language(QUESTION).unwrap_or_default(),
        );
        let weights = text::weigh(&words, statistics.chunk_count, &statistics.frequencies);
        let mean = statistics.mean_length;
        let found = chunks::lexical_candidates(conn, id, &weights, mean, None, CANDIDATES);
        Ok(found.await?.len())
    }
}

/// What the chunks are searched for.
const QUESTION: &str = "Combien coûte la livraison à vélo ?";

/// Makes businesses alike; the one in the middle is asked.
async fn prepare(
    platform: &Platform,
    businesses: usize,
    chunks: usize,
) -> Result<Subject, Failure> {
    let ids = rows::fill(platform, businesses, chunks).await?;
    let business_id = ids[ids.len() / 2];
    let one_of =
        |table: &str| format!("SELECT id FROM {table} WHERE business_id = $1 ORDER BY id LIMIT 1");
    let one = async |sql: String| -> Result<uuid::Uuid, Failure> {
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(business_id.0);
        Ok(query.fetch_one(&platform.owner).await?)
    };
    let words = text::query_words(
        QUESTION,
        text::detect_language(QUESTION).unwrap_or_default(),
    );
    let embedded = OfflineEmbedder.embed(&[QUESTION.to_owned()]).await?;
    Ok(Subject {
        business_id,
        job_id: JobId(one(one_of("jobs")).await?),
        chat_id: ChatId(one(one_of("chats")).await?),
        terms: words.iter().flat_map(|word| word.terms.clone()).collect(),
        embedding: embedded.into_iter().next().ok_or("no vector came back")?,
    })
}
