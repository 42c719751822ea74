//! The API: one module a resource.

mod api_keys;
mod audit;
pub(crate) mod auth;
mod businesses;
mod change;
mod characters;
mod chats;
mod contacts;
mod documents;
mod impersonation;
mod jobs;
mod messages;
mod named;
mod page;
mod questions;
mod text;
mod upload;
mod users;

pub(crate) use page::HIGHEST_LIMIT;

use poem_openapi::{ApiResponse, OpenApi, OpenApiService, Tags};

use crate::webhooks::manychat::ManyChatWebhook;

/// How the operations are grouped in the documentation.
#[derive(Tags)]
pub(crate) enum Tag {
    /// Who somebody is.
    Authentication,
    /// What channels send us.
    Webhooks,
    /// What questions are answered from.
    Documents,
    /// Answers from the documents, with their sources.
    Questions,
    /// Conversations and those who take part.
    Conversations,
    /// Businesses, who is in them, how they are set up.
    Businesses,
    /// Machines that act for a business.
    ApiKeys,
    /// Work for later, and what became of it.
    Jobs,
    /// Who signs in.
    Users,
    /// Who did what.
    Audit,
}

/// The answer of what leaves nothing to tell.
#[derive(ApiResponse)]
pub(crate) enum Gone {
    /// Done.
    #[oai(status = 204)]
    Done,
}

const DESCRIPTION: &str = "\
Send `Authorization: Bearer <API key>`. Times are RFC 3339 in UTC, ids are UUIDs. Lists answer \
`{\"data\": [], \"next_cursor\": null}`, newest first unless said: send `next_cursor` back as `cursor` for the next page. \
Every refusal has the form `{\"error\": {\"code\", \"message\", \"details\"}}`. `X-Request-Id` is taken or made, and returned.";

/// The operations, behind `/api/v1`.
pub(crate) fn service() -> OpenApiService<impl OpenApi, ()> {
    let operations = (
        ManyChatWebhook,
        auth::operations(),
        documents::Documents,
        questions::Questions,
        (
            chats::Chats,
            messages::Messages,
            contacts::Contacts,
            characters::Characters,
        ),
        (
            businesses::Businesses,
            businesses::Members,
            businesses::Invitations,
            businesses::BusinessSettings,
            api_keys::ApiKeys,
        ),
        jobs::Jobs,
        (users::Users, impersonation::Impersonations, audit::AuditLog),
    );
    OpenApiService::new(operations, "Relais", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .server("/api/v1")
}
