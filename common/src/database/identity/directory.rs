//! The users as support and admins see them: found, promoted, deactivated.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::sessions;
use super::users::{self, User};
use crate::domain::{BusinessId, Language, Role, UserId};
use crate::error::{Error, Result};

/// Which users are wanted; `None` everywhere: all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// How the e-mail address or the phone number begins, or a part of the name.
    pub search: Option<&'a str>,
    /// With this role.
    pub role: Option<Role>,
    /// Who may sign in, or who may not.
    pub is_active: Option<bool>,
}

/// Users, newest first. As the platform.
pub async fn list(
    conn: &mut PgConnection,
    filter: Filter<'_>,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<User>> {
    let literally = filter.search.map(literal);
    let users = sqlx::query_as!(
        User,
        r#"
        SELECT id AS "id: _", email, email_verified_at, phone, name, avatar_url, language, role,
               default_business_id AS "default_business_id: _", created_at, last_login_at, deactivated_at
        FROM users
        WHERE ($1::uuid IS NULL OR id < $1)
          AND ($2::text IS NULL OR email LIKE $2 || '%' OR phone LIKE $2 || '%' OR lower(name) LIKE '%' || $2 || '%')
          AND ($3::text IS NULL OR role = $3)
          AND ($4::boolean IS NULL OR (deactivated_at IS NULL) = $4)
        ORDER BY id DESC LIMIT $5
        "#,
        after as _,
        literally,
        filter.role.map(Role::name),
        filter.is_active,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(users)
}

/// `text` for LIKE, in which nothing stands for anything else.
fn literal(text: &str) -> String {
    let escaped = |character| match character {
        '\\' | '%' | '_' => vec!['\\', character],
        _ => vec![character],
    };
    text.to_lowercase().chars().flat_map(escaped).collect()
}

/// What users change of themselves; `None`: stays as it is.
#[derive(Clone, Debug, Default)]
pub struct ProfileChange {
    /// What they are called.
    pub name: Option<String>,
    /// A picture; `Some(None)`: none.
    pub avatar_url: Option<Option<String>>,
    /// In which the platform writes to them.
    pub language: Option<Language>,
    /// For which requests act that name none: one they are a member of.
    pub default_business_id: Option<BusinessId>,
}

/// Changes a user's own profile. As that user.
///
/// # Errors
///
/// [`Error::NotFound`] where they are no member of the business.
pub async fn change_profile(
    conn: &mut PgConnection,
    id: UserId,
    change: &ProfileChange,
    now: DateTime<Utc>,
) -> Result<User> {
    if let Some(business_id) = change.default_business_id {
        let is_member = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM memberships WHERE user_id = $1 AND business_id = $2) AS "exists!""#,
            id as _,
            business_id as _,
        );
        if !is_member.fetch_one(&mut *conn).await? {
            return Err(Error::NotFound("business"));
        }
    }
    sqlx::query!(
        r#"
        UPDATE users SET name = coalesce($2, name), language = coalesce($3, language),
            avatar_url = CASE WHEN $4 THEN $5 ELSE avatar_url END,
            default_business_id = coalesce($6, default_business_id), updated_at = $7
        WHERE id = $1
        "#,
        id as _,
        change.name,
        change.language.map(Language::code),
        change.avatar_url.is_some(),
        change.avatar_url.clone().flatten(),
        change.default_business_id as _,
        now,
    )
    .execute(&mut *conn)
    .await?;
    users::find(conn, id).await?.ok_or(Error::NotFound("user"))
}

/// What an admin changes of a user; `None`: stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandingChange {
    /// The role on the platform.
    pub role: Option<Role>,
    /// Whether they may sign in.
    pub is_active: Option<bool>,
}

/// Changes what a user may do on the platform. Deactivated, all their sessions end; with another role, those in which they
/// act for others or others for them. As the platform.
///
/// # Errors
///
/// [`Error::NotFound`]; [`Error::Conflict`] where no admin would be left.
pub async fn change_standing(
    conn: &mut PgConnection,
    id: UserId,
    change: StandingChange,
    now: DateTime<Utc>,
) -> Result<User> {
    // One at a time, whoever is changed: two admins must not demote each other.
    let admins = sqlx::query_scalar!(
        r#"SELECT id AS "id: UserId" FROM users WHERE role = 'admin' AND deactivated_at IS NULL ORDER BY id FOR UPDATE"#
    )
    .fetch_all(&mut *conn)
    .await?;
    sqlx::query!(
        r#"
        UPDATE users SET role = coalesce($2, role), updated_at = $4,
            deactivated_at = CASE WHEN $3::boolean IS NULL THEN deactivated_at WHEN $3 THEN NULL ELSE coalesce(deactivated_at, $4) END
        WHERE id = $1
        "#,
        id as _,
        change.role.map(Role::name),
        change.is_active,
        now,
    )
    .execute(&mut *conn)
    .await?;
    let user = users::find(conn, id)
        .await?
        .ok_or(Error::NotFound("user"))?;
    let stays = user.role()? == Role::Admin && user.deactivated_at.is_none();
    if admins == [id] && !stays {
        return Err(Error::Conflict("the last admin cannot go"));
    }
    if change.is_active == Some(false) {
        sessions::revoke_all(conn, id, None, "deactivation", now).await?;
    }
    if change.role.is_some() {
        sessions::end_impersonations(conn, id, now).await?;
    }
    Ok(user)
}
