//! Businesses, their settings and their characters.

pub mod erasure;
pub mod profile;
pub mod settings;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{BusinessId, CharacterId, Language};
use crate::error::{Error, Result};

/// Creates an operator's business on `plan` with default settings; `false` where it exists.
pub async fn insert(
    conn: &mut PgConnection,
    business_id: BusinessId,
    name: &str,
    language: Language,
    plan: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    let inserted = sqlx::query!(
        r#"
        INSERT INTO businesses (id, name, stage, plan, created_at, updated_at) VALUES ($1, $2, 'established', $3, $4, $4)
        ON CONFLICT DO NOTHING
        "#,
        business_id as _,
        name,
        plan,
        now,
    )
    .execute(&mut *conn)
    .await
    .map_err(|error| {
        match error
            .as_database_error()
            .and_then(|error| error.constraint())
        {
            Some("businesses_plan_fkey") => Error::invalid("plan", "there is no such plan"),
            _ => error.into(),
        }
    })?;
    settings::insert(conn, business_id, language, now).await?;
    Ok(inserted.rows_affected() == 1)
}

/// Whether the business exists.
pub async fn exists(conn: &mut PgConnection, business_id: BusinessId) -> Result<bool> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM businesses WHERE id = $1) AS "exists!""#,
        business_id as _
    )
    .fetch_one(conn)
    .await?;
    Ok(exists)
}

/// How a business wants deliveries of unknown outcome handled: `at_least_once` or `at_most_once`.
pub async fn set_delivery_policy(
    conn: &mut PgConnection,
    business_id: BusinessId,
    policy: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE business_settings SET delivery_policy = $2, updated_at = $3 WHERE business_id = $1",
        business_id as _,
        policy,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A persona to be created.
#[derive(Clone, Copy, Debug)]
pub struct NewCharacter<'a> {
    /// Its id.
    pub id: CharacterId,
    /// Whose; `None`: the platform's, listed to all.
    pub business_id: Option<BusinessId>,
    /// Its name.
    pub name: &'a str,
    /// Who the model is to be.
    pub system_prompt: &'a str,
    /// Its first words.
    pub greeting: Option<&'a str>,
}

/// Creates a persona and makes it its business's default.
pub async fn insert_default_character(
    conn: &mut PgConnection,
    character: &NewCharacter<'_>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO characters (id, business_id, name, system_prompt, greeting, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        character.id as _,
        character.business_id as _,
        character.name,
        character.system_prompt,
        character.greeting,
        now,
    )
    .execute(&mut *conn)
    .await?;
    if let Some(business_id) = character.business_id {
        sqlx::query!(
            "UPDATE business_settings SET default_character_id = $2, updated_at = $3 WHERE business_id = $1",
            business_id as _,
            character.id as _,
            now,
        )
        .execute(conn)
        .await?;
    }
    Ok(())
}
