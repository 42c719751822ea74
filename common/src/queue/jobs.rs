//! The arguments of every kind of job.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Job, QueueName};
use crate::domain::{
    BusinessId, Channel, ChatId, DocumentId, EmailProofId, InvitationId, MessageId,
};
use crate::faults::{self, Mutant};

/// A message a channel delivered: to be written into its chat. Jobs of one contact are taken together, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceiveMessage {
    /// To whom it was written.
    pub business_id: BusinessId,
    /// The id the message gets, told to the sender at once.
    pub message_id: MessageId,
    /// Where it came from.
    pub channel: Channel,
    /// The channel's id of who wrote it.
    pub contact: InboundContact,
    /// What was written; empty only where there is a medium.
    pub text: String,
    /// A picture, a voice note, a file.
    #[serde(default)]
    pub media_url: Option<String>,
    /// The channel's id of the message.
    #[serde(default)]
    pub external_id: Option<String>,
    /// When it was acknowledged.
    pub received_at: DateTime<Utc>,
}

/// What a channel said of who wrote.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InboundContact {
    /// The channel's id of the person.
    pub external_id: String,
    /// First name.
    #[serde(default)]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(default)]
    pub last_name: Option<String>,
    /// Phone number, as the channel writes it.
    #[serde(default)]
    pub phone: Option<String>,
    /// The language the channel knows them by.
    #[serde(default)]
    pub language: Option<String>,
    /// What else it said.
    #[serde(default)]
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

impl Job for ReceiveMessage {
    const KIND: &'static str = "receive_message";
    const QUEUE: QueueName = QueueName::Chat;
    // It fails only while the database does: the message must outlive that.
    const MAX_ATTEMPTS: i32 = 50;

    fn business_id(&self) -> Option<BusinessId> {
        Some(self.business_id)
    }
}

impl ReceiveMessage {
    /// The group of one contact's messages.
    pub fn group_key(&self) -> String {
        let alone = if faults::planted(Mutant::NoAbsorption) {
            self.message_id.to_string()
        } else {
            String::new()
        };
        format!(
            "receive_message:{}:{}:{}{alone}",
            self.business_id, self.channel, self.contact.external_id
        )
    }
}

/// The assistant's turn in a chat: every unanswered message gets one answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TakeTurn {
    /// Whose chat.
    pub business_id: BusinessId,
    /// Which.
    pub chat_id: ChatId,
}

impl Job for TakeTurn {
    const KIND: &'static str = "take_turn";
    const QUEUE: QueueName = QueueName::Chat;

    fn business_id(&self) -> Option<BusinessId> {
        Some(self.business_id)
    }
}

/// An answer on its way through its chat's channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliverMessage {
    /// Whose chat.
    pub business_id: BusinessId,
    /// Which.
    pub chat_id: ChatId,
    /// What.
    pub message_id: MessageId,
}

impl Job for DeliverMessage {
    const KIND: &'static str = "deliver_message";
    const QUEUE: QueueName = QueueName::Delivery;
    const MAX_ATTEMPTS: i32 = 10;

    fn business_id(&self) -> Option<BusinessId> {
        Some(self.business_id)
    }
}

/// A document to be read, cut and embedded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IngestDocument {
    /// Whose.
    pub business_id: BusinessId,
    /// Which.
    pub document_id: DocumentId,
}

impl Job for IngestDocument {
    const KIND: &'static str = "ingest_document";
    const QUEUE: QueueName = QueueName::Documents;
    const MAX_ATTEMPTS: i32 = 5;

    fn business_id(&self) -> Option<BusinessId> {
        Some(self.business_id)
    }
}

/// A question to the business's documents; its result is the answer, for whoever waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AnswerQuestion {
    /// Whose documents.
    pub business_id: BusinessId,
    /// The question.
    pub question: String,
    /// How many passages.
    pub top_k: usize,
    /// Only in these; `None`: in all.
    #[serde(default)]
    pub document_ids: Option<Vec<DocumentId>>,
    /// Whether a model answers, or the passages are the answer.
    pub answer: bool,
}

