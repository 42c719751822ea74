//! Who may come in: API keys and webhook secrets, and what a webhook must know of its business.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{ApiKeyId, BusinessId, UserId};
use crate::error::Result;
use crate::secret;

/// What an API key begins with.
pub const API_KEY_PREFIX: &str = "rl_live_";

/// What a webhook secret begins with.
const WEBHOOK_SECRET_PREFIX: &str = "rlwh_";

/// How a webhook is acknowledged unless the business says otherwise.
pub const DEFAULT_ACKNOWLEDGEMENT: &str = "OK, bien reçu";

/// How old `last_used_at` may be before it is written again: it is kept to the minute.
const USE_RECORDED_EVERY: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

/// An API key that is not revoked.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Which.
    pub id: ApiKeyId,
    /// Whom it acts for.
    pub business_id: BusinessId,
    /// What its secret hashes to.
    pub secret_hash: Vec<u8>,
    /// What it may do, by name.
    pub scopes: Vec<String>,
    /// When it stops working; `None`: when it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// Requests a minute that may ask a model, by its business's plan.
    pub requests_per_minute: i32,
    /// When it was last used, to the minute; `None`: never.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Splits `rl_live_<id>_<secret>`; `None`: it is no API key.
pub fn parse_api_key(key: &str) -> Option<(ApiKeyId, &str)> {
    let (id, secret) = key.strip_prefix(API_KEY_PREFIX)?.split_once('_')?;
    (id.len() == 32 && !secret.is_empty()).then_some(())?;
    Some((ApiKeyId(Uuid::try_parse(id).ok()?), secret))
}

/// Finds an API key that is not revoked, of any business but those being deleted. As the platform.
pub async fn find_api_key(conn: &mut PgConnection, id: ApiKeyId) -> Result<Option<ApiKey>> {
    let key = sqlx::query_as!(
        ApiKey,
        r#"
        SELECT api_keys.id AS "id: _", business_id AS "business_id: _", secret_hash, scopes, expires_at, requests_per_minute, last_used_at
        FROM api_keys JOIN businesses ON businesses.id = business_id JOIN plans ON plans.name = businesses.plan
        WHERE api_keys.id = $1 AND revoked_at IS NULL AND deletion_requested_at IS NULL
        "#,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(key)
}

/// Records that a key was used, unless that was recorded in this minute. As the platform.
pub async fn mark_api_key_used(
    conn: &mut PgConnection,
    id: ApiKeyId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)",
        id as _,
        now,
        now - USE_RECORDED_EVERY,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An API key to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewApiKey<'a> {
    /// Whom it acts for.
    pub business_id: BusinessId,
    /// What people call it.
    pub name: &'a str,
    /// What it may do: names of permissions, or `*`.
    pub scopes: &'a [String],
    /// When it stops working; `None`: when it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// By whom; `None`: the operator.
    pub created_by: Option<UserId>,
}

/// Makes an API key, which is shown here and never again.
pub async fn create_api_key(
    conn: &mut PgConnection,
    key: &NewApiKey<'_>,
    now: DateTime<Utc>,
) -> Result<(ApiKeyId, SecretString)> {
    let id = ApiKeyId::new();
    let token = secret::random_token();
    sqlx::query!(
        r#"
        INSERT INTO api_keys (id, business_id, name, secret_hash, scopes, created_at, expires_at, created_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        "#,
        id as _,
        key.business_id as _,
        key.name,
        secret::hash(&token),
        key.scopes,
        now,
        key.expires_at,
        key.created_by as _,
    )
    .execute(conn)
    .await?;
    Ok((
        id,
        format!("{API_KEY_PREFIX}{}_{token}", id.0.simple()).into(),
    ))
}

/// What a webhook must know of the business its secret belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAccess {
    /// When the secret stops working; `None`: it is the current one.
    pub expires_at: Option<DateTime<Utc>>,
    /// What to answer; `None`: nothing.
    pub acknowledgement: Option<String>,
}

