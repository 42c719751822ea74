//! Whose a bearer token is: an API key's, a session's, another issuer's.

use std::sync::Arc;

use common::database::access::{self, ApiKey};
use common::database::audit;
use common::database::identity::memberships::{self, Membership};
use common::database::identity::sessions::{self, Holder};
use common::domain::roles::Scopes;
use common::domain::{ApiKeyId, BusinessId, MemberRole, Permission, Role, SessionId, UserId};
use common::{database, secret};
use poem::Request;
use poem::http::header;
use tracing::Span;
use uuid::Uuid;

use super::{Origin, context, id_token};
use crate::context::Context;
use crate::error::ApiError;
use crate::limits::Limits;

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user, or somebody who acts as the user.
    User {
        /// The user.
        id: UserId,
        /// The sign-in; `None`: signed in with another issuer's token.
        session_id: Option<SessionId>,
        /// Who acts as the user; `None`: the user.
        impersonator_id: Option<UserId>,
    },
    /// A machine.
    ApiKey(ApiKeyId),
}

impl Actor {
    /// As the audit log has it.
    pub fn for_audit(self) -> audit::Actor {
        match self {
            Self::User {
                id,
                impersonator_id: None,
                ..
            } => audit::Actor::User(id, None),
            Self::User {
                id,
                impersonator_id: Some(impersonator),
                ..
            } => audit::Actor::User(impersonator, Some(id)),
            Self::ApiKey(id) => audit::Actor::ApiKey(id),
        }
    }

    /// The user it is, or acts as.
    pub fn user_id(self) -> Option<UserId> {
        match self {
            Self::User { id, .. } => Some(id),
            Self::ApiKey(_) => None,
        }
    }
}

/// Whose a token is, before it is asked for which business.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A machine's.
    ApiKey(Arc<ApiKey>),
    /// A user's.
    User {
        /// Who, and who acts as them.
        holder: Holder,
        /// The sign-in; `None`: another issuer's token.
        session_id: Option<SessionId>,
    },
}

impl Identity {
    /// Who it is.
    pub fn actor(&self) -> Actor {
        match self {
            Self::ApiKey(key) => Actor::ApiKey(key.id),
            Self::User { holder, session_id } => Actor::User {
                id: holder.user_id,
                session_id: *session_id,
                impersonator_id: holder.impersonator_id,
            },
        }
    }

    /// The user's role on the platform; who acts as a user has none.
    pub(super) fn platform_role(&self) -> Option<Role> {
        match self {
            Self::User { holder, .. } if holder.impersonator_id.is_none() => Some(holder.role),
            Self::User { .. } | Self::ApiKey(_) => None,
        }
    }
}

/// Whose the request's bearer token is.
pub(crate) async fn identify(request: &Request) -> Result<Identity, ApiError> {
    let token = bearer_token(request).ok_or_else(ApiError::unauthorized)?;
    let context = context(request);
    if token.starts_with(access::API_KEY_PREFIX) {
        return Ok(Identity::ApiKey(verify_api_key(context, token).await?));
    }
    let Some(claims) = context.access_tokens.verify(token, context.clock.now()) else {
        let holder = id_token::holder_of(context, token, || Origin::of(request)).await?;
        return Ok(Identity::User {
            holder,
            session_id: None,
        });
    };
    let session_id = SessionId(claims.sid);
    let holder = holder_of(context, session_id).await?;
    Ok(Identity::User {
        holder,
        session_id: Some(session_id),
    })
}

