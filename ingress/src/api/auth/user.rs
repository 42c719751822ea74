//! A user as the API tells of one.

use chrono::{DateTime, Utc};
use common::database::identity::users::User;
use poem_openapi::Object;
use uuid::Uuid;

/// Somebody who signs in.
#[derive(Debug, Object)]
#[oai(rename = "User")]
pub(crate) struct UserResponse {
    id: Uuid,
    /// In lower case; null: signed up by phone.
    email: Option<String>,
    /// Whether they proved to read it.
    email_verified: bool,
    /// In E.164; null: none given.
    phone: Option<String>,
    name: String,
    avatar_url: Option<String>,
    /// In which the platform writes to them: `fr` or `en`.
    language: String,
    /// On the platform: `user`, `support`, `admin` or `service`.
    role: String,
    /// For which requests act that name no business; null: name one.
    default_business_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl From<User> for UserResponse {
    fn from(user: User) -> Self {
        Self {
            id: user.id.0,
            email: user.email,
            email_verified: user.email_verified_at.is_some(),
            phone: user.phone,
            name: user.name,
            avatar_url: user.avatar_url,
            language: user.language,
            role: user.role,
            default_business_id: user.default_business_id.map(|id| id.0),
            created_at: user.created_at,
        }
    }
}
