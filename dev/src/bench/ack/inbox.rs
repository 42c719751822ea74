//! What is there before the measurement: businesses with webhook secrets, and messages that wait.

use common::database::{self, access, businesses, jobs};
use common::domain::{BusinessId, Channel, JobId, Language, MessageId};
use common::queue::NewJob;
use common::queue::jobs::{InboundContact, ReceiveMessage};
use secrecy::ExposeSecret;

use super::super::Failure;
use super::super::probes::{CHUNK, settle};
use crate::testing::Platform;

/// The `known` secrets, and those of so many more businesses that the largest of `sizes` can be written to.
pub(super) async fn secrets(
    platform: &Platform,
    known: &[String],
    sizes: &[usize],
) -> Result<Vec<String>, Failure> {
    let mut secrets = known.to_vec();
    while sizes.iter().any(|size| *size > secrets.len()) {
        let (id, now) = (BusinessId::new(), platform.clock.now());
        let name = format!("Business {}", secrets.len());
        let mut tx = database::business_relaxed(&platform.pool, id).await?;
        businesses::insert(&mut tx, id, &name, Language::French, "vip", now).await?;
        let secret = access::create_webhook_secret(&mut tx, id, now).await?;
        tx.commit().await?;
        secrets.push(secret.expose_secret().to_owned());
    }
    Ok(secrets)
}

/// Inserts `count` messages that wait to be received, a thousand contacts', as webhooks leave them.
pub(super) async fn fill(platform: &Platform, count: usize) -> Result<(), Failure> {
    for start in (0..count).step_by(CHUNK) {
        let messages: Vec<NewJob> = (start..count.min(start + CHUNK))
            .map(|number| message(platform, number))
            .collect();
        let mut tx = database::platform_relaxed(&platform.pool).await?;
        jobs::insert_many(&mut tx, &messages, platform.clock.now()).await?;
        tx.commit().await?;
    }
    settle(platform).await
}

fn message(platform: &Platform, number: usize) -> NewJob {
    let (id, business_id) = (JobId::new(), platform.business.business_id);
    let subscriber_id = number % 1_000;
    let receive = ReceiveMessage {
        business_id,
        message_id: MessageId(id.0),
        channel: Channel::Manychat,
        contact: InboundContact {
            external_id: subscriber_id.to_string(),
            first_name: Some("Ana".to_owned()),
            ..InboundContact::default()
        },
        text: "Bonjour, quelle est votre adresse ?".to_owned(),
        media_url: None,
        external_id: Some(format!("w{number}")),
        received_at: platform.clock.now(),
    };
    let key = format!("receive_message:{business_id}:manychat:id:{subscriber_id}:w{number}");
    NewJob {
        id,
        ..NewJob::new(&receive)
            .in_group(receive.group_key())
            .with_key(key)
    }
}
