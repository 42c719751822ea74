//! `relais keys`: the master key that wraps all others.

use std::io::Write;

use clap::Subcommand;
use common::database::businesses::settings;
use common::database::{self, audit, data_keys};
use common::domain::BusinessId;
use common::secret::{self, Sealer};
use common::{Clock, Config, Result};
use serde_json::json;
use sqlx::PgPool;

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Wrap all data keys with `RELAIS_MASTER_KEY`, so that `RELAIS_PREVIOUS_MASTER_KEYS` are not needed any more. May be broken
    /// off and run again.
    Rotate {
        /// How many in one transaction.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        batch: i64,
    },
}

/// What a rotation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Report {
    /// Data keys wrapped anew.
    rewrapped: u64,
    /// Secrets of before there were data keys, sealed anew.
    resealed: u64,
    /// What no key at hand opens, by business.
    unopened: Vec<BusinessId>,
}

/// Does it, as the services' role.
///
/// # Errors
///
/// What went wrong, in words; also where something is left that no key at hand opens.
pub async fn run(command: Command, config: &Config) -> Result<(), String> {
    let Command::Rotate { batch } = command;
    let told = |error: common::Error| error.to_string();
    let pool = database::connect_lazy(&config.stores.database_url, 1).map_err(told)?;
    let sealer = Sealer::new(&config.secrets).map_err(told)?;
    let report = rotate(&pool, &sealer, &Clock::default(), batch)
        .await
        .map_err(told)?;
    writeln!(
        std::io::stdout(),
        "data keys wrapped anew    {}\nsecrets sealed anew       {}\nleft as they were         {}",
        report.rewrapped,
        report.resealed,
        report.unopened.len(),
    )
    .map_err(|error| format!("the report could not be printed: {error}"))?;
    if report.unopened.is_empty() {
        return Ok(());
    }
    let businesses: Vec<String> = report.unopened.iter().map(ToString::to_string).collect();
    Err(format!(
        "none of the master keys opens the secrets of {}: add theirs to RELAIS_PREVIOUS_MASTER_KEYS, or connect them anew",
        businesses.join(", ")
    ))
}

async fn rotate(pool: &PgPool, sealer: &Sealer, clock: &Clock, batch: i64) -> Result<Report> {
    let mut report = Report::default();
    rewrap(pool, sealer, batch, &mut report).await?;
    reseal(pool, sealer, clock, batch, &mut report).await?;
    let event = audit::Event {
        business_id: None,
        actor: audit::Actor::Operator,
        action: "data_keys.rotated",
        object_kind: "master_key",
        object_id: sealer.master_key_id().to_owned(),
        details: json!({
            "rewrapped": report.rewrapped, "resealed": report.resealed, "unopened": report.unopened.len(),
        }),
    };
    let mut tx = database::platform(pool).await?;
    audit::record(&mut tx, &event, &audit::Origin::default(), clock.now()).await?;
    tx.commit().await?;
    Ok(report)
}

async fn rewrap(pool: &PgPool, sealer: &Sealer, batch: i64, report: &mut Report) -> Result<()> {
    let mut after = None;
    loop {
        let mut tx = database::platform(pool).await?;
        let current = sealer.master_key_id();
        let keys = data_keys::list_wrapped_otherwise(&mut tx, current, after, batch).await?;
        for key in &keys {
            if let Ok(key) = sealer.rewrap(key) {
                data_keys::update_wrapping(&mut tx, &key).await?;
                report.rewrapped += 1;
            } else {
                report.unopened.push(key.business_id);
            }
        }
        tx.commit().await?;
        let Some(last) = keys.last() else {
            return Ok(());
        };
        after = Some(last.id);
    }
}

/// What was sealed with a master key itself gets a data key.
async fn reseal(
    pool: &PgPool,
    sealer: &Sealer,
    clock: &Clock,
    batch: i64,
    report: &mut Report,
) -> Result<()> {
    let mut after = None;
    loop {
        let mut tx = database::platform(pool).await?;
        let businesses = data_keys::list_sealed_without(&mut tx, after, batch).await?;
        tx.commit().await?;
        for business_id in &businesses {
            match reseal_one(pool, sealer, clock, *business_id).await {
                Ok(resealed) => report.resealed += u64::from(resealed),
                Err(common::Error::Corrupt(_)) => report.unopened.push(*business_id),
                Err(error) => return Err(error),
            }
        }
        let Some(last) = businesses.last() else {
            return Ok(());
        };
        after = Some(*last);
    }
}

async fn reseal_one(
    pool: &PgPool,
    sealer: &Sealer,
    clock: &Clock,
    business_id: BusinessId,
) -> Result<bool> {
    let place = secret::manychat_key_place(business_id);
    let mut tx = database::business(pool, business_id).await?;
    let Some(before) = settings::find_manychat_key(&mut tx, business_id).await? else {
        return Ok(false);
    };
    let key = data_keys::find(&mut tx, business_id).await?;
    let opened = sealer.open(key.as_ref(), &before, &place)?;
    let now = clock.now();
    let after = data_keys::seal(&mut tx, sealer, business_id, &opened, &place, now).await?;
    let resealed = settings::replace_manychat_key(&mut tx, business_id, &before, &after).await?;
    tx.commit().await?;
    Ok(resealed)
}
