//! Wake-ups through Redis: pub/sub, best effort, so everybody who listens also looks by the clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::error::ErrorKind;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};

use super::QueueName;
use super::push::{DISPATCH_CHANNEL, wake_channel};

/// Counts, per queue, the pushes that were made. Listens as long as `subscriber` lives.
pub fn listen_to_pushes(
    subscriber: &SubscriberClient,
    queues: impl Iterator<Item = QueueName>,
) -> HashMap<QueueName, watch::Receiver<u64>> {
    let (mut senders, mut receivers) = (HashMap::new(), HashMap::new());
    for queue in queues {
        let (sender, receiver) = watch::channel(0);
        senders.insert(wake_channel(queue), sender);
        receivers.insert(queue, receiver);
    }
    let channels: Vec<String> = senders.keys().cloned().collect();
    let mut messages = subscriber.message_rx();
    tokio::spawn(async move {
        let count = |sender: &watch::Sender<u64>| sender.send_modify(|pushes| *pushes += 1);
        loop {
            match messages.recv().await {
                Ok(message) => senders.get(&*message.channel).into_iter().for_each(count),
                // Some were missed: any queue may have been pushed to.
                Err(RecvError::Lagged(_)) => senders.values().for_each(count),
                Err(RecvError::Closed) => return,
            }
        }
    });
    subscribe(subscriber, channels);
    receivers
}

/// Rings when a creator's push was refused: the dispatcher is to see to it. Listens as long as `subscriber` lives.
pub fn listen_to_refusals(subscriber: &SubscriberClient, bell: &Arc<Notify>) {
    listen(subscriber, DISPATCH_CHANNEL, bell);
}

/// Rings when something is said on `channel`. Listens as long as `subscriber` lives.
pub fn listen(subscriber: &SubscriberClient, channel: &'static str, bell: &Arc<Notify>) {
    let bell = Arc::clone(bell);
    let mut messages = subscriber.message_rx();
    tokio::spawn(async move {
        loop {
            match messages.recv().await {
                Ok(message) if &*message.channel != channel => {}
                // Where some were missed, it may have been among them.
                Ok(_) | Err(RecvError::Lagged(_)) => bell.notify_one(),
                Err(RecvError::Closed) => return,
            }
        }
    });
    subscribe(subscriber, vec![channel.to_owned()]);
}

/// How long a subscription that failed rests until the next try, and how often all are renewed.
const SUBSCRIBE_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Subscribes, as soon as Redis answers, and stays subscribed as long as the client lives: fred renews at a reconnection only
/// what was subscribed once, and not again where that fails.
pub(super) fn subscribe(subscriber: &SubscriberClient, channels: Vec<String>) {
    let subscriber = subscriber.clone();
    tokio::spawn(async move {
        loop {
            let rest = match subscriber.subscribe(channels.clone()).await {
                Ok(()) => SUBSCRIBE_EVERY.1,
                Err(error) if *error.kind() == ErrorKind::Canceled => return,
                Err(error) => {
                    tracing::debug!(%error, "not subscribed yet");
                    // Open and silent: nothing else would end such a connection.
                    if *error.kind() == ErrorKind::Timeout && subscriber.is_connected() {
                        subscriber.force_reconnection().await.ok();
                    }
                    SUBSCRIBE_EVERY.0
                }
            };
            tokio::time::sleep(rest).await;
        }
    });
}
