//! The end of businesses whose deletion was asked for: rows, files, indexes.

use std::time::Duration;

use async_trait::async_trait;
use common::Error;
use common::database::businesses::erasure::{self, Due};
use common::database::jobs::run::ClaimedJob;
use common::database::{self, audit, vector_index};
use common::providers::object_store;
use common::queue::jobs::EraseBusinesses;
use serde_json::json;

use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};

/// Rows deleted in one transaction: short enough that nobody waits behind it.
const BATCH: i32 = 2_000;

#[async_trait]
impl Handler for EraseBusinesses {
    // What it does not finish the next tick's goes on with: each step leaves less.
    const TIMEOUT: Duration = Duration::from_mins(30);

    async fn run(self, context: &Context, _: &ClaimedJob) -> Result<Outcome, JobError> {
        let mut tx = database::platform(&context.pool).await?;
        let all_due = erasure::list_due(&mut tx, context.clock.now()).await?;
        tx.commit().await?;
        let (mut erased, mut failed) = (0, None);
        for due in &all_due {
            match erase(context, due).await {
                Ok(()) => erased += 1,
                Err(error) => {
                    tracing::warn!(%error, business.id = %due.business_id, "a business was not erased");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Outcome::Finished(Some(json!({ "erased": erased })))),
        }
    }
}

/// Files first and the business itself last: whatever breaks off, what is left is still known to be due.
async fn erase(context: &Context, due: &Due) -> Result<(), Error> {
    let (pool, business_id) = (&context.pool, due.business_id);
    let folder = format!("documents/{business_id}");
    let files = object_store::delete_below(&*context.objects, &folder).await?;
    vector_index::drop(pool, business_id).await?;
    let mut rows = 0;
    loop {
        let mut tx = database::business(pool, business_id).await?;
        let batch = erasure::erase_rows(&mut tx, BATCH).await?;
        tx.commit().await?;
        rows += i64::from(batch);
        if batch == 0 {
            break;
        }
    }
    // An index that was built meanwhile would outlive its row.
    vector_index::drop(pool, business_id).await?;
    loop {
        let mut tx = database::platform(pool).await?;
        let batch = erasure::erase_audit_events(&mut tx, business_id, BATCH).await?;
        tx.commit().await?;
        rows += i64::from(batch);
        if batch == 0 {
            break;
        }
    }
    let now = context.clock.now();
    let mut tx = database::platform(pool).await?;
    if erasure::delete(&mut tx, business_id, now).await? {
        let event = audit::Event {
            business_id: None,
            actor: audit::Actor::Nobody,
            action: "business.erased",
            object_kind: "business",
            object_id: business_id.to_string(),
            details: json!({ "requested_at": due.requested_at, "rows": rows, "files": files }),
        };
        audit::record(&mut tx, &event, &audit::Origin::default(), now).await?;
    }
    tx.commit().await?;
    tracing::info!(business.id = %business_id, rows, files, "business erased");
    Ok(())
}
