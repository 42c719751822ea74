//! Who asks, for which business, and whether they may: the only source of a business id.
//!
//! What an operation asks of its caller is the type of its first parameter: [`Allowed`] or [`AllowedIn`] with a permission in the business,
//! [`Staff`] with one on the platform, [`SignedIn`], [`Public`], or a webhook's sender. There is no other way in.

mod bearer;
mod id_token;
mod learnt;
mod origin;
mod rules;
mod token;
mod webhook;

pub(crate) use bearer::identify;
pub use bearer::{Actor, Identity};
pub use learnt::{AccessCache, CHANNEL};
pub use origin::{Origin, client_address};
pub use rules::{Allowed, AllowedIn, Public, Rule, SignedIn, Staff, can};
pub(crate) use rules::{PUBLIC, SIGNED_IN};
pub use token::{AccessTokens, Claims, Subject};
pub use webhook::{Webhook, WebhookSender};

use std::sync::Arc;

use poem::Request;

use crate::context::Context;

pub(crate) fn context(request: &Request) -> &Arc<Context> {
    request
        .data::<Arc<Context>>()
        .expect("`app` puts the context into every request")
}
