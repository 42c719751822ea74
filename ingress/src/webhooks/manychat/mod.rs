//! WhatsApp through ManyChat: its External Request or Dynamic Block step calls us with what the contact wrote.

mod inbound;

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use common::domain::{BusinessId, Channel, JobId, MessageId};
use common::faults::{self, Mutant};
use common::queue::NewJob;
use common::queue::jobs::{InboundContact, ReceiveMessage};
use poem::web::Data;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::{Json, ParsePayload, Payload};
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object, OpenApi, impl_apirequest_for_payload};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::Tag;
use crate::auth::WebhookSender;
use crate::body::{self, is_json};
use crate::context::Context;
use crate::error::ApiError;
use inbound::Inbound;

/// The operation's id, by which its time is measured.
pub const OPERATION: &str = "receive_manychat_message";

/// A contact's whole data with a longest message is a tenth of it.
const BODY_LIMIT: usize = 64 * 1024;

/// How long the same words of the same contact count as a repeat where ManyChat names no message.
const REPEAT_SECONDS: i64 = 60;

/// The webhook of ManyChat.
pub struct ManyChatWebhook;

#[OpenApi(prefix_path = "/webhook/manychat", tag = "Tag::Webhooks")]
impl ManyChatWebhook {
    /// Receive a message from ManyChat.
    ///
    /// Takes the body you define in the flow, or ManyChat's "Full Contact Data" as it is. Answers at once with the
    /// business's acknowledgement as a dynamic block; the assistant's answer follows through ManyChat's API.
    /// A repeat (the same `message_id`, else the same subscriber, `last_interaction` and text within 60 s) is answered
    /// alike and processed once.
    #[oai(path = "/", method = "post", operation_id = "receive_manychat_message")]
    async fn receive(
        &self,
        sender: WebhookSender,
        context: Data<&Arc<Context>>,
        message: MessageBody,
    ) -> Result<Acknowledged, ApiError> {
        let webhook = sender.0;
        let job = job(message.0, webhook.business_id, context.clock.now());
        let holder = context.acceptor.accept(job).await?;
        Ok(Acknowledged {
            body: webhook.acknowledgement.clone(),
            message_id: MessageId(holder.0),
        })
    }
}

/// The job of a message, which shares the message's id: the job that stands for a repeat names the original.
fn job(inbound: Inbound, business_id: BusinessId, now: DateTime<Utc>) -> NewJob {
    let id = JobId::new();
    let key = dedupe_key(&inbound, business_id);
    let receive = ReceiveMessage {
        business_id,
        message_id: MessageId(id.0),
        channel: Channel::Manychat,
        contact: InboundContact {
            external_id: inbound.subscriber_id,
            first_name: inbound.first_name,
            last_name: inbound.last_name,
            phone: inbound.phone,
            language: inbound.language,
            attributes: inbound.attributes,
        },
        text: inbound.text,
        media_url: inbound.media_url,
        external_id: inbound
            .message_id
            .filter(|_| !faults::planted(Mutant::NoDeduplication)),
        received_at: now,
    };
    let job = NewJob {
        id,
        ..NewJob::new(&receive).in_group(receive.group_key())
    };
    match key {
        _ if faults::planted(Mutant::NoDeduplication) => job,
        DedupeKey::Id(key) => job.with_key(key),
        DedupeKey::Words(key) => job.with_key_until(key, now + TimeDelta::seconds(REPEAT_SECONDS)),
    }
}

enum DedupeKey {
    /// The sender named the message.
    Id(String),
    /// The same words count as a repeat for a while.
    Words(String),
}

fn dedupe_key(inbound: &Inbound, business_id: BusinessId) -> DedupeKey {
    let prefix = format!("receive_message:{business_id}:manychat");
    if let Some(message_id) = &inbound.message_id {
        // Some flows count messages per contact.
        let subscriber_id = &inbound.subscriber_id;
        return DedupeKey::Id(format!("{prefix}:id:{subscriber_id}:{message_id}"));
    }
    let mut hash = Sha256::new();
    let parts = [
        inbound.subscriber_id.as_str(),
        inbound.last_interaction.as_deref().unwrap_or_default(),
        inbound.text.as_str(),
        inbound.media_url.as_deref().unwrap_or_default(),
    ];
    for part in parts {
        // The length in front, so that no two lists of parts run together.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    DedupeKey::Words(format!(
        "{prefix}:words:{}",
        common::secret::to_hex(&hash.finalize())
    ))
}

/// What may come; unknown keys are kept with the contact.
// Documents the body only: `Inbound::parse` reads both of its forms, with ids as text or number.
#[derive(Object)]
#[oai(rename = "ManyChatMessage")]
struct MessageSchema {
    /// ManyChat's id of the contact, as text or number (in "Full Contact Data": `id`).
    subscriber_id: Value,
    /// What the contact wrote, at most 4,096 characters (in "Full Contact Data": `last_input_text`). Empty only with
    /// `media_url`.
    text: Option<String>,
    /// A picture, a voice note, a file.
    media_url: Option<String>,
    /// Your own id of the message: a second one with the same is a repeat.
    message_id: Option<String>,
    /// The contact's first name.
    first_name: Option<String>,
    /// The contact's last name.
    last_name: Option<String>,
    /// The contact's WhatsApp number (else `phone` is taken).
    whatsapp_phone: Option<String>,
    /// The contact's phone number.
    phone: Option<String>,
    /// The contact's language.
    language: Option<String>,
    /// When the contact last wrote, as ManyChat says: tells repeats from new messages with the same words.
    last_interaction: Option<String>,
    /// What else your flows know of the contact.
    custom_fields: Option<Value>,
}

