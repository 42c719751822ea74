//! Redis through fred: work, caches, limits. Emptying it costs latency, never data.

use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::ErrorKind;
use fred::interfaces::ClientLike;
use fred::types::Builder;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Result;

/// The longest a command may take. Redis answers in well under a millisecond; who waits longer has something better to do.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);

/// A client that reconnects by itself and fails fast meanwhile. Does not wait for the first connection.
///
/// # Errors
///
/// Where `url` is no Redis URL.
pub fn connect(url: &SecretString) -> Result<Client> {
    let client = builder(url)?.build()?;
    // The connection task ends with the client; what it meets is in the log.
    drop(client.connect());
    tokio::spawn(leave_silence(client.clone()));
    Ok(client)
}

/// How often a connection is asked for a sign of life, and how many times in vain before it is given up.
const SIGN_OF_LIFE: (Duration, u32) = (Duration::from_secs(1), 3);

/// Leaves a connection that is open and silent, as where the other end went without a word. fred's own watch counts from
/// the last write, so a client that goes on writing stays on such a connection for ever.
async fn leave_silence(client: Client) {
    let mut in_vain = 0;
    loop {
        tokio::time::sleep(SIGN_OF_LIFE.0).await;
        let answer: Result<(), _> = client.ping(None).await;
        match answer {
            Err(error) if *error.kind() == ErrorKind::Canceled => return,
            // One that is not connected knows, and does what it can.
            Err(error) if *error.kind() == ErrorKind::Timeout && client.is_connected() => {
                in_vain += 1;
            }
            Ok(()) | Err(_) => in_vain = 0,
        }
        if in_vain == SIGN_OF_LIFE.1 {
            in_vain = 0;
            tracing::warn!("redis is silent: connecting anew");
            client.force_reconnection().await.ok();
        }
    }
}

/// As [`connect`], for subscriptions: they are renewed at each reconnection.
pub fn connect_subscriber(url: &SecretString) -> Result<SubscriberClient> {
    let client = builder(url)?.build_subscriber_client()?;
    drop(client.connect());
    drop(client.manage_subscriptions());
    Ok(client)
}

fn builder(url: &SecretString) -> Result<Builder> {
    let mut builder = Builder::from_config(Config::from_url(url.expose_secret())?);
    builder
        .with_performance_config(|performance: &mut PerformanceConfig| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
        })
        .with_connection_config(|connection: &mut ConnectionConfig| {
            connection.connection_timeout = Duration::from_secs(1);
            connection.internal_command_timeout = Duration::from_secs(2);
            // One attempt: whether a command that timed out was executed is unknown, and the caller knows what to do.
            connection.max_command_attempts = 1;
            // A command waits for no acknowledgement of the one before.
            connection.tcp.nodelay = Some(true);
            connection.max_command_buffer_len = 10_000;
            connection.unresponsive.max_timeout = Some(Duration::from_secs(3));
            connection.unresponsive.interval = Duration::from_secs(1);
        })
        .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
    Ok(builder)
}
