//! A turn: from a webhook to the answer in ManyChat's hands, less what the model takes.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::conversation::Conversation;
use super::statistics::{Latencies, Spread, float, ms};
use super::usage::Stores;
use super::{Failure, Scale, report};

/// How to measure turns.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Questions a second.
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// Seconds of each measurement. [10; quick: 2]
    #[arg(long)]
    seconds: Option<u64>,
    /// Milliseconds the model takes. [0,50,300; quick: 50]
    #[arg(long, value_delimiter = ',')]
    model_ms: Option<Vec<u64>>,
    /// Contacts, each with a chat. [10,1000,100000; quick: 20]
    #[arg(long, value_delimiter = ',')]
    contacts: Option<Vec<u32>>,
    /// Interleaved rounds. [3; quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Businesses the contacts write to: ManyChat's budget is each one's own. [20; quick: 2]
    #[arg(long)]
    businesses: Option<usize>,
}

/// Every queue; more of those that answer.
const QUEUES: &str = "chat=128,delivery=32,documents=2,maintenance=1";

/// One measurement.
#[derive(Debug, Serialize)]
struct Measured {
    contacts: u32,
    model_ms: u64,
    round: usize,
    asked: usize,
    answered: usize,
    latency: Value,
    #[serde(skip)]
    share: Latencies,
    ingress_cpu_seconds: f64,
    workers_cpu_seconds: f64,
    scheduler_cpu_seconds: f64,
    stores_cpu_seconds: Stores,
}

impl Measured {
    /// CPU time of the services, and of the stores.
    fn cpu(&self) -> (f64, f64) {
        let ours = self.ingress_cpu_seconds + self.workers_cpu_seconds + self.scheduler_cpu_seconds;
        let Stores { postgres, redis } = self.stores_cpu_seconds;
        (ours, postgres + redis)
    }
}

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let time = Duration::from_secs(scale.pick(options.seconds, 10, 2));
    let businesses = scale.pick(options.businesses, 20, 2);
    let delays = scale.pick(options.model_ms.clone(), vec![0, 50, 300], vec![50]);
    let sizes = scale.pick(options.contacts.clone(), vec![10, 1_000, 100_000], vec![20]);
    let rounds = scale.pick(options.rounds, 3, 1);
    let mut conversation = Conversation::start(QUEUES, businesses).await?;
    // Connections are made, statements prepared.
    let warm_up = Duration::from_secs(2);
    conversation
        .ask(options.rate, warm_up, 10, Conversation::patience(warm_up))
        .await?;

    report(&format!(
        "## A turn: webhook to delivered answer, less the model's time, at {} questions a second\n",
        options.rate
    ));
    report(
        "| contacts | model | p50 | p95 | p99 | max | answered | a CPU s of ours | of all |\n|---|---|---|---|---|---|---|---|---|",
    );
    let mut all = Vec::new();
    for contacts in sizes {
        conversation.fill(contacts).await?;
        let mut of_size = Vec::new();
        for round in 1..=rounds {
            for &delay in &delays {
                of_size.push(
                    measure(
                        &mut conversation,
                        options.rate,
                        time,
                        contacts,
                        delay,
                        round,
                    )
                    .await?,
                );
            }
        }
        for delay in &delays {
            let rounds = of_size.iter().filter(|one| one.model_ms == *delay);
            report(&line(contacts, *delay, &rounds.collect::<Vec<_>>()));
        }
        all.extend(of_size);
    }
    Ok(json!({ "rate": options.rate, "businesses": businesses, "rounds": all }))
}

async fn measure(
    conversation: &mut Conversation,
    rate: u32,
    time: Duration,
    contacts: u32,
    model_ms: u64,
    round: usize,
) -> Result<Measured, Failure> {
    let thinking = Duration::from_millis(model_ms);
    conversation.stand_in.model.set_pace(thinking);
    let cpu = |conversation: &Conversation| {
        let Conversation {
            ingress,
            workers,
            scheduler,
            ..
        } = conversation;
        Ok::<_, Failure>([
            ingress.cpu_seconds()?,
            workers.cpu_seconds()?,
            scheduler.cpu_seconds()?,
        ])
    };
    let (before, stores) = (cpu(conversation)?, Stores::used(&conversation.platform)?);
    let patience = Conversation::patience(thinking);
    let (answered, load) = conversation
        .ask(rate, time, u64::from(contacts), patience)
        .await?;
    let after = cpu(conversation)?;
    // What the stand-in of the model needs beside its waiting counts as ours.
    let share = answered.iter().map(|took| took.saturating_sub(thinking));
    let share = Latencies::new(share.collect());
    Ok(Measured {
        contacts,
        model_ms,
        round,
        asked: load.latencies.len(),
        answered: answered.len(),
        latency: share.json(),
        share,
        ingress_cpu_seconds: after[0] - before[0],
        workers_cpu_seconds: after[1] - before[1],
        scheduler_cpu_seconds: after[2] - before[2],
        stores_cpu_seconds: Stores::used(&conversation.platform)?.since(stores),
    })
}

/// The rounds of one setting, together.
fn line(contacts: u32, model_ms: u64, rounds: &[&Measured]) -> String {
    let share = Latencies::merged(rounds.iter().map(|round| &round.share));
    let answered: usize = rounds.iter().map(|round| round.answered).sum();
    let asked: usize = rounds.iter().map(|round| round.asked).sum();
    let each = |cpu: &dyn Fn(&Measured) -> f64| {
        Spread::of(
            rounds
                .iter()
                .map(|round| float(round.answered) / cpu(round).max(0.01)),
        )
        .median
    };
    let at = |quantile| ms(share.at(quantile));
    format!(
        "| {contacts} | {model_ms} ms | {} | {} | {} | {} | {answered} of {asked} | {:.0} | {:.0} |",
        at(0.5),
        at(0.95),
        at(0.99),
        ms(share.max()),
        each(&|round| round.cpu().0),
        each(&|round| round.cpu().0 + round.cpu().1),
    )
}
