//! Queues that a person has paused: the dispatcher leaves them alone, and no worker claims their jobs.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::error::Result;
use crate::queue::QueueName;

/// That a queue is paused.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Pause {
    /// Its name.
    pub queue: String,
    /// Why, in the words of who did it.
    pub reason: String,
    /// Since when.
    pub paused_at: DateTime<Utc>,
}

/// The paused queues.
pub async fn list_pauses(conn: &mut PgConnection) -> Result<Vec<Pause>> {
    let pauses = sqlx::query_as!(
        Pause,
        "SELECT queue, reason, paused_at FROM queue_pauses ORDER BY queue"
    )
    .fetch_all(conn)
    .await?;
    Ok(pauses)
}

/// Pauses a queue; `false`: it is paused already, for the reason it has. As the platform.
pub async fn pause(conn: &mut PgConnection, queue: QueueName, reason: &str) -> Result<bool> {
    let result = sqlx::query!(
        r#"
        INSERT INTO queue_pauses (queue, reason, paused_at) VALUES ($1, $2, statement_timestamp())
        ON CONFLICT DO NOTHING
        "#,
        queue.as_str(),
        reason,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Lets a queue go on; `false`: it was not paused. As the platform.
pub async fn resume(conn: &mut PgConnection, queue: QueueName) -> Result<bool> {
    let result = sqlx::query!("DELETE FROM queue_pauses WHERE queue = $1", queue.as_str())
        .execute(conn)
        .await?;
    Ok(result.rows_affected() == 1)
}