impl Job for AnswerQuestion {
    const KIND: &'static str = "answer_question";
    const QUEUE: QueueName = QueueName::Chat;
    // Somebody waits: after a minute of trying nobody does.
    const MAX_ATTEMPTS: i32 = 3;

    fn business_id(&self) -> Option<BusinessId> {
        Some(self.business_id)
    }
}

/// A file that no row names any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeleteObject {
    /// Whose it was.
    pub business_id: BusinessId,
    /// Where it lies.
    pub object_key: String,
}

impl Job for DeleteObject {
    const KIND: &'static str = "delete_object";
    const QUEUE: QueueName = QueueName::Maintenance;
    const MAX_ATTEMPTS: i32 = 20;

    fn business_id(&self) -> Option<BusinessId> {
        Some(self.business_id)
    }
}

/// Ended jobs past their time are deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PurgeJobs {}

impl Job for PurgeJobs {
    const KIND: &'static str = "purge_jobs";
    const QUEUE: QueueName = QueueName::Maintenance;

    fn business_id(&self) -> Option<BusinessId> {
        None
    }
}

/// Businesses get, or lose, a vector index of their own as their number of chunks grows or shrinks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FitVectorIndexes {}

impl Job for FitVectorIndexes {
    const KIND: &'static str = "fit_vector_indexes";
    const QUEUE: QueueName = QueueName::Maintenance;

    fn business_id(&self) -> Option<BusinessId> {
        None
    }
}

/// What signing in left behind is deleted: sessions long over, links and codes nobody can use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PurgeSignIns {}

impl Job for PurgeSignIns {
    const KIND: &'static str = "purge_sign_ins";
    const QUEUE: QueueName = QueueName::Maintenance;

    fn business_id(&self) -> Option<BusinessId> {
        None
    }
}

/// Businesses whose deletion was asked for are erased once the time to restore them is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EraseBusinesses {}

impl Job for EraseBusinesses {
    const KIND: &'static str = "erase_businesses";
    const QUEUE: QueueName = QueueName::Maintenance;

    fn business_id(&self) -> Option<BusinessId> {
        None
    }
}

/// A letter to be sent by mail. What it says, and the secret of its link, is made of the row when it is sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SendMail {
    /// A link that proves to read the address.
    Proof {
        /// Which.
        proof_id: EmailProofId,
    },
    /// An invitation to a business.
    Invitation {
        /// To which.
        business_id: BusinessId,
        /// Which.
        invitation_id: InvitationId,
    },
}

impl Job for SendMail {
    const KIND: &'static str = "send_mail";
    const QUEUE: QueueName = QueueName::Delivery;

    fn business_id(&self) -> Option<BusinessId> {
        match self {
            Self::Proof { .. } => None,
            Self::Invitation { business_id, .. } => Some(*business_id),
        }
    }
}

/// Does nothing, for `sleep_ms`: what the benchmarks and the tests of the queue itself are made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Probe {
    /// Whose share it counts against.
    pub business_id: Option<BusinessId>,
    /// How long it holds its slot.
    #[serde(default)]
    pub sleep_ms: u64,
    /// How its first attempts end.
    #[serde(default)]
    pub mishap: Option<Mishap>,
    /// How many attempts end so.
    #[serde(default)]
    pub mishaps: i32,
    /// The Redis channel to tell when an attempt begins, as [`super::probes::Begun`]; `None`: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tells: Option<String>,
}

/// How an attempt of a [`Probe`] goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mishap {
    /// It fails and may be tried again.
    Error,
    /// It fails for good.
    Refusal,
    /// It panics.
    Panic,
    /// It never returns.
    Hang,
}

impl Job for Probe {
    const KIND: &'static str = "probe";
    const QUEUE: QueueName = QueueName::Maintenance;
    const MAX_ATTEMPTS: i32 = 3;

    fn business_id(&self) -> Option<BusinessId> {
        self.business_id
    }
}
