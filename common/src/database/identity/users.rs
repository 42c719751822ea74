//! Users, and the personal business each begins with.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{BusinessId, EmailAddress, Language, MemberRole, PhoneNumber, Role, UserId};
use crate::error::{Error, Result};

/// A person who signs in.
#[derive(Clone, Debug)]
pub struct User {
    /// Which.
    pub id: UserId,
    /// Lower case; `None`: signed up otherwise.
    pub email: Option<String>,
    /// When they proved to read it; `None`: not yet.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// E.164; `None`: none given.
    pub phone: Option<String>,
    /// What they are called.
    pub name: String,
    /// A picture; `None`: none.
    pub avatar_url: Option<String>,
    /// `fr` or `en`.
    pub language: String,
    /// [`Role::name`]
    pub role: String,
    /// For which requests act that name none.
    pub default_business_id: Option<BusinessId>,
    /// When they signed up.
    pub created_at: DateTime<Utc>,
    /// When they last signed in; `None`: never.
    pub last_login_at: Option<DateTime<Utc>>,
    /// Since when they may not sign in; `None`: they may.
    pub deactivated_at: Option<DateTime<Utc>>,
}

impl User {
    /// The role on the platform.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where it is of another version.
    pub fn role(&self) -> Result<Role> {
        Role::of_name(&self.role).ok_or(Error::Corrupt("users.role"))
    }
}

/// Somebody who signs up.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Lower case.
    pub email: Option<String>,
    /// Whether it is proved that they read it.
    pub email_is_verified: bool,
    /// E.164, proved by a code.
    pub phone: Option<String>,
    /// As [`crate::secret::PasswordHasher`] made it.
    pub password_hash: Option<String>,
    /// What they are called.
    pub name: String,
    /// A picture.
    pub avatar_url: Option<String>,
    /// In which the platform writes to them.
    pub language: Language,
}

/// Creates a user with a personal business that they own. As the platform.
///
/// # Errors
///
/// [`Error::Conflict`] where the e-mail address or the phone number is another's.
pub async fn sign_up(conn: &mut PgConnection, new: &NewUser, now: DateTime<Utc>) -> Result<User> {
    let (id, business_id) = (UserId::new(), BusinessId::new());
    sqlx::query!(
        "INSERT INTO businesses (id, name, stage, created_at) VALUES ($1, $2, 'personal', $3)",
        business_id as _,
        new.name,
        now,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO business_settings (business_id, language, acknowledgement, updated_at) VALUES ($1, $2, $3, $4)",
        business_id as _,
        new.language.code(),
        crate::database::access::DEFAULT_ACKNOWLEDGEMENT,
        now,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        r#"
        INSERT INTO users (id, email, email_verified_at, phone, password_hash, name, avatar_url, language, default_business_id,
                           created_at, updated_at)
        VALUES ($1, $2, CASE WHEN $3 THEN $10::timestamptz END, $4, $5, $6, $7, $8, $9, $10, $10)
        "#,
        id as _,
        new.email,
        new.email_is_verified,
        new.phone,
        new.password_hash,
        new.name,
        new.avatar_url,
        new.language.code(),
        business_id as _,
        now,
    )
    .execute(&mut *conn)
    .await
    .map_err(taken)?;
    super::memberships::insert(conn, business_id, id, MemberRole::Owner, now).await?;
    find(conn, id).await?.ok_or(Error::NotFound("user"))
}

/// What a broken constraint says of an address or a number.
fn taken(error: sqlx::Error) -> Error {
    match error
        .as_database_error()
        .and_then(|error| error.constraint())
    {
        Some("users_email_key") => Error::Conflict("the e-mail address is already in use"),
        Some("users_phone_key") => Error::Conflict("the phone number is already in use"),
        _ => error.into(),
    }
}

/// A user. As the platform, or as that user.
pub async fn find(conn: &mut PgConnection, id: UserId) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        SELECT id AS "id: _", email, email_verified_at, phone, name, avatar_url, language, role,
               default_business_id AS "default_business_id: _", created_at, last_login_at, deactivated_at
        FROM users WHERE id = $1
        "#,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// A user by e-mail address. As the platform.
pub async fn find_by_email(conn: &mut PgConnection, email: &EmailAddress) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        SELECT id AS "id: _", email, email_verified_at, phone, name, avatar_url, language, role,
               default_business_id AS "default_business_id: _", created_at, last_login_at, deactivated_at
        FROM users WHERE email = $1
        "#,
        email.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// A user by phone number. As the platform.
pub async fn find_by_phone(conn: &mut PgConnection, phone: &PhoneNumber) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        SELECT id AS "id: _", email, email_verified_at, phone, name, avatar_url, language, role,
               default_business_id AS "default_business_id: _", created_at, last_login_at, deactivated_at
        FROM users WHERE phone = $1
        "#,
        phone.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// What a user's password hashes to; `None`: they have none, or are not there. As the platform.
pub async fn find_password_hash(conn: &mut PgConnection, id: UserId) -> Result<Option<String>> {
    let hash = sqlx::query_scalar!("SELECT password_hash FROM users WHERE id = $1", id as _)
        .fetch_optional(conn)
        .await?;
    Ok(hash.flatten())
}

/// Marks that a user signs in: with the password that hashes to `password_hash`, where they did so with one. `false`: they
/// were deactivated, or the password was changed since it was checked. Locks the user. As the platform.
pub async fn mark_signed_in(
    conn: &mut PgConnection,
    id: UserId,
    password_hash: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let marked = sqlx::query!(
        r#"
        UPDATE users SET last_login_at = $3
        WHERE id = $1 AND deactivated_at IS NULL AND ($2::text IS NULL OR password_hash = $2)
        "#,
        id as _,
        password_hash,
        now,
    )
    .execute(conn)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Sets a user's password, where the one before hashes to `before`, if that is told; `false`: it does not, or the user was
/// deactivated. Locks the user. As the platform.
pub async fn set_password(
    conn: &mut PgConnection,
    id: UserId,
    before: Option<&str>,
    hash: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    let set = sqlx::query!(
        r#"
        UPDATE users SET password_hash = $3, updated_at = $4
        WHERE id = $1 AND deactivated_at IS NULL AND ($2::text IS NULL OR password_hash = $2)
        "#,
        id as _,
        before,
        hash,
        now,
    )
    .execute(conn)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// Marks that a user proved to read `email`; `false`: it is not their address any more, or they were deactivated. Locks the
/// user. As the platform.
pub async fn mark_email_verified(
    conn: &mut PgConnection,
    id: UserId,
    email: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    let marked = sqlx::query!(
        r#"
        UPDATE users SET email_verified_at = coalesce(email_verified_at, $3), updated_at = $3
        WHERE id = $1 AND email = $2 AND deactivated_at IS NULL
        "#,
        id as _,
        email,
        now,
    )
    .execute(conn)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Has a user's requests that name no business act for this one. As the platform.
pub async fn set_default_business(
    conn: &mut PgConnection,
    id: UserId,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET default_business_id = $2, updated_at = $3 WHERE id = $1",
        id as _,
        business_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}
