//! Cleaning up: files nobody names, jobs and sign-ins past their time, indexes that no longer fit.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use common::database::identity::{email_proofs, phone_codes, sessions};
use common::database::jobs::dispatch;
use common::database::jobs::run::ClaimedJob;
use common::database::vector_index::{IndexPlan, PlannedIndex};
use common::database::{self, vector_index};
use common::providers::object_store;
use common::queue::jobs::{DeleteObject, FitVectorIndexes, PurgeJobs, PurgeSignIns};
use serde_json::json;

use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};

/// Rows deleted in one statement: short enough that nobody waits behind it.
const PURGE_BATCH: i64 = 5_000;

#[async_trait]
impl Handler for DeleteObject {
    const TIMEOUT: Duration = Duration::from_mins(1);

    async fn run(self, context: &Context, _: &ClaimedJob) -> Result<Outcome, JobError> {
        object_store::delete(&*context.objects, &self.object_key).await?;
        Ok(Outcome::Finished(None))
    }
}

#[async_trait]
impl Handler for PurgeJobs {
    const TIMEOUT: Duration = Duration::from_mins(5);

    async fn run(self, context: &Context, _: &ClaimedJob) -> Result<Outcome, JobError> {
        let mut purged = 0;
        loop {
            let mut tx = database::platform_relaxed(&context.pool).await?;
            let batch = dispatch::delete_expired(&mut tx, PURGE_BATCH, context.clock.now()).await?;
            tx.commit().await?;
            purged += batch;
            if batch < PURGE_BATCH.unsigned_abs() {
                context.manychat.shrink();
                return Ok(Outcome::Finished(Some(json!({ "purged": purged }))));
            }
        }
    }
}

/// How long what is over of signing in is kept: caps count codes for a day.
const CODES_KEPT: TimeDelta = TimeDelta::days(1);

/// The same of sessions: long enough to look into what was done in one.
const SESSIONS_KEPT: TimeDelta = TimeDelta::days(30);

#[async_trait]
impl Handler for PurgeSignIns {
    const TIMEOUT: Duration = Duration::from_mins(5);

    async fn run(self, context: &Context, _: &ClaimedJob) -> Result<Outcome, JobError> {
        let now = context.clock.now();
        let mut purged = 0;
        loop {
            let mut tx = database::platform_relaxed(&context.pool).await?;
            let batches = [
                phone_codes::delete_sent(&mut tx, PURGE_BATCH, now - CODES_KEPT).await?,
                email_proofs::delete_expired(&mut tx, PURGE_BATCH, now - CODES_KEPT).await?,
                sessions::delete_ended(&mut tx, PURGE_BATCH, now - SESSIONS_KEPT).await?,
            ];
            tx.commit().await?;
            purged += batches.iter().sum::<u64>();
            if batches
                .iter()
                .all(|batch| *batch < PURGE_BATCH.unsigned_abs())
            {
                return Ok(Outcome::Finished(Some(json!({ "purged": purged }))));
            }
        }
    }
}

#[async_trait]
impl Handler for FitVectorIndexes {
    const TIMEOUT: Duration = Duration::from_mins(30);

    async fn run(self, context: &Context, _: &ClaimedJob) -> Result<Outcome, JobError> {
        let model = context.retriever.embedder().model();
        let mut tx = database::platform_relaxed(&context.pool).await?;
        let planned = vector_index::list_planned(&mut tx, model).await?;
        tx.commit().await?;
        for PlannedIndex { business_id, plan } in &planned {
            match plan {
                IndexPlan::Build => {
                    let chunks = vector_index::ensure(&context.pool, *business_id, model).await?;
                    tracing::info!(business.id = %business_id, chunks, "vector index built");
                }
                IndexPlan::Drop => {
                    vector_index::drop(&context.pool, *business_id).await?;
                    tracing::info!(business.id = %business_id, "vector index dropped");
                }
                IndexPlan::Keep => {}
            }
        }
        Ok(Outcome::Finished(Some(json!({ "fitted": planned.len() }))))
    }
}
