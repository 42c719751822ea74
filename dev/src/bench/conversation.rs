//! A platform that talks: every service a process of its own, businesses with knowledge, and a model that only waits.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::client::{Load, at_rate, webhook};
use super::services::Service;
use super::{Failure, program};
use crate::seed::Seeded;
use crate::simulators::openai::OpenAiSimulator;
use crate::testing::{PATIENCE, Platform, Setup};

/// What the assistants know, and what they are asked.
const KNOWLEDGE: &str = "# Horaires\n\nLe café ouvre à sept heures et ferme à vingt heures.\n\n# Livraison\n\n\
                         La livraison à vélo coûte trois euros. La livraison est gratuite au-delà de trente euros.\n";
const QUESTION: &str = "Combien coûte la livraison à vélo ?";

/// The key the model takes.
const MODEL_KEY: &str = "sk-benchmark";

/// A model that repeats questions, on a runtime of its own: what it costs delays nobody here.
pub(super) struct StandIn {
    /// The model.
    pub(super) model: OpenAiSimulator,
    runtime: Option<Runtime>,
}

impl StandIn {
    async fn start() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let starting = OpenAiSimulator::start(address, "/v1", MODEL_KEY);
        let model = runtime.spawn(starting).await??;
        Ok(Self {
            model,
            runtime: Some(runtime),
        })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // Dropped as it is, it would wait, which nothing asynchronous may.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The platform, and who writes to it.
pub(super) struct Conversation {
    /// The stores.
    pub(super) platform: Platform,
    /// The model.
    pub(super) stand_in: StandIn,
    /// The services.
    pub(super) ingress: Service,
    pub(super) workers: Service,
    pub(super) scheduler: Service,
    /// Whom the contacts write to, in turn.
    pub(super) businesses: Arc<Vec<Seeded>>,
    /// Questions asked so far: each has a number of its own.
    asked: u64,
}

impl Conversation {
    /// Starts everything, workers with `queues`, and teaches `businesses` what they know.
    pub(super) async fn start(queues: &str, businesses: usize) -> Result<Self, Failure> {
        let stand_in = StandIn::start().await?;
        let var = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut platform = Setup {
            vars: vec![
                var("CHAT_PROVIDERS", "openai"),
                var("OPENAI_API_KEY", MODEL_KEY),
                var("OPENAI_BASE_URL", stand_in.model.base_url()),
                var("DATABASE_MAX_CONNECTIONS", "20"),
            ],
            ..Setup::stores_only(&program()?)
        }
        .start()
        .await;
        let ingress = Service::start(&platform, &["ingress"]).await?;
        let workers = Service::workers(&platform, queues).await?;
        let scheduler = Service::start(&platform, &["scheduler"]).await?;
        platform.ingresses.push(ingress.address);
        let mut taught = Vec::new();
        for number in 0..businesses {
            let business = platform.another_business(&format!("Café {number}")).await;
            let bytes = KNOWLEDGE.as_bytes().to_vec();
            platform.ingest_as(&business, "cafe.md", bytes).await;
            taught.push(business);
        }
        Ok(Self {
            platform,
            stand_in,
            ingress,
            workers,
            scheduler,
            businesses: Arc::new(taught),
            asked: 0,
        })
    }

