//! Jobs: what became of the work a request left behind.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database;
use common::database::jobs::JobState;
use common::database::jobs::view::{self, JobView};
use common::domain::{BusinessId, JobId};
use common::queue::waiting::{self, Reason};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use super::Tag;
use crate::auth::{Allowed, can};
use crate::context::Context;
use crate::error::ApiError;

/// What a job is doing.
#[derive(Debug, Enum)]
#[oai(rename_all = "lowercase")]
enum JobStatus {
    /// Waits for its first attempt.
    Queued,
    /// Is being done.
    Running,
    /// Ended well.
    Succeeded,
    /// Waits to be tried again.
    Failed,
    /// Ended badly.
    Dead,
    /// Was called off.
    Cancelled,
}

/// Work for later.
#[derive(Debug, Object)]
#[oai(rename = "Job")]
struct JobResponse {
    id: Uuid,
    kind: String,
    status: JobStatus,
    /// Attempts begun.
    attempts: i32,
    created_at: DateTime<Utc>,
    /// Null: not ended.
    finished_at: Option<DateTime<Utc>>,
    /// What it brought.
    #[oai(skip_serializing_if_is_none)]
    result: Option<Value>,
    /// What its last failed attempt met.
    #[oai(skip_serializing_if_is_none)]
    error: Option<String>,
    /// Why it waits. Absent: it does not wait.
    #[oai(skip_serializing_if_is_none)]
    wait_reason: Option<String>,
}

impl From<JobView> for JobResponse {
    fn from(job: JobView) -> Self {
        let status = match job.state {
            JobState::Queued => JobStatus::Queued,
            JobState::Running => JobStatus::Running,
            JobState::Succeeded => JobStatus::Succeeded,
            JobState::Failed => JobStatus::Failed,
            JobState::Dead => JobStatus::Dead,
            JobState::Cancelled => JobStatus::Cancelled,
        };
        Self {
            id: job.id.0,
            kind: job.kind,
            // One that ended well has no error to show, whatever it took.
            error: job.last_error.filter(|_| job.state != JobState::Succeeded),
            status,
            attempts: job.attempt,
            created_at: job.created_at,
            finished_at: job.finished_at,
            result: job.result,
            wait_reason: None,
        }
    }
}

/// The operations on jobs.
pub(crate) struct Jobs;

#[OpenApi(prefix_path = "/jobs", tag = "Tag::Jobs")]
impl Jobs {
    /// Get a job. Ended ones are kept for a week.
    #[oai(path = "/:id", method = "get", operation_id = "get_job")]
    async fn get(
        &self,
        caller: Allowed<can::ReadJobs>,
        context: Data<&Arc<Context>>,
        id: Path<Uuid>,
    ) -> Result<Json<JobResponse>, ApiError> {
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let job = view::find(&mut tx, caller.business_id, JobId(id.0)).await?;
        tx.commit().await?;
        let job = job.ok_or_else(|| ApiError::not_found("job"))?;
        let wait_reason = match job.state {
            JobState::Queued | JobState::Failed => {
                Some(wait_reason(&context, caller.business_id, job.id).await?)
            }
            _ => None,
        };
        Ok(Json(JobResponse {
            wait_reason,
            ..job.into()
        }))
    }
}

async fn wait_reason(
    context: &Context,
    business_id: BusinessId,
    id: JobId,
) -> Result<String, ApiError> {
    let redis = context.dispatch.redis();
    let explained = waiting::explain(&context.pool, redis, Some(business_id), &[id.0]).await?;
    // One that began to run in this moment waited for its turn.
    Ok(explained
        .first()
        .map_or_else(|| Reason::Next.to_string(), ToString::to_string))
}
