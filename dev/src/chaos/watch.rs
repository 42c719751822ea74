//! Watching: the jobs of dead workers, until they move, and the machine itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::facts::Time;
use super::history::{Event, History};

/// How often what a dead worker held is looked at, and for how long.
const WATCH: (Duration, Duration) = (Duration::from_millis(40), Duration::from_secs(8));

/// How often the disk is tried.
const SETTLE_EVERY: Duration = Duration::from_millis(250);

/// How late a timer, or the disk, may be before the machine counts as stalled.
const STALL: Duration = Duration::from_millis(700);

/// A job that a killed worker held.
#[derive(Clone, Debug)]
pub struct Held {
    /// The job.
    pub job: uuid::Uuid,
    /// What kind.
    pub kind: String,
    /// The attempt it held.
    pub attempt: i32,
    /// Who held it.
    pub process: String,
    /// When that was killed.
    pub killed_at: Time,
    /// When it was somebody else's, or had ended.
    pub moved_at: Option<Time>,
}

/// Looks at the job that is number `number` of `all` until it has moved.
pub async fn until_it_moves(
    pool: PgPool,
    history: History,
    all: Arc<Mutex<Vec<Held>>>,
    number: usize,
) {
    let held = all.lock().unwrap_or_else(PoisonError::into_inner)[number].clone();
    let deadline = Instant::now() + WATCH.1;
    while Instant::now() < deadline {
        let moved = "SELECT attempt > $2 OR state NOT IN ('queued', 'running', 'failed') FROM jobs WHERE id = $1";
        let moved: Result<bool, _> = sqlx::query_scalar(moved)
            .bind(held.job)
            .bind(held.attempt)
            .fetch_one(&pool)
            .await;
        if moved.is_ok_and(|moved| moved) {
            let moved_at = Some(history.now());
            all.lock().unwrap_or_else(PoisonError::into_inner)[number].moved_at = moved_at;
            return;
        }
        sleep(WATCH.0).await;
    }
}

/// Notes when this program was not run, or the disk did not settle: what was late then is nobody's fault.
pub async fn the_machine(history: History) {
    let stalled = |late: Duration| {
        if late > STALL {
            history.record(Event::Stalled {
                milliseconds: late.as_millis(),
            });
        }
    };
    let timer = async {
        let rest = Duration::from_millis(50);
        loop {
            let asleep = Instant::now();
            sleep(rest).await;
            stalled(asleep.elapsed().saturating_sub(rest));
        }
    };
    let disk = async {
        while let Ok(Ok(took)) = tokio::task::spawn_blocking(settle).await {
            stalled(took);
            sleep(SETTLE_EVERY).await;
        }
    };
    tokio::join!(timer, disk);
}

/// How long the disk takes to settle a few bytes.
fn settle() -> std::io::Result<Duration> {
    let mut file = tempfile::tempfile()?;
    std::io::Write::write_all(&mut file, b"are you there?")?;
    let begun = Instant::now();
    file.sync_data()?;
    Ok(begun.elapsed())
}