/// The business `rlwh_<business id>_<random>` names; `None`: it is no webhook secret. Proves nothing yet.
pub fn business_of_webhook_secret(secret: &str) -> Option<BusinessId> {
    let (id, random) = secret
        .strip_prefix(WEBHOOK_SECRET_PREFIX)?
        .split_once('_')?;
    (id.len() == 32 && !random.is_empty()).then_some(())?;
    Some(BusinessId(Uuid::try_parse(id).ok()?))
}

/// What the business's valid webhook secret with this hash opens.
pub async fn find_webhook_access(
    conn: &mut PgConnection,
    business_id: BusinessId,
    secret_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<WebhookAccess>> {
    let row = sqlx::query!(
        r#"
        SELECT webhook_secrets.expires_at, acknowledgement, business_settings.business_id IS NOT NULL AS "is_set!"
        FROM webhook_secrets LEFT JOIN business_settings ON business_settings.business_id = webhook_secrets.business_id
        WHERE webhook_secrets.business_id = $1 AND secret_hash = $2 AND (expires_at IS NULL OR expires_at > $3)
          AND NOT EXISTS (SELECT FROM businesses WHERE id = $1 AND deletion_requested_at IS NOT NULL)
        "#,
        business_id as _,
        secret_hash,
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| WebhookAccess {
        expires_at: row.expires_at,
        // A business that never set anything is acknowledged as all are by default.
        acknowledgement: if row.is_set {
            row.acknowledgement
        } else {
            Some(DEFAULT_ACKNOWLEDGEMENT.to_owned())
        },
    }))
}

/// Makes a webhook secret, which is shown here and never again.
pub async fn create_webhook_secret(
    conn: &mut PgConnection,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<SecretString> {
    let secret = format!(
        "{WEBHOOK_SECRET_PREFIX}{}_{}",
        business_id.0.simple(),
        secret::random_token()
    );
    sqlx::query!(
        "INSERT INTO webhook_secrets (id, business_id, secret_hash, created_at) VALUES ($1, $2, $3, $4)",
        Uuid::now_v7(),
        business_id as _,
        secret::hash(&secret),
        now,
    )
    .execute(conn)
    .await?;
    Ok(secret.into())
}

/// Makes the business's webhook secret one that ends at `expires_at`, and drops the one before it: at most two work at a time.
pub async fn expire_webhook_secret(
    conn: &mut PgConnection,
    business_id: BusinessId,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM webhook_secrets WHERE business_id = $1 AND expires_at IS NOT NULL",
        business_id as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE webhook_secrets SET expires_at = $2 WHERE business_id = $1",
        business_id as _,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A webhook secret, without what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookSecret {
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working; `None`: it is the current one.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The business's webhook secrets that work, the current one first.
pub async fn list_webhook_secrets(
    conn: &mut PgConnection,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<Vec<WebhookSecret>> {
    let secrets = sqlx::query_as!(
        WebhookSecret,
        r#"
        SELECT created_at, expires_at FROM webhook_secrets
        WHERE business_id = $1 AND (expires_at IS NULL OR expires_at > $2)
        ORDER BY expires_at NULLS FIRST
        "#,
        business_id as _,
        now,
    )
    .fetch_all(conn)
    .await?;
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_secrets_are_taken_apart_or_refused() {
        let id = Uuid::now_v7();
        let key = format!("rl_live_{}_abc", id.simple());
        assert_eq!(parse_api_key(&key), Some((ApiKeyId(id), "abc")));
        for wrong in [
            "",
            "rl_live_",
            "rl_live_x_abc",
            "Bearer",
            &key[..40],
            &format!("rl_live_{id}_abc"),
        ] {
            assert_eq!(parse_api_key(wrong), None, "{wrong}");
        }
        let secret = format!("rlwh_{}_abc", id.simple());
        assert_eq!(business_of_webhook_secret(&secret), Some(BusinessId(id)));
        assert_eq!(business_of_webhook_secret("rlwh__abc"), None);
    }
}
