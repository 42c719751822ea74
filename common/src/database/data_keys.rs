//! The keys with which businesses' secrets are sealed; see [`crate::secret::Sealer`].

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;

use crate::domain::{BusinessId, DataKeyId};
use crate::error::{Error, Result};
use crate::secret::{Sealer, WrappedKey};

/// The business's data key; `None`: it has sealed nothing yet.
pub async fn find(conn: &mut PgConnection, business_id: BusinessId) -> Result<Option<WrappedKey>> {
    let key = sqlx::query_as!(
        WrappedKey,
        r#"
        SELECT id AS "id: _", business_id AS "business_id: _", wrapped, master_key_id FROM data_keys
        WHERE business_id = $1
        "#,
        business_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(key)
}

/// Seals `secret` for `place` with the business's data key, which is made where there is none.
pub async fn seal(
    conn: &mut PgConnection,
    sealer: &Sealer,
    business_id: BusinessId,
    secret: &SecretString,
    place: &str,
    now: DateTime<Utc>,
) -> Result<Vec<u8>> {
    let key = ensure(conn, sealer, business_id, now).await?;
    sealer.seal(&key, secret, place)
}

async fn ensure(
    conn: &mut PgConnection,
    sealer: &Sealer,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<WrappedKey> {
    if let Some(key) = find(&mut *conn, business_id).await? {
        return Ok(key);
    }
    let key = sealer.new_data_key(business_id);
    sqlx::query!(
        r#"
        INSERT INTO data_keys (id, business_id, wrapped, master_key_id, created_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (business_id) DO NOTHING
        "#,
        key.id as _,
        business_id as _,
        key.wrapped,
        key.master_key_id,
        now,
    )
    .execute(&mut *conn)
    .await?;
    // Another may have been first.
    find(conn, business_id)
        .await?
        .ok_or(Error::NotFound("data key"))
}

/// Data keys that another master key wraps, after `after`, held until the transaction ends. As the platform.
pub async fn list_wrapped_otherwise(
    conn: &mut PgConnection,
    master_key_id: &str,
    after: Option<DataKeyId>,
    limit: i64,
) -> Result<Vec<WrappedKey>> {
    let keys = sqlx::query_as!(
        WrappedKey,
        r#"
        SELECT id AS "id: _", business_id AS "business_id: _", wrapped, master_key_id FROM data_keys
        WHERE master_key_id <> $1 AND ($2::uuid IS NULL OR id > $2)
        ORDER BY id LIMIT $3 FOR UPDATE
        "#,
        master_key_id,
        after as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// Keeps the same key wrapped otherwise. As the platform.
pub async fn update_wrapping(conn: &mut PgConnection, key: &WrappedKey) -> Result<()> {
    sqlx::query!(
        "UPDATE data_keys SET wrapped = $2, master_key_id = $3 WHERE id = $1",
        key.id as _,
        key.wrapped,
        key.master_key_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Businesses with a secret that is not sealed with their data key, after `after`: rows of before there were any. As the
/// platform.
pub async fn list_sealed_without(
    conn: &mut PgConnection,
    after: Option<BusinessId>,
    limit: i64,
) -> Result<Vec<BusinessId>> {
    let businesses = sqlx::query_scalar!(
        r#"
        SELECT settings.business_id AS "business_id: BusinessId" FROM business_settings AS settings
        LEFT JOIN data_keys ON data_keys.business_id = settings.business_id
        WHERE manychat_api_key IS NOT NULL AND ($1::uuid IS NULL OR settings.business_id > $1)
          AND substring(manychat_api_key FROM 1 FOR 17) IS DISTINCT FROM ('\x01'::bytea || uuid_send(data_keys.id))
        ORDER BY settings.business_id LIMIT $2
        "#,
        after as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(businesses)
}
