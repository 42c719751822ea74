//! Who asks, and for which business: the only source of a business id.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use common::database::access::{self, ApiKey};
use common::domain::{ApiKeyId, BusinessId};
use common::{database, secret};
use poem::{Request, Result};
use poem_openapi::SecurityScheme;
use poem_openapi::auth;
use tokio::sync::Semaphore;
use tracing::Span;
use uuid::Uuid;

use crate::cache::{Cache, Known};
use crate::context::Context;
use crate::error::ApiError;
use crate::webhooks::manychat;

/// Entries of each cache. About a kilobyte each at most.
const CAPACITY: usize = 10_000;

/// How long a look-up may take, waiting included: a webhook's whole acknowledgement must not take longer than 3 s.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Look-ups at once: a flood of made-up keys must leave connections to those who have one.
const LOOKUPS: usize = 4;

/// What was learnt of keys and secrets lately.
pub struct AccessCache {
    keys: Cache<ApiKeyId, Arc<ApiKey>>,
    secrets: Cache<Vec<u8>, Arc<Webhook>>,
    lookups: Semaphore,
}

impl AccessCache {
    /// Looks something up, within bounds.
    async fn look_up<T>(
        &self,
        lookup: impl Future<Output = common::Result<T>>,
    ) -> common::Result<T> {
        let bounded = async {
            let _room = self.lookups.acquire().await;
            lookup.await
        };
        match tokio::time::timeout(LOOKUP_TIMEOUT, bounded).await {
            Ok(found) => found,
            Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }
}

impl Default for AccessCache {
    fn default() -> Self {
        Self {
            // A revoked key works a few seconds longer.
            keys: Cache::new(CAPACITY, Duration::from_secs(5), Duration::from_secs(5)),
            // Webhooks must be accepted while the database is away.
            secrets: Cache::new(CAPACITY, Duration::from_secs(30), Duration::from_hours(1)),
            lookups: Semaphore::new(LOOKUPS),
        }
    }
}

/// The business a request acts for: its API key's.
#[derive(SecurityScheme)]
#[oai(
    rename = "ApiKey",
    ty = "bearer",
    bearer_format = "rl_live_<id>_<secret>",
    checker = "check_api_key"
)]
pub struct Business(pub BusinessId);

async fn check_api_key(request: &Request, bearer: auth::Bearer) -> Result<BusinessId> {
    let context = context(request);
    let business_id = verify_api_key(context, &bearer.token).await?;
    if let Some(asked_for) = request.header("X-Business-Id")
        && Uuid::try_parse(asked_for).ok() != Some(business_id.0)
    {
        return Err(ApiError::not_found("business").into());
    }
    Span::current().record("business.id", tracing::field::display(business_id));
    Ok(business_id)
}

async fn verify_api_key(context: &Context, token: &str) -> Result<BusinessId, ApiError> {
    let (id, secret) = access::parse_api_key(token).ok_or_else(ApiError::unauthorized)?;
    let key = match context.access.keys.get(&id) {
        Known::Fresh(key) => key,
        Known::Stale(_) | Known::Nothing => {
            let found = context
                .access
                .look_up(load_api_key(context, id, secret))
                .await?;
            let key = Arc::new(found.ok_or_else(ApiError::unauthorized)?);
            context.access.keys.insert(id, Arc::clone(&key));
            key
        }
    };
    if secret::matches_hash(secret, &key.secret_hash) {
        Ok(key.business_id)
    } else {
        Err(ApiError::unauthorized())
    }
}

/// Looks a key up. Its use is recorded here, every few seconds: often enough for a time to the minute.
async fn load_api_key(
    context: &Context,
    id: ApiKeyId,
    secret: &str,
) -> common::Result<Option<ApiKey>> {
    let mut tx = database::platform_relaxed(&context.pool).await?;
    let key = access::find_api_key(&mut tx, id).await?;
    if key
        .as_ref()
        .is_some_and(|key| secret::matches_hash(secret, &key.secret_hash))
    {
        access::mark_api_key_used(&mut tx, id, context.clock.now()).await?;
    }
    tx.commit().await?;
    Ok(key)
}

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

fn context(request: &Request) -> &Context {
    request
        .data::<Arc<Context>>()
        .expect("`app` puts the context into every request")
}