    /// The contacts `0..contacts` ask, one after the other, `rate` questions a second for `time`; tells how long
    /// each that was answered took, from when its webhook was due until ManyChat had the answer, and how the webhooks went.
    /// Waits for the answers as long as `patience`.
    pub(super) async fn ask(
        &mut self,
        rate: u32,
        time: Duration,
        contacts: u64,
        patience: Duration,
    ) -> Result<(Vec<Duration>, Load), Failure> {
        let first = self.asked;
        let businesses = Arc::clone(&self.businesses);
        let request = move |number: u64| {
            let contact = number % contacts;
            let place = usize::try_from(contact).unwrap_or_default() % businesses.len();
            let secret = businesses[place].webhook_secret.expose_secret();
            let number = first + number;
            webhook(
                secret,
                contact + 1,
                &format!("{QUESTION} #{number}#"),
                number,
            )
        };
        let earlier = self.platform.manychat.delivered().len();
        let started_at = self.platform.clock.now();
        let load = at_rate(self.ingress.address, rate, time, request).await?;
        self.asked += load.latencies.len() as u64;
        let deadline = Instant::now() + patience;
        let mut answers = self.answers(earlier);
        while answers.len() < load.latencies.len() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            answers = self.answers(earlier);
        }
        let took = answers.into_iter().filter_map(|(number, at)| {
            let number = u32::try_from(number.checked_sub(first)?).ok()?;
            let due = Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            Some((at - started_at).to_std().ok()?.saturating_sub(due))
        });
        Ok((took.collect(), load))
    }

    /// When the answer to each numbered question reached ManyChat, of those after the first `earlier`.
    fn answers(&self, earlier: usize) -> HashMap<u64, DateTime<Utc>> {
        let delivered = self.platform.manychat.delivered().into_iter().skip(earlier);
        delivered
            .filter_map(|message| {
                let number = message.text.split('#').nth(1)?.parse().ok()?;
                Some((number, message.received_at))
            })
            .collect()
    }

    /// Makes it so that each business has its share of `contacts` contacts, each with a chat of four messages.
    pub(super) async fn fill(&self, contacts: u32) -> Result<(), Failure> {
        let mut conn = self.platform.owner.acquire().await?;
        for statement in [
            "SET statement_timeout = 0",
            FILL_CONTACTS,
            FILL_CHATS,
            FILL_MESSAGES,
        ] {
            let ids: Vec<uuid::Uuid> = self
                .businesses
                .iter()
                .map(|one| one.business_id.0)
                .collect();
            let query = sqlx::query(statement);
            let query = match statement {
                FILL_CONTACTS => query.bind(ids).bind(i32::try_from(contacts)?),
                _ => query,
            };
            query.execute(&mut *conn).await?;
        }
        for table in [
            "VACUUM ANALYZE contacts",
            "VACUUM ANALYZE chats",
            "VACUUM ANALYZE messages",
            "CHECKPOINT",
        ] {
            sqlx::query(table).execute(&mut *conn).await?;
        }
        conn.close().await?;
        Ok(())
    }

    /// How long anything may take that the model takes `thinking` for.
    pub(super) fn patience(thinking: Duration) -> Duration {
        PATIENCE + thinking * 2
    }
}

/// Contact `n` is the subscriber `n + 1` of business `n`, counted round.
const FILL_CONTACTS: &str = "
    INSERT INTO contacts (id, business_id, channel, external_id, first_name, created_at, updated_at)
    SELECT gen_random_uuid(), ($1::uuid[])[n % cardinality($1) + 1], 'manychat', (n + 1)::text, 'Ana', now(), now()
    FROM generate_series(0, $2 - 1) AS n ON CONFLICT DO NOTHING";
const FILL_CHATS: &str = "
    INSERT INTO chats (id, business_id, channel, contact_id, last_seq, created_at, last_message_at)
    SELECT gen_random_uuid(), business_id, channel, id, 4, now(), now() FROM contacts ON CONFLICT DO NOTHING";
const FILL_MESSAGES: &str = "
    INSERT INTO messages (id, business_id, chat_id, contact_id, seq, direction, role, content, status, turn_job_id, created_at)
    SELECT gen_random_uuid(), chats.business_id, chats.id, contact_id, seq,
        CASE seq % 2 WHEN 1 THEN 'inbound' ELSE 'outbound' END, CASE seq % 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
        'La livraison est gratuite au-delà de trente euros.', CASE seq % 2 WHEN 1 THEN 'answered' ELSE 'sent' END,
        gen_random_uuid(), now()
    FROM chats CROSS JOIN generate_series(1, 4) AS seq
    WHERE contact_id IS NOT NULL ON CONFLICT DO NOTHING";
