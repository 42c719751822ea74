//! One type an id, so that a chat is never taken for a contact.

use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, sqlx::Type,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id: UUIDv7, so that ids made later sort later.
            #[expect(clippy::new_without_default, reason = "a default id would be a lie: each is new")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

id! {
    /// The tenant.
    BusinessId;
    /// A person who signs in.
    UserId;
    /// One sign-in of a user, until it ends.
    SessionId;
    /// Somebody who was asked to become a member.
    InvitationId;
    /// A link sent by e-mail, which proves that its reader reads the address.
    EmailProofId;
    /// A code sent to a phone.
    PhoneCodeId;
    /// The key a business's secrets are sealed with.
    DataKeyId;
    /// One line of the audit log.
    AuditEventId;
    /// An API key: the part that is not secret.
    ApiKeyId;
    /// A persona.
    CharacterId;
    /// A person who writes to a business from a channel.
    ContactId;
    /// A conversation.
    ChatId;
    /// One item of a chat.
    MessageId;
    /// One part of a message on its way through a channel.
    DeliveryId;
    /// An uploaded file.
    DocumentId;
    /// An embedded piece of a document.
    ChunkId;
    /// A unit of queued work.
    JobId;
}
