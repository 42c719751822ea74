//! Users: what they change of themselves, and what support and admins do.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database::identity::directory::{self, Filter, ProfileChange, StandingChange};
use common::database::identity::users;
use common::database::{self, audit};
use common::domain::{BusinessId, Language, Role, UserId};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Tag;
use super::named::Named;
use super::page::{Page, PageRequest};
use super::text;
use crate::auth::{Origin, SignedIn, Staff, can};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// A person who signs in.
#[derive(Clone, Debug, Object)]
#[oai(rename = "User")]
pub(crate) struct UserResponse {
    id: Uuid,
    /// Null: signed up by phone, or by an issuer that told none.
    email: Option<String>,
    /// Whether they proved to read it.
    email_verified: bool,
    /// E.164; null: none given.
    phone: Option<String>,
    name: String,
    avatar_url: Option<String>,
    /// `fr` or `en`.
    language: String,
    /// On the platform: `user`, `support`, `admin` or `service`.
    role: String,
    /// For which requests act without `X-Business-Id`.
    default_business_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    last_login_at: Option<DateTime<Utc>>,
    /// Since when they may not sign in; null: they may.
    deactivated_at: Option<DateTime<Utc>>,
}

impl From<users::User> for UserResponse {
    fn from(user: users::User) -> Self {
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
            last_login_at: user.last_login_at,
            deactivated_at: user.deactivated_at,
        }
    }
}

/// A role on the platform.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum PlatformRole {
    /// Anybody who signed up.
    User,
    /// Finds users and acts for them.
    Support,
    /// Runs the platform.
    Admin,
    /// A machine.
    Service,
}

impl From<PlatformRole> for Role {
    fn from(role: PlatformRole) -> Self {
        match role {
            PlatformRole::User => Self::User,
            PlatformRole::Support => Self::Support,
            PlatformRole::Admin => Self::Admin,
            PlatformRole::Service => Self::Service,
        }
    }
}

/// What to change of oneself; what is absent stays.
#[derive(Debug, Deserialize, Object)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct ProfileRequest {
    /// 1 to 120 characters.
    name: Option<String>,
    /// An https address; null: none.
    #[serde(default)]
    avatar_url: MaybeUndefined<String>,
    language: Option<Named<Language>>,
    /// A business one is a member of.
    default_business_id: Option<Uuid>,
}

impl ProfileRequest {
    fn check(self) -> Result<ProfileChange, ApiError> {
        let name = self.name.map(|name| text::person_name(&name)).transpose()?;
        let avatar_url = match self.avatar_url {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(url) => Some(Some(text::web_address("avatar_url", &url)?)),
        };
        let language = self.language.map(|named| named.0);
        let default_business_id = self.default_business_id.map(BusinessId);
        Ok(ProfileChange {
            name,
            avatar_url,
            language,
            default_business_id,
        })
    }
}

/// What to change of a user; what is absent stays.
#[derive(Debug, Deserialize, Object)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct StandingRequest {
    role: Option<PlatformRole>,
    /// false: ends every session, and no new one begins.
    active: Option<bool>,
}

/// The operations on users.
pub(crate) struct Users;

#[OpenApi(prefix_path = "/users", tag = "Tag::Users")]
impl Users {
    /// Get oneself.
    #[oai(path = "/me", method = "get", operation_id = "get_profile")]
    async fn me(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
    ) -> Result<Json<UserResponse>, ApiError> {
        let mut tx = database::user(&context.pool, caller.user_id).await?;
        let user = users::find(&mut tx, caller.user_id).await?;
        tx.commit().await?;
        Ok(Json(user.ok_or_else(ApiError::unauthorized)?.into()))
    }

    /// Change oneself.
    #[oai(path = "/me", method = "patch", operation_id = "change_profile")]
    async fn change_me(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
        request: JsonBody<ProfileRequest>,
    ) -> Result<Json<UserResponse>, ApiError> {
        let change = request.0.check()?;
        let mut tx = database::user(&context.pool, caller.user_id).await?;
        let user = directory::change_profile(&mut tx, caller.user_id, &change, context.clock.now())
            .await?;
        tx.commit().await?;
        if change.default_business_id.is_some() {
            context.access.forget(&context.dispatch).await;
        }
        Ok(Json(user.into()))
    }

    /// List users.
    #[oai(path = "/", method = "get", operation_id = "list_users")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the query"
    )]
    async fn list(
        &self,
        _caller: Staff<can::ReadUsers>,
        context: Data<&Arc<Context>>,
        /// How the e-mail address or phone number begins, or a part of the name.
        search: Query<Option<String>>,
        /// Only with this role.
        role: Query<Option<PlatformRole>>,
        /// Only who may sign in, or who may not.
        active: Query<Option<bool>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<UserResponse>>, ApiError> {
        let page = PageRequest::<Uuid>::new(limit.0, cursor.0.as_deref())?;
        let search = search
            .0
            .map(|search| text::line("search", &search, text::LONGEST_NAME))
            .transpose()?;
        let filter = Filter {
            search: search.as_deref(),
            role: role.0.map(Role::from),
            is_active: active.0,
        };
        let mut tx = database::platform(&context.pool).await?;
        let rows = directory::list(&mut tx, filter, page.after.map(UserId), page.rows()).await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |user| user.id.0)))
    }

    /// Get a user.
    #[oai(path = "/:id", method = "get", operation_id = "get_user")]
    async fn get(
        &self,
        _caller: Staff<can::ReadUsers>,
        context: Data<&Arc<Context>>,
        id: Path<Uuid>,
    ) -> Result<Json<UserResponse>, ApiError> {
        let mut tx = database::platform(&context.pool).await?;
        let user = users::find(&mut tx, UserId(id.0)).await?;
        tx.commit().await?;
        Ok(Json(
            user.ok_or_else(|| ApiError::not_found("user"))?.into(),
        ))
    }

    /// Change a user's role, deactivate or reactivate.
    ///
    /// Not oneself, and the last admin stays one.
    #[oai(path = "/:id", method = "patch", operation_id = "change_user")]
    async fn change(
        &self,
        caller: Staff<can::WriteUsers>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        id: Path<Uuid>,
        request: JsonBody<StandingRequest>,
    ) -> Result<Json<UserResponse>, ApiError> {
        let id = UserId(id.0);
        if id == caller.user_id {
            return Err(
                common::Error::Conflict("nobody changes their own role or standing").into(),
            );
        }
        let change = StandingChange {
            role: request.0.role.map(Role::from),
            is_active: request.0.active,
        };
        let now = context.clock.now();
        let mut tx = database::platform(&context.pool).await?;
        let user = directory::change_standing(&mut tx, id, change, now).await?;
        let details = json!({ "role": change.role.map(Role::name), "active": change.is_active });
        let event = about("user.changed", caller.actor.for_audit(), id, details);
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(Json(user.into()))
    }
}

/// An event of the platform about a user.
pub(super) fn about(
    action: &'static str,
    actor: audit::Actor,
    id: UserId,
    details: Value,
) -> audit::Event {
    audit::Event {
        business_id: None,
        actor,
        action,
        object_kind: "user",
        object_id: id.to_string(),
        details,
    }
}
