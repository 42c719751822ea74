//! Wake-ups through Redis: pub/sub, best effort, so everybody who listens also looks by the clock.

use std::collections::HashMap;
use std::sync::Arc;

use fred::clients::SubscriberClient;
use fred::interfaces::{EventInterface, PubsubInterface};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};

use super::QueueName;
use super::push::{DISPATCH_CHANNEL, wake_channel};

/// Counts, per queue, the pushes that were made. Listens as long as `subscriber` lives.
pub async fn listen_to_pushes(
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
    subscribe(subscriber, channels).await;
    receivers
}

/// Rings when a creator's push was refused: the dispatcher is to see to it. Listens as long as `subscriber` lives.
pub async fn listen_to_refusals(subscriber: &SubscriberClient, bell: Arc<Notify>) {
    let mut messages = subscriber.message_rx();
    tokio::spawn(async move {
        while !matches!(messages.recv().await, Err(RecvError::Closed)) {
            bell.notify_one();
        }
    });
    subscribe(subscriber, vec![DISPATCH_CHANNEL.to_owned()]).await;
}

/// Redis may be away: fred subscribes once it is back.
async fn subscribe(subscriber: &SubscriberClient, channels: Vec<String>) {
    if let Err(error) = subscriber.subscribe(channels).await {
        tracing::warn!(%error, "not subscribed to wake-ups yet");
    }
}
