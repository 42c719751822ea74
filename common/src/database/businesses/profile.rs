//! What a business says of itself, and whether it is being deleted.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::domain::business::{Asset, Finances, TeamMember};
use crate::domain::{BusinessId, MemberRole, Stage, UserId};
use crate::error::{Error, Result};

/// How long a business may be restored after its deletion was asked for.
pub const KEPT_FOR: TimeDelta = TimeDelta::days(30);

/// A business.
#[derive(Clone, Debug)]
pub struct Business {
    /// Which.
    pub id: BusinessId,
    /// What it is called.
    pub name: String,
    /// [`Stage::name`]
    pub stage: String,
    /// What it may use.
    pub plan: String,
    /// [`crate::domain::Industry::name`]; `None`: not said.
    pub industry: Option<String>,
    /// `None`: none.
    pub description: Option<String>,
    /// Who works there.
    pub team: Json<Vec<TeamMember>>,
    /// Its money.
    pub finances: Json<Finances>,
    /// What it owns.
    pub assets: Json<Vec<Asset>>,
    /// Where it is; `None`: not said.
    pub location: Option<String>,
    /// [`crate::domain::Currency::code`]
    pub currency: String,
    /// Of the IANA database.
    pub time_zone: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Since when nothing works for it; `None`: it lives.
    pub deletion_requested_at: Option<DateTime<Utc>>,
    /// Until when it may be restored; `None`: it lives.
    pub erase_after: Option<DateTime<Utc>>,
}

impl Business {
    /// How far it is.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where it is of another version.
    pub fn stage(&self) -> Result<Stage> {
        Stage::of_name(&self.stage).ok_or(Error::Corrupt("businesses.stage"))
    }
}

/// Creates a business. As the platform.
pub async fn insert(conn: &mut PgConnection, business: &Business) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO businesses (id, name, stage, industry, description, team, finances, assets, location, currency, time_zone,
                                created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        "#,
        business.id as _,
        business.name,
        business.stage,
        business.industry,
        business.description,
        &business.team as _,
        &business.finances as _,
        &business.assets as _,
        business.location,
        business.currency,
        business.time_zone,
        business.created_at,
        business.updated_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The business.
pub async fn find(conn: &mut PgConnection, business_id: BusinessId) -> Result<Option<Business>> {
    let business = sqlx::query_as!(
        Business,
        r#"
        SELECT id AS "id: _", name, stage, plan, industry, description, team AS "team: _", finances AS "finances: _",
               assets AS "assets: _", location, currency, time_zone, created_at, updated_at, deletion_requested_at, erase_after
        FROM businesses WHERE id = $1
        "#,
        business_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(business)
}

/// Keeps others from changing the business or its members until the transaction ends. Reads and work go on.
///
/// # Errors
///
/// [`Error::NotFound`] where there is none.
pub async fn lock(conn: &mut PgConnection, business_id: BusinessId) -> Result<()> {
    let locked = sqlx::query!(
        "SELECT FROM businesses WHERE id = $1 FOR NO KEY UPDATE",
        business_id as _
    )
    .fetch_optional(conn)
    .await?;
    locked.map(|_| ()).ok_or(Error::NotFound("business"))
}

/// Writes what may be changed of it: all but its plan and its end.
pub async fn update(conn: &mut PgConnection, business: &Business) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE businesses
        SET name = $2, stage = $3, industry = $4, description = $5, team = $6, finances = $7, assets = $8, location = $9,
            currency = $10, time_zone = $11, updated_at = $12
        WHERE id = $1
        "#,
        business.id as _,
        business.name,
        business.stage,
        business.industry,
        business.description,
        &business.team as _,
        &business.finances as _,
        &business.assets as _,
        business.location,
        business.currency,
        business.time_zone,
        business.updated_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The user's businesses with their role in each, those being deleted too, newest first, after `after`. As the user.
pub async fn list_of_user(
    conn: &mut PgConnection,
    user_id: UserId,
    after: Option<BusinessId>,
    limit: i64,
) -> Result<Vec<(Business, MemberRole)>> {
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id: BusinessId", name, stage, plan, industry, description, team AS "team: Json<Vec<TeamMember>>",
               finances AS "finances: Json<Finances>", assets AS "assets: Json<Vec<Asset>>", location, currency, time_zone,
               businesses.created_at, updated_at, deletion_requested_at, erase_after, memberships.role
        FROM memberships JOIN businesses ON businesses.id = memberships.business_id
        WHERE memberships.user_id = $1 AND ($2::uuid IS NULL OR businesses.id < $2)
        ORDER BY businesses.id DESC LIMIT $3
        "#,
        user_id as _,
        after as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let businesses = rows.into_iter().map(|row| {
        let role = MemberRole::of_name(&row.role).ok_or(Error::Corrupt("memberships.role"))?;
        let business = Business {
            id: row.id,
            name: row.name,
            stage: row.stage,
            plan: row.plan,
            industry: row.industry,
            description: row.description,
            team: row.team,
            finances: row.finances,
            assets: row.assets,
            location: row.location,
            currency: row.currency,
            time_zone: row.time_zone,
            created_at: row.created_at,
            updated_at: row.updated_at,
            deletion_requested_at: row.deletion_requested_at,
            erase_after: row.erase_after,
        };
        Ok((business, role))
    });
    businesses.collect()
}

/// Marks the business as being deleted; whether it was not before.
pub async fn mark_deletion_requested(
    conn: &mut PgConnection,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<bool> {
    let marked = sqlx::query!(
        r#"
        UPDATE businesses SET deletion_requested_at = $2, erase_after = $3, updated_at = $2
        WHERE id = $1 AND deletion_requested_at IS NULL
        "#,
        business_id as _,
        now,
        now + KEPT_FOR,
    )
    .execute(conn)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Lets it live after all; whether there was still something to restore.
pub async fn restore(
    conn: &mut PgConnection,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<bool> {
    let restored = sqlx::query!(
        r#"
        UPDATE businesses SET deletion_requested_at = NULL, erase_after = NULL, updated_at = $2
        WHERE id = $1 AND erase_after > $2
        "#,
        business_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(restored.rows_affected() == 1)
}
