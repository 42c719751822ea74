//! Contacts who write: at a steady rate whatever happens, several copies of a message, to any ingress, until a 200.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::history::{Event, History, Marker};
use crate::seed::Seeded;

/// How long a sender waits for an answer: longer than an acknowledgement ever takes.
const TIMEOUT: Duration = Duration::from_secs(4);

/// How long it rests before it tries again.
const RETRY: Duration = Duration::from_millis(150);

/// How long it tries.
const PATIENCE: Duration = Duration::from_secs(30);

/// Copies of a message: mostly one, at most five.
const COPIES: [u32; 8] = [1, 1, 1, 1, 2, 2, 3, 5];

/// Later copies come within this.
const REPEAT_WITHIN_MS: u64 = 900;

/// Who sends, to whom.
#[derive(Clone)]
pub struct Sender {
    /// Where the ingresses are.
    pub ingresses: Vec<SocketAddr>,
    /// Contact `n` writes to business `n` modulo their number.
    pub businesses: Vec<Seeded>,
    /// The record.
    pub history: History,
    http: reqwest::Client,
}

impl Sender {
    /// A sender to these.
    pub fn new(
        ingresses: Vec<SocketAddr>,
        businesses: Vec<Seeded>,
        history: History,
    ) -> Result<Self, String> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        Ok(Self {
            ingresses,
            businesses,
            history,
            http: http.map_err(|error| error.to_string())?,
        })
    }

    /// The business a contact writes to.
    pub fn business_of(&self, contact: u64) -> usize {
        usize::try_from(contact).unwrap_or_default() % self.businesses.len()
    }

    /// Sends one copy to an ingress; whether it was acknowledged.
    pub async fn send(&self, marker: Marker, ingress: usize) -> bool {
        let ingress = ingress % self.ingresses.len();
        self.history.record(Event::Sent { marker, ingress });
        let business = &self.businesses[self.business_of(marker.contact)];
        let name = marker.to_string();
        let url = format!("http://{}/api/v1/webhook/manychat", self.ingresses[ingress]);
        let body = json!({ "subscriber_id": marker.contact, "text": name, "message_id": name });
        let request = self
            .http
            .post(url)
            .header("X-Webhook-Secret", business.webhook_secret.expose_secret())
            .json(&body);
        let status = request.send().await.ok().map(|answer| answer.status());
        let acknowledged = status.is_some_and(|status| status == 200);
        self.history.record(if acknowledged {
            Event::Acknowledged { marker }
        } else {
            Event::NotAcknowledged {
                marker,
                status: status.map(|status| status.as_u16()),
            }
        });
        acknowledged
    }

    /// Sends until there is a 200, each time to the next ingress; whether there was one.
    pub async fn insist(&self, marker: Marker, first: usize) -> bool {
        let deadline = Instant::now() + PATIENCE;
        for ingress in first.. {
            if self.send(marker, ingress).await {
                return true;
            }
            if Instant::now() > deadline {
                break;
            }
            sleep(RETRY).await;
        }
        false
    }
}

/// A steady load; it goes on until [`Load::finish`].
pub struct Load {
    stop: CancellationToken,
    contacts: Vec<JoinHandle<()>>,
    copies: TaskTracker,
}

impl Load {
    /// `contacts` from `first` on write `per_second` messages together, as `seed` has it.
    pub fn start(sender: &Sender, first: u64, contacts: u32, per_second: f64, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let copies = TaskTracker::new();
        let period = Duration::from_secs_f64(f64::from(contacts) / per_second);
        let begun = Instant::now();
        let contacts = (0..contacts)
            .map(|number| {
                let writer = Writer {
                    sender: sender.clone(),
                    contact: first + u64::from(number),
                    next: begun + period.mul_f64(f64::from(number) / f64::from(contacts)),
                    period,
                    random: StdRng::seed_from_u64(seed ^ u64::from(number)),
                    copies: copies.clone(),
                    stop: stop.clone(),
                };
                tokio::spawn(writer.write())
            })
            .collect();
        Self {
            stop,
            contacts,
            copies,
        }
    }

    /// Lets everyone finish their message and its copies.
    pub async fn finish(self) {
        self.stop.cancel();
        for contact in self.contacts {
            contact.await.ok();
        }
        self.copies.close();
        self.copies.wait().await;
    }
}

/// One contact.
struct Writer {
    sender: Sender,
    contact: u64,
    next: Instant,
    period: Duration,
    random: StdRng,
    copies: TaskTracker,
    stop: CancellationToken,
}

impl Writer {
    /// Writes at its times; but no message before the one before was acknowledged, so that their order is beyond doubt.
    async fn write(mut self) {
        for number in 1.. {
            tokio::select! {
                () = sleep_until(self.next) => {}
                () = self.stop.cancelled() => return,
            }
            self.next += self.period;
            let marker = Marker {
                contact: self.contact,
                number,
            };
            for _ in 1..COPIES[self.random.random_range(0..COPIES.len())] {
                self.repeat(marker);
            }
            let first = self.random.random_range(0..16);
            if !self.sender.insist(marker, first).await {
                return;
            }
        }
    }

    /// A copy that comes some time, to some ingress.
    fn repeat(&mut self, marker: Marker) {
        let after = Duration::from_millis(self.random.random_range(0..REPEAT_WITHIN_MS));
        let ingress = self.random.random_range(0..16);
        let sender = Arc::new(self.sender.clone());
        self.copies.spawn(async move {
            sleep(after).await;
            sender.insist(marker, ingress).await;
        });
    }
}
