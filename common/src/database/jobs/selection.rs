//! Looking at the jobs of all businesses, for operators. As the platform.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::JobState;
use crate::domain::{BusinessId, JobId};
use crate::error::Result;
use crate::queue::QueueName;

/// Whose jobs, where the platform's own count as those of one more business: the column `lane`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane(pub Uuid);

impl Lane {
    /// The platform's own.
    pub const PLATFORM: Self = Self(Uuid::max());

    /// The business; `None`: the platform.
    pub fn business_id(self) -> Option<BusinessId> {
        (self != Self::PLATFORM).then_some(BusinessId(self.0))
    }
}

impl From<Option<BusinessId>> for Lane {
    fn from(business_id: Option<BusinessId>) -> Self {
        business_id.map_or(Self::PLATFORM, |id| Self(id.0))
    }
}

impl std::str::FromStr for Lane {
    type Err = String;

    /// A business's id, or `platform`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "platform" {
            return Ok(Self::PLATFORM);
        }
        text.parse()
            .map(Self)
            .map_err(|_| format!("`{text}` is no business's id, nor `platform`"))
    }
}

/// Which jobs are meant: those that match all that is named.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// In this queue.
    pub queue: Option<QueueName>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this business.
    pub lane: Option<Lane>,
    /// That died of this error.
    pub fingerprint: Option<String>,
}

/// A job in full, as an operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct JobRow {
    /// Which.
    pub id: JobId,
    /// Where it waits.
    pub queue: String,
    /// What kind.
    pub kind: String,
    /// Whose work; `None`: the platform's own.
    pub business_id: Option<BusinessId>,
    /// The business's name; `None`: the platform's own, or the business is gone.
    pub business_name: Option<String>,
    /// What it is doing.
    pub state: JobState,
    /// Attempts begun.
    pub attempt: i32,
    /// Attempts before it is dead.
    pub max_attempts: i32,
    /// Not before.
    pub run_at: DateTime<Utc>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When its last attempt began; `None`: none did.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended; `None`: it has not.
    pub finished_at: Option<DateTime<Utc>>,
    /// When its row is deleted; `None`: it has not ended.
    pub expires_at: Option<DateTime<Utc>>,
    /// Who claimed it last; `None`: nobody.
    pub worker: Option<String>,
    /// What its last failed attempt met.
    pub last_error: Option<String>,
    /// Of the error it died of.
    pub error_fingerprint: Option<String>,
    /// What a person said who tried it again or discarded it.
    pub note: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// What it brought.
    pub result: Option<serde_json::Value>,
    /// Its arguments: people's words may be among them.
    pub args: serde_json::Value,
}

/// The newest jobs of `selection` in one of `states`; with `ids`, only of those.
pub async fn list(
    conn: &mut PgConnection,
    selection: &Selection,
    states: &[JobState],
    ids: Option<&[Uuid]>,
    limit: i64,
) -> Result<Vec<JobRow>> {
    let rows = sqlx::query_as!(
        JobRow,
        r#"
        SELECT jobs.id AS "id: _", queue, kind, business_id AS "business_id: _", businesses.name AS "business_name?",
            state AS "state: _", attempt, max_attempts, run_at, jobs.created_at, started_at, finished_at, expires_at, worker,
            last_error, error_fingerprint, note, request_id, result, args
        FROM jobs LEFT JOIN businesses ON businesses.id = jobs.business_id
        WHERE state = ANY($1) AND ($2::text IS NULL OR queue = $2) AND ($3::text IS NULL OR kind = $3)
            AND ($4::uuid IS NULL OR lane = $4) AND ($5::text IS NULL OR error_fingerprint = $5)
            AND ($6::uuid[] IS NULL OR jobs.id = ANY($6))
        ORDER BY jobs.id DESC LIMIT $7
        "#,
        states as _,
        selection.queue.map(QueueName::as_str),
        selection.kind,
        selection.lane.map(|lane| lane.0),
        selection.fingerprint,
        ids as Option<&[Uuid]>,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The job that has `key`, and its state.
pub async fn find_by_key(conn: &mut PgConnection, key: &str) -> Result<Option<(JobId, JobState)>> {
    let row = sqlx::query!(
        r#"SELECT id AS "id: JobId", state AS "state: JobState" FROM jobs WHERE key = $1"#,
        key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.id, row.state)))
}