fn bearer_token(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header(header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn verify_api_key(context: &Context, token: &str) -> Result<Arc<ApiKey>, ApiError> {
    let (id, secret) = access::parse_api_key(token).ok_or_else(ApiError::unauthorized)?;
    let load = async { Ok(load_api_key(context, id, secret).await?.map(Arc::new)) };
    let key = context.access.learn(&context.access.keys, id, load).await?;
    let key = key.ok_or_else(ApiError::unauthorized)?;
    let is_over = key.expires_at.is_some_and(|at| at <= context.clock.now());
    if secret::matches_hash(secret, &key.secret_hash) && !is_over {
        Ok(key)
    } else {
        Err(ApiError::unauthorized())
    }
}

/// Looks a key up. Its use is recorded here, every few seconds: often enough for a time to the minute.
async fn load_api_key(
    context: &Context,
    id: ApiKeyId,
    secret: &str,
) -> common::Result<Option<ApiKey>> {
    let mut tx = database::platform_relaxed(&context.pool).await?;
    let key = access::find_api_key(&mut tx, id).await?;
    if key
        .as_ref()
        .is_some_and(|key| secret::matches_hash(secret, &key.secret_hash))
    {
        access::mark_api_key_used(&mut tx, id, context.clock.now()).await?;
    }
    tx.commit().await?;
    Ok(key)
}

async fn holder_of(context: &Context, id: SessionId) -> Result<Holder, ApiError> {
    let load = async {
        let mut tx = database::platform_relaxed(&context.pool).await?;
        let holder = sessions::find_holder(&mut tx, id, context.clock.now()).await?;
        tx.commit().await?;
        Ok(holder)
    };
    let holder = context
        .access
        .learn(&context.access.sessions, id, load)
        .await?;
    holder.ok_or_else(ApiError::unauthorized)
}

/// What a caller is in the business a request acts for.
pub(super) struct Standing {
    pub(super) business_id: BusinessId,
    /// `None`: an API key.
    pub(super) role: Option<MemberRole>,
}

/// The business the request acts for, if its caller holds `permission` there: the one its path `named`, else as [`super`] says.
pub(super) async fn authorize_in_business(
    request: &Request,
    identity: &Identity,
    permission: Permission,
    named: Option<BusinessId>,
) -> Result<Standing, ApiError> {
    let context = context(request);
    let nowhere = || ApiError::not_found("business");
    let header = match request.header("X-Business-Id") {
        Some(id) => Some(BusinessId(Uuid::try_parse(id).map_err(|_| nowhere())?)),
        None => None,
    };
    if named.is_some() && header.is_some() && named != header {
        return Err(nowhere());
    }
    let asked_for = named.or(header);
    let (standing, requests_per_minute, allowed) = match identity {
        Identity::ApiKey(key) => {
            if asked_for.is_some_and(|asked_for| asked_for != key.business_id) {
                return Err(nowhere());
            }
            let standing = Standing {
                business_id: key.business_id,
                role: None,
            };
            let allowed = Scopes::of_names(&key.scopes).hold(permission);
            (standing, key.requests_per_minute, allowed)
        }
        Identity::User { holder, .. } => {
            let membership = membership_of(context, holder.user_id, asked_for).await?;
            if membership.is_being_deleted && permission != Permission::RestoreBusiness {
                return Err(nowhere());
            }
            let in_person = holder.impersonator_id.is_none() || permission.suits_impersonation();
            let standing = Standing {
                business_id: membership.business_id,
                role: Some(membership.role),
            };
            let allowed = in_person && membership.role.holds(permission);
            (standing, membership.requests_per_minute, allowed)
        }
    };
    Span::current().record("business.id", tracing::field::display(standing.business_id));
    let mut asks = vec![context.limits.business(&standing.business_id)];
    if permission == Permission::Ask {
        let plan = requests_per_minute.unsigned_abs();
        asks.push(Limits::plan(&standing.business_id, plan));
    }
    context.limits.take(&asks).await?;
    if allowed {
        Ok(standing)
    } else {
        Err(ApiError::forbidden(permission))
    }
}

async fn membership_of(
    context: &Context,
    user_id: UserId,
    asked_for: Option<BusinessId>,
) -> Result<Membership, ApiError> {
    let load = async {
        let mut tx = database::platform_relaxed(&context.pool).await?;
        let membership = memberships::find(&mut tx, user_id, asked_for).await?;
        tx.commit().await?;
        Ok(membership)
    };
    let key = (user_id, asked_for);
    let membership = context
        .access
        .learn(&context.access.memberships, key, load)
        .await?;
    membership.ok_or_else(|| ApiError::not_found("business"))
}
