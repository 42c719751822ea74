//! API keys: machines that act for a business.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use common::database::access::{self, NewApiKey};
use common::database::api_keys::{self, ApiKeyView};
use common::database::businesses::profile;
use common::database::identity::memberships;
use common::database::{self, audit};
use common::domain::roles::Scopes;
use common::domain::{ApiKeyId, BusinessId, MemberRole, Permission};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{Page, PageRequest};
use super::text::line;
use super::{Gone, Tag};
use crate::auth::{Actor, Allowed, Origin, can};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

const LONGEST_NAME: usize = 100;

/// Keys that work at a time.
const MOST_KEYS: i64 = 100;

/// How long a key may be made for.
const LONGEST_LIFE: TimeDelta = TimeDelta::days(366);

/// How long a key that was rotated works on, unless it is told.
const GRACE: u32 = 24 * 60 * 60;

/// And at most.
const LONGEST_GRACE: u32 = 7 * 24 * 60 * 60;

/// An API key, without its secret.
#[derive(Debug, Object)]
#[oai(rename = "ApiKey")]
struct ApiKeyResponse {
    id: Uuid,
    name: String,
    /// Names of permissions; `*`: every one a key can have.
    scopes: Vec<String>,
    /// The user who made it; null: the operator, or somebody since erased.
    created_by: Option<Uuid>,
    /// The key it was rotated to.
    replaced_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    /// When it stops working; null: when it is revoked.
    expires_at: Option<DateTime<Utc>>,
    /// To the minute; null: never.
    last_used_at: Option<DateTime<Utc>>,
    /// Since when it does not work; null: it was not revoked.
    revoked_at: Option<DateTime<Utc>>,
}

