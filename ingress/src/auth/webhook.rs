//! Senders of webhooks, and the business each secret belongs to.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use common::database::access;
use common::domain::BusinessId;
use common::{database, secret};
use poem::{Request, Result};
use poem_openapi::SecurityScheme;
use poem_openapi::auth;
use tracing::Span;

use super::context;
use crate::cache::Known;
use crate::context::Context;
use crate::error::ApiError;
use crate::webhooks::manychat;

/// The business a webhook's secret belongs to, and how it is answered.
#[derive(Debug)]
pub struct Webhook {
    /// Whom the message is for.
    pub business_id: BusinessId,
    /// The body of the answer.
    pub acknowledgement: Bytes,
    /// When the secret stops working.
    expires_at: Option<DateTime<Utc>>,
}

/// A sender that knows a business's webhook secret.
#[derive(SecurityScheme)]
#[oai(
    rename = "WebhookSecret",
    ty = "api_key",
    key_name = "X-Webhook-Secret",
    key_in = "header",
    checker = "check_webhook_secret"
)]
pub struct WebhookSender(pub Arc<Webhook>);

async fn check_webhook_secret(request: &Request, secret: auth::ApiKey) -> Result<Arc<Webhook>> {
    let context = context(request);
    let webhook = verify_webhook_secret(context, &secret.key).await?;
    Span::current().record("business.id", tracing::field::display(webhook.business_id));
    Ok(webhook)
}

/// Takes what was learnt lately; no database in nearly every case, and none needed for an hour.
async fn verify_webhook_secret(context: &Context, secret: &str) -> Result<Arc<Webhook>, ApiError> {
    let business_id =
        access::business_of_webhook_secret(secret).ok_or_else(ApiError::unauthorized)?;
    let hash = secret::hash(secret);
    let webhook = match context.access.secrets.get(&hash) {
        Known::Fresh(webhook) => webhook,
        // Known to be away: not worth the wait.
        Known::Stale(webhook) if context.acceptor.is_spooling() => webhook,
        Known::Stale(webhook) => match context
            .access
            .look_up(load_webhook(context, business_id, &hash))
            .await
        {
            Err(error) if error.is_transient() => webhook,
            found => learn(context, hash, found?)?,
        },
        Known::Nothing => {
            let found = context
                .access
                .look_up(load_webhook(context, business_id, &hash))
                .await?;
            learn(context, hash, found)?
        }
    };
    if webhook
        .expires_at
        .is_some_and(|expires_at| expires_at <= context.clock.now())
    {
        return Err(ApiError::unauthorized());
    }
    Ok(webhook)
}

fn learn(
    context: &Context,
    hash: Vec<u8>,
    found: Option<Webhook>,
) -> Result<Arc<Webhook>, ApiError> {
    if let Some(webhook) = found {
        let webhook = Arc::new(webhook);
        context.access.secrets.insert(hash, Arc::clone(&webhook));
        Ok(webhook)
    } else {
        context.access.secrets.remove(&hash);
        Err(ApiError::unauthorized())
    }
}

async fn load_webhook(
    context: &Context,
    business_id: BusinessId,
    hash: &[u8],
) -> common::Result<Option<Webhook>> {
    let mut tx = database::business(&context.pool, business_id).await?;
    let access =
        access::find_webhook_access(&mut tx, business_id, hash, context.clock.now()).await?;
    tx.commit().await?;
    Ok(access.map(|access| Webhook {
        business_id,
        acknowledgement: manychat::acknowledgement(access.acknowledgement.as_deref()),
        expires_at: access.expires_at,
    }))
}
