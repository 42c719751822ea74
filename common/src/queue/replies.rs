//! Waiting for a job's end from another process: told by Redis, or found by looking at the row.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fred::clients::SubscriberClient;
use fred::interfaces::EventInterface;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use uuid::Uuid;

type Waiters = Arc<Mutex<HashMap<Uuid, oneshot::Sender<()>>>>;

/// One process's channel for the ends of jobs it waits for.
pub struct Replies {
    channel: String,
    waiters: Waiters,
    _subscriber: SubscriberClient,
}

impl Replies {
    /// Listens on a channel of this process's own.
    pub fn listen(subscriber: SubscriberClient) -> Self {
        let channel = format!("relais:replies:{}", Uuid::now_v7().simple());
        let waiters: Waiters = Arc::default();
        let mut messages = subscriber.message_rx();
        let told = Arc::clone(&waiters);
        tokio::spawn(async move {
            loop {
                let message = match messages.recv().await {
                    Ok(message) => message,
                    // Some were missed: who waits also looks at the row now and then.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                let id = message
                    .value
                    .as_str()
                    .and_then(|id| Uuid::try_parse(&id).ok());
                let waiter = id.and_then(|id| {
                    told.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&id)
                });
                if let Some(waiter) = waiter {
                    waiter.send(()).ok();
                }
            }
        });
        super::wake::subscribe(&subscriber, vec![channel.clone()]);
        Self {
            channel,
            waiters,
            _subscriber: subscriber,
        }
    }

    /// What to put into [`super::NewJob::replying_to`].
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Resolves when `id` is said to have ended. Ask before the job is committed; drop it to stop waiting.
    pub fn expect(&self, id: Uuid) -> Expected {
        let (sender, receiver) = oneshot::channel();
        self.waiters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, sender);
        Expected {
            id,
            receiver,
            waiters: Arc::clone(&self.waiters),
        }
    }
}

/// A job's end, awaited.
pub struct Expected {
    id: Uuid,
    receiver: oneshot::Receiver<()>,
    waiters: Waiters,
}

impl Expected {
    /// Waits until told, or until `timeout`: look at the row either way.
    pub async fn told_within(&mut self, timeout: std::time::Duration) {
        if self.receiver.is_terminated() {
            // Told before: it ended, but the caller still waits for something.
            tokio::time::sleep(timeout).await;
        } else {
            tokio::time::timeout(timeout, &mut self.receiver).await.ok();
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}
