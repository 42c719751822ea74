//! How a business wants its messages handled.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::database::access::DEFAULT_ACKNOWLEDGEMENT;
use crate::domain::business_hours::BusinessHours;
use crate::domain::{BusinessId, CharacterId, Language};
use crate::error::Result;

/// A business's settings, without its secrets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `fr` or `en`.
    pub language: String,
    /// How webhooks are acknowledged; `None`: without a text.
    pub acknowledgement: Option<String>,
    /// Who answers; `None`: the platform's default character.
    pub default_character_id: Option<CharacterId>,
    /// `at_least_once` or `at_most_once`.
    pub delivery_policy: String,
    /// Folded.
    pub opt_out_words: Vec<String>,
    /// Where events are sent; `None`: nowhere.
    pub outbound_webhook_url: Option<String>,
    /// `None`: always open.
    pub business_hours: Option<Json<BusinessHours>>,
    /// Whether ManyChat's key is set.
    pub manychat_connected: bool,
    /// When it was set; `None`: not set, or before this was kept.
    pub manychat_connected_at: Option<DateTime<Utc>>,
    /// When anything was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Default settings, unless there are some.
pub async fn insert(
    conn: &mut PgConnection,
    business_id: BusinessId,
    language: Language,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO business_settings (business_id, language, acknowledgement, updated_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        "#,
        business_id as _,
        language.code(),
        DEFAULT_ACKNOWLEDGEMENT,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The business's settings; `None`: it never had any.
pub async fn find(conn: &mut PgConnection, business_id: BusinessId) -> Result<Option<Settings>> {
    let settings = sqlx::query_as!(
        Settings,
        r#"
        SELECT language, acknowledgement, default_character_id AS "default_character_id: _", delivery_policy, opt_out_words,
               outbound_webhook_url, business_hours AS "business_hours: _", manychat_api_key IS NOT NULL AS "manychat_connected!",
               manychat_connected_at, updated_at
        FROM business_settings WHERE business_id = $1
        "#,
        business_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(settings)
}

/// Writes all but ManyChat's key.
pub async fn update(
    conn: &mut PgConnection,
    business_id: BusinessId,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE business_settings
        SET language = $2, acknowledgement = $3, default_character_id = $4, delivery_policy = $5, opt_out_words = $6,
            outbound_webhook_url = $7, business_hours = $8, updated_at = $9
        WHERE business_id = $1
        "#,
        business_id as _,
        settings.language,
        settings.acknowledgement,
        settings.default_character_id as _,
        settings.delivery_policy,
        &settings.opt_out_words,
        settings.outbound_webhook_url,
        settings.business_hours.as_ref() as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Connects ManyChat with its API key, sealed for [`crate::secret::manychat_key_place`]; `None` disconnects.
pub async fn set_manychat_key(
    conn: &mut PgConnection,
    business_id: BusinessId,
    sealed: Option<&[u8]>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE business_settings
        SET manychat_api_key = $2, manychat_connected_at = CASE WHEN $2::bytea IS NULL THEN NULL ELSE $3::timestamptz END,
            updated_at = $3
        WHERE business_id = $1
        "#,
        business_id as _,
        sealed,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// ManyChat's key, sealed; `None`: not connected.
pub async fn find_manychat_key(
    conn: &mut PgConnection,
    business_id: BusinessId,
) -> Result<Option<Vec<u8>>> {
    let sealed = sqlx::query_scalar!(
        r#"SELECT manychat_api_key AS "sealed!" FROM business_settings WHERE business_id = $1 AND manychat_api_key IS NOT NULL"#,
        business_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(sealed)
}

/// Writes the same key sealed otherwise; whether nobody changed it meanwhile.
pub async fn replace_manychat_key(
    conn: &mut PgConnection,
    business_id: BusinessId,
    before: &[u8],
    after: &[u8],
) -> Result<bool> {
    let replaced = sqlx::query!(
        "UPDATE business_settings SET manychat_api_key = $3 WHERE business_id = $1 AND manychat_api_key = $2",
        business_id as _,
        before,
        after,
    )
    .execute(conn)
    .await?;
    Ok(replaced.rows_affected() == 1)
}

/// Whether the business may have this character answer: its own, or the platform's.
pub async fn may_use_character(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: CharacterId,
) -> Result<bool> {
    let may = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM characters WHERE id = $2 AND (business_id = $1 OR business_id IS NULL)) AS "may!""#,
        business_id as _,
        id as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(may)
}