impl From<ApiKeyView> for ApiKeyResponse {
    fn from(key: ApiKeyView) -> Self {
        Self {
            id: key.id.0,
            name: key.name,
            scopes: key.scopes,
            created_by: key.created_by.map(|id| id.0),
            replaced_by: key.replaced_by.map(|id| id.0),
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// A new API key, told this once.
#[derive(Object)]
#[oai(rename = "NewApiKey")]
struct NewApiKeyResponse {
    id: Uuid,
    /// For the header `Authorization: Bearer …`. Keep it: it is not told again.
    key: String,
    name: String,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    /// When it stops working; null: when it is revoked.
    expires_at: Option<DateTime<Utc>>,
    /// When the key it replaces stops working; null: it replaces none.
    previous_expires_at: Option<DateTime<Utc>>,
}

/// A key to be made.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "CreateApiKey", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct CreateApiKeyRequest {
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    /// Names of permissions, or `*` for every one a key can have. Nobody grants what they do not hold.
    #[oai(validator(min_items = 1, max_items = 50))]
    scopes: Vec<String>,
    /// At most a year ahead; absent: it works until it is revoked.
    expires_at: Option<DateTime<Utc>>,
}

/// How a key is to be replaced.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "RotateApiKey", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct RotateApiKeyRequest {
    /// How long the old one works on: a day by default, 7 days at most.
    #[oai(validator(maximum(value = "604800")))]
    grace_seconds: Option<u32>,
    /// When the new one stops working, at most a year ahead; absent: when the old one would have.
    expires_at: Option<DateTime<Utc>>,
}

#[derive(ApiResponse)]
enum Created {
    /// Made.
    #[oai(status = 201)]
    Created(Json<NewApiKeyResponse>),
}

/// The operations on API keys.
pub(crate) struct ApiKeys;

#[OpenApi(prefix_path = "/api-keys", tag = "Tag::ApiKeys")]
impl ApiKeys {
    /// List API keys.
    ///
    /// Those that work no more too.
    #[oai(path = "/", method = "get", operation_id = "list_api_keys")]
    async fn list(
        &self,
        caller: Allowed<can::ReadApiKeys>,
        context: Data<&Arc<Context>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<ApiKeyResponse>>, ApiError> {
        let page = PageRequest::<Uuid>::new(limit.0, cursor.0.as_deref())?;
        let after = page.after.map(ApiKeyId);
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let rows = api_keys::list(&mut tx, caller.business_id, after, page.rows()).await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |key| key.id.0)))
    }

    /// Create an API key.
    #[oai(path = "/", method = "post", operation_id = "create_api_key")]
    async fn create(
        &self,
        caller: Allowed<can::WriteApiKeys>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        body: JsonBody<CreateApiKeyRequest>,
    ) -> Result<Created, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let name = line("name", &body.0.name, LONGEST_NAME)?;
        let scopes = scopes(&body.0.scopes)?;
        check_expiry(body.0.expires_at, now)?;
        let mut tx = database::business(&context.pool, business_id).await?;
        profile::lock(&mut tx, business_id).await?;
        may_grant(&mut tx, business_id, caller.actor, &scopes).await?;
        let key = NewApiKey {
            business_id,
            name: &name,
            scopes: &scopes,
            expires_at: body.0.expires_at,
            created_by: caller.actor.user_id(),
        };
        let (id, secret) = create(&mut tx, &key, now).await?;
        let details = json!({ "name": name, "scopes": scopes, "expires_at": key.expires_at });
        let event = event(business_id, caller.actor, "api_key.created", id, details);
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        Ok(created(id, &secret, &key, now, None))
    }

    /// Revoke an API key.
    ///
    /// It stops working at once.
    #[oai(path = "/:id", method = "delete", operation_id = "revoke_api_key")]
    async fn revoke(
        &self,
        caller: Allowed<can::WriteApiKeys>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        id: Path<Uuid>,
    ) -> Result<Gone, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let id = ApiKeyId(id.0);
        let mut tx = database::business(&context.pool, business_id).await?;
        let key = find(&mut tx, business_id, id).await?;
        if key.revoked_at.is_none() {
            api_keys::mark_revoked(&mut tx, business_id, id, now).await?;
            let details = json!({ "name": key.name });
            let event = event(business_id, caller.actor, "api_key.revoked", id, details);
            audit::record(&mut tx, &event, &origin.0, now).await?;
        }
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(Gone::Done)
    }

    /// Replace an API key.
    ///
    /// By one of the same name and scopes. The old one works on for the time you choose.
    #[oai(path = "/:id/rotate", method = "post", operation_id = "rotate_api_key")]
    async fn rotate(
        &self,
        caller: Allowed<can::WriteApiKeys>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        id: Path<Uuid>,
        body: JsonBody<RotateApiKeyRequest>,
    ) -> Result<Created, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let id = ApiKeyId(id.0);
        let grace = body.0.grace_seconds.unwrap_or(GRACE);
        if grace > LONGEST_GRACE {
            let reason = format!("at most {LONGEST_GRACE}");
            return Err(ApiError::invalid("grace_seconds", reason));
        }
        check_expiry(body.0.expires_at, now)?;
        let mut tx = database::business(&context.pool, business_id).await?;
        profile::lock(&mut tx, business_id).await?;
        let old = find(&mut tx, business_id, id).await?;
        if !old.is_valid(now) || old.replaced_by.is_some() {
            let reason = "the key does not work any more, or was replaced already";
            return Err(ApiError::conflict(reason));
        }
        may_grant(&mut tx, business_id, caller.actor, &old.scopes).await?;
        let key = NewApiKey {
            business_id,
            name: &old.name,
            scopes: &old.scopes,
            expires_at: body.0.expires_at.or(old.expires_at),
            created_by: caller.actor.user_id(),
        };
        let (new_id, secret) = create(&mut tx, &key, now).await?;
        let ends_at = now + TimeDelta::seconds(grace.into());
        let ends_at = old.expires_at.map_or(ends_at, |at| at.min(ends_at));
        api_keys::mark_replaced(&mut tx, business_id, id, new_id, ends_at).await?;
        let details = json!({ "replaced_by": new_id, "expires_at": ends_at });
        let event = event(business_id, caller.actor, "api_key.rotated", id, details);
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(created(new_id, &secret, &key, now, Some(ends_at)))
    }
}