struct MessageBody(Inbound);

impl Payload for MessageBody {
    const CONTENT_TYPE: &'static str = "application/json; charset=utf-8";

    fn check_content_type(content_type: &str) -> bool {
        is_json(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        MessageSchema::schema_ref()
    }

    fn register(registry: &mut Registry) {
        MessageSchema::register(registry);
    }
}

impl ParsePayload for MessageBody {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let bytes = body::read(request, body.take()?, BODY_LIMIT).await?;
        Ok(Self(Inbound::parse(&bytes)?))
    }
}

impl_apirequest_for_payload!(MessageBody);

/// The body of the answer: ManyChat's dynamic block, version 2. `None`: it shows nothing.
pub fn acknowledgement(text: Option<&str>) -> Bytes {
    let messages: Vec<Value> = text
        .into_iter()
        .map(|text| json!({ "type": "text", "text": text }))
        .collect();
    let content =
        json!({ "type": "whatsapp", "messages": messages, "actions": [], "quick_replies": [] });
    json!({ "version": "v2", "content": content })
        .to_string()
        .into()
}

/// ManyChat's dynamic block.
// Documents the answer only: `acknowledgement` writes it once a secret, not once a request.
#[derive(Object)]
#[oai(rename = "ManyChatDynamicBlock")]
struct DynamicBlock {
    /// `v2`
    version: String,
    /// `{"type":"whatsapp","messages":[{"type":"text","text":"…"}],"actions":[],"quick_replies":[]}`
    content: Value,
}

struct Acknowledged {
    body: Bytes,
    message_id: MessageId,
}

impl IntoResponse for Acknowledged {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type(Json::<DynamicBlock>::CONTENT_TYPE)
            .header("X-Message-Id", self.message_id.to_string())
            .body(self.body)
    }
}

impl ApiResponse for Acknowledged {
    fn meta() -> MetaResponses {
        let message_id = MetaHeader {
            name: "X-Message-Id".to_owned(),
            description: Some("The message's id; a repeat gets the original's.".to_owned()),
            required: true,
            deprecated: false,
            schema: uuid::Uuid::schema_ref(),
        };
        let content = MetaMediaType {
            content_type: Json::<DynamicBlock>::CONTENT_TYPE,
            schema: DynamicBlock::schema_ref(),
        };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "Accepted: the message will be answered.",
                status: Some(200),
                status_range: None,
                content: vec![content],
                headers: vec![message_id],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        DynamicBlock::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(body: &Value) -> String {
        let inbound = Inbound::parse(body.to_string().as_bytes()).unwrap();
        match dedupe_key(&inbound, BusinessId(uuid::Uuid::nil())) {
            DedupeKey::Id(key) | DedupeKey::Words(key) => key,
        }
    }

    #[test]
    fn the_sender_s_id_tells_repeats_else_the_words_do() {
        let nil = uuid::Uuid::nil();
        assert_eq!(
            key(&json!({"subscriber_id": 1, "text": "a", "message_id": "m-1"})),
            format!("receive_message:{nil}:manychat:id:1:m-1")
        );
        let words = key(&json!({"subscriber_id": 1, "text": "a", "last_interaction": "t"}));
        assert_eq!(
            words,
            key(&json!({"id": "1", "last_input_text": "a", "last_interaction": "t", "name": "x"}))
        );
        assert_ne!(
            words,
            key(&json!({"subscriber_id": 1, "text": "a", "last_interaction": "u"}))
        );
        assert_ne!(
            words,
            key(&json!({"subscriber_id": 1, "text": "b", "last_interaction": "t"}))
        );
        assert_ne!(
            words,
            key(&json!({"subscriber_id": 2, "text": "a", "last_interaction": "t"}))
        );
    }

    #[test]
    fn the_message_has_the_job_s_id() {
        let inbound = Inbound::parse(br#"{"subscriber_id": 7, "text": "a"}"#).unwrap();
        let job = job(inbound, BusinessId::new(), common::Clock::default().now());
        assert_eq!(job.args["message_id"], job.id.to_string());
        assert!(job.key_expires_at.is_some());
        assert!(job.group_key.unwrap().ends_with(":manychat:7"));
    }

    #[test]
    fn the_acknowledgement_is_a_dynamic_block_with_or_without_a_text() {
        let block: Value = serde_json::from_slice(&acknowledgement(Some("OK, bien reçu"))).unwrap();
        assert_eq!(block["version"], "v2");
        assert_eq!(block["content"]["type"], "whatsapp");
        assert_eq!(
            block["content"]["messages"],
            json!([{"type": "text", "text": "OK, bien reçu"}])
        );
        let block: Value = serde_json::from_slice(&acknowledgement(None)).unwrap();
        assert_eq!(block["content"]["messages"], json!([]));
    }
}
