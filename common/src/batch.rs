//! Many callers, one statement: whoever comes while a batch is under way shares the next.
//!
//! A commit waits a millisecond or more for the disk however many rows it has; sharing it turns hundreds of requests a
//! second into thousands.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};

type Waiting<T, R> = (T, oneshot::Sender<Result<R, BatchError>>);

/// Why a batch brought nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BatchError {
    /// The database could not be reached.
    #[error("the database is away")]
    Outage,
    /// It refused, or the batcher stopped.
    #[error("the batch failed: {0}")]
    Failed(String),
    /// More callers wait than the batcher holds.
    #[error("too many requests wait")]
    Full,
}

impl From<&Error> for BatchError {
    fn from(error: &Error) -> Self {
        if error.is_database_outage() {
            Self::Outage
        } else {
            Self::Failed(error.to_string())
        }
    }
}

/// Collects requests into batches. Cheap to clone; the last clone's end lets the batches under way finish.
pub struct Batcher<T, R> {
    sender: mpsc::Sender<Waiting<T, R>>,
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
        }
    }
}

/// A batch lingers step by step: one that is full waits no longer.
const STEP: Duration = Duration::from_millis(5);

/// How a [`Batcher`] is sized.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Requests in one batch.
    pub batch: usize,
    /// Batches under way at once.
    pub concurrency: usize,
    /// How long a batch is left open where the one before had [`Self::many`] requests: each costs much the same however many
    /// it has. Where few come nobody waits.
    pub linger: Duration,
    /// From so many requests in a batch on there is more to gain by waiting for others than by haste.
    pub many: usize,
    /// Requests that wait; beyond it callers are refused at once.
    pub waiting: usize,
}

impl<T, R> Batcher<T, R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    /// Hands batches to `run`, which answers each request, in order.
    pub fn spawn<F, Fut>(limits: BatchLimits, run: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<R>>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(limits.waiting);
        let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
        for _ in 0..limits.concurrency {
            tokio::spawn(work(std::sync::Arc::clone(&receiver), limits, run.clone()));
        }
        Self { sender }
    }

    /// Puts `request` into the next batch and waits for its answer.
    ///
    /// # Errors
    ///
    /// The batch's; [`BatchError::Full`] at once where too many wait.
    pub async fn submit(&self, request: T) -> Result<R, BatchError> {
        let (sender, receiver) = oneshot::channel();
        self.sender
            .try_send((request, sender))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => BatchError::Full,
                mpsc::error::TrySendError::Closed(_) => BatchError::Failed("stopped".to_owned()),
            })?;
        receiver
            .await
            .unwrap_or_else(|_| Err(BatchError::Failed("stopped".to_owned())))
    }
}

/// Leaves `batch` open for others.
async fn linger<T, R>(
    receiver: &mut mpsc::Receiver<Waiting<T, R>>,
    batch: &mut Vec<Waiting<T, R>>,
    limits: BatchLimits,
) {
    let mut left = limits.linger;
    while !left.is_zero() && batch.len() < limits.batch {
        let step = left.min(STEP);
        tokio::time::sleep(step).await;
        left -= step;
        while batch.len() < limits.batch
            && let Ok(request) = receiver.try_recv()
        {
            batch.push(request);
        }
    }
}

async fn work<T, R, F, Fut>(
    receiver: std::sync::Arc<tokio::sync::Mutex<mpsc::Receiver<Waiting<T, R>>>>,
    limits: BatchLimits,
    run: F,
) where
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Result<Vec<R>>>,
{
    let mut batch = Vec::with_capacity(limits.batch);
    let mut last = 0;
    loop {
        {
            let mut receiver = receiver.lock().await;
            if receiver.recv_many(&mut batch, limits.batch).await == 0 {
                return;
            }
            if last >= limits.many {
                linger(&mut receiver, &mut batch, limits).await;
            }
        }
        last = batch.len();
        let (requests, callers): (Vec<T>, Vec<_>) = batch.drain(..).unzip();
        match run(requests).await {
            Ok(answers) => {
                debug_assert_eq!(answers.len(), callers.len(), "every request has its answer");
                for (caller, answer) in callers.into_iter().zip(answers) {
                    // Who went away meanwhile does not need it.
                    caller.send(Ok(answer)).ok();
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    requests = callers.len(),
                    "batch failed"
                );
                let error = BatchError::from(&error);
                for caller in callers {
                    caller.send(Err(error.clone())).ok();
                }
            }
        }
    }
}