async fn find(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: ApiKeyId,
) -> Result<ApiKeyView, ApiError> {
    let key = api_keys::find_for_update(conn, business_id, id).await?;
    key.ok_or_else(|| ApiError::not_found("API key"))
}

async fn create(
    conn: &mut PgConnection,
    key: &NewApiKey<'_>,
    now: DateTime<Utc>,
) -> Result<(ApiKeyId, SecretString), ApiError> {
    if api_keys::count_valid(&mut *conn, key.business_id, now).await? >= MOST_KEYS {
        let reason = format!("a business has at most {MOST_KEYS} API keys that work");
        return Err(ApiError::conflict(reason));
    }
    Ok(access::create_api_key(conn, key, now).await?)
}

fn created(
    id: ApiKeyId,
    secret: &SecretString,
    key: &NewApiKey<'_>,
    now: DateTime<Utc>,
    previous_expires_at: Option<DateTime<Utc>>,
) -> Created {
    Created::Created(Json(NewApiKeyResponse {
        id: id.0,
        key: secret.expose_secret().to_owned(),
        name: key.name.to_owned(),
        scopes: key.scopes.to_vec(),
        created_at: now,
        expires_at: key.expires_at,
        previous_expires_at,
    }))
}

/// Names of permissions that suit API keys, each once, or `*` alone.
fn scopes(names: &[String]) -> Result<Vec<String>, ApiError> {
    if names.is_empty() {
        return Err(ApiError::invalid("scopes", "must not be empty"));
    }
    if names.iter().any(|name| name == "*") {
        return Ok(vec!["*".to_owned()]);
    }
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        let suits = Permission::of_name(name).is_some_and(Permission::suits_api_keys);
        if !suits {
            let known: Vec<_> = Scopes::All.permissions().map(Permission::name).collect();
            let reason = format!("are among *, {}", known.join(", "));
            return Err(ApiError::invalid("scopes", reason));
        }
        if !kept.contains(name) {
            kept.push(name.clone());
        }
    }
    Ok(kept)
}

fn check_expiry(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), ApiError> {
    match expires_at {
        Some(at) if at <= now || at > now + LONGEST_LIFE => {
            let reason = "must be in the future, and at most a year ahead";
            Err(ApiError::invalid("expires_at", reason))
        }
        _ => Ok(()),
    }
}

/// 403 where the scopes hold what the caller, as of now, does not: nobody gives away what is not theirs.
async fn may_grant(
    conn: &mut PgConnection,
    business_id: BusinessId,
    actor: Actor,
    scopes: &[String],
) -> Result<(), ApiError> {
    let user_id = actor.user_id().ok_or_else(ApiError::in_person)?;
    let role = memberships::find_role(conn, business_id, user_id).await?;
    let role = role.ok_or_else(|| ApiError::not_found("business"))?;
    let lacks = |permission: &Permission| !holds(role, *permission);
    match Scopes::of_names(scopes).permissions().find(lacks) {
        Some(permission) => Err(ApiError::forbidden(permission)),
        None => Ok(()),
    }
}

/// Whether somebody of this role may give `permission` to a key, which needs the right to manage keys too.
fn holds(role: MemberRole, permission: Permission) -> bool {
    role.holds(permission) && role.holds(Permission::WriteApiKeys)
}

fn event(
    business_id: BusinessId,
    actor: Actor,
    action: &'static str,
    id: ApiKeyId,
    details: Value,
) -> audit::Event {
    audit::Event {
        business_id: Some(business_id),
        actor: actor.for_audit(),
        action,
        object_kind: "api_key",
        object_id: id.to_string(),
        details,
    }
}
