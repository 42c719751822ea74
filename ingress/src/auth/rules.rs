//! What an operation asks of its caller, as a type: declared where the operation is, checked here, told in the OpenAPI
//! document.

use std::marker::PhantomData;

use common::database::{self, audit};
use common::domain::{BusinessId, MemberRole, Permission, UserId};
use poem::{Request, RequestBody, Result};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::json;
use uuid::Uuid;

use super::bearer::{self, Actor, Identity};
use super::context;
use super::origin::Origin;
use crate::error::ApiError;

/// A permission as a type.
pub trait Rule: Send + Sync + 'static {
    /// Which.
    const PERMISSION: Permission;
}

/// Every permission as a type, by its own name.
pub mod can {
    use common::domain::Permission;

    macro_rules! rules {
        ($($name:ident),* $(,)?) => {$(
            #[doc = concat!("[`Permission::", stringify!($name), "`]")]
            #[derive(Debug)]
            pub struct $name;

            impl super::Rule for $name {
                const PERMISSION: Permission = Permission::$name;
            }
        )*};
    }

    rules! {
        ReadConversations, ReadDocuments, WriteDocuments, Ask, ReadJobs, ReadBusiness, WriteBusiness, DeleteBusiness, RestoreBusiness,
        LeaveBusiness, ReadMembers, WriteMembers, ReadSettings, WriteSettings, ReadApiKeys, WriteApiKeys, ReadAudit, ReadUsers, Impersonate, WriteUsers, ReadPlatformAudit,
    }
}

/// The name under which the OpenAPI document has an operation that asks nothing; see [`crate::openapi`].
pub(crate) const PUBLIC: &str = "public";

/// The same for one that asks for any user.
pub(crate) const SIGNED_IN: &str = "signed-in";

/// A caller who holds a permission in the business the request acts for: the API key's, else `X-Business-Id`'s, else the
/// user's default.
#[derive(Debug)]
pub struct Allowed<R> {
    /// The business.
    pub business_id: BusinessId,
    /// Who.
    pub actor: Actor,
    rule: PhantomData<R>,
}

/// The same in the business that the path names first: its first parameter is the business's id.
#[derive(Debug)]
pub struct AllowedIn<R> {
    /// The business.
    pub business_id: BusinessId,
    /// Who.
    pub actor: Actor,
    /// Their role in it; `None`: an API key.
    pub role: Option<MemberRole>,
    rule: PhantomData<R>,
}

/// A user who holds a permission on the platform.
#[derive(Debug)]
pub struct Staff<R> {
    /// Who, in person.
    pub user_id: UserId,
    /// The same, for the audit log.
    pub actor: Actor,
    rule: PhantomData<R>,
}

/// Any user, or who acts as one; for what belongs to the user and to no business.
#[derive(Debug)]
pub struct SignedIn {
    /// The user.
    pub user_id: UserId,
    /// Who does it.
    pub actor: Actor,
}

impl SignedIn {
    /// 403 unless it is the user in person: for credentials and all that belongs to them.
    pub fn in_person(&self) -> Result<(), ApiError> {
        match self.actor {
            Actor::User {
                impersonator_id: None,
                ..
            } => Ok(()),
            _ => Err(ApiError::in_person()),
        }
    }
}

/// Anybody.
#[derive(Clone, Copy, Debug)]
pub struct Public;

/// Implements poem-openapi's extractor for something that says who may come in.
macro_rules! security {
    ($type:ty, [$($generics:tt)*], $name:expr, $check:path) => {
        impl<'a, $($generics)*> ApiExtractor<'a> for $type {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
            type ParamType = ();
            type ParamRawType = ();

            fn security_schemes() -> Vec<&'static str> {
                vec![$name]
            }

            async fn from_request(
                request: &'a Request,
                _body: &mut RequestBody,
                _options: ExtractParamOptions<Self::ParamType>,
            ) -> Result<Self> {
                Ok($check(request).await?)
            }
        }
    };
}

security!(Allowed<R>, [R: Rule], R::PERMISSION.name(), allowed);
security!(AllowedIn<R>, [R: Rule], R::PERMISSION.name(), allowed_in);
security!(Staff<R>, [R: Rule], R::PERMISSION.name(), staff);
security!(SignedIn, [], SIGNED_IN, signed_in);
security!(Public, [], PUBLIC, public);

async fn allowed<R: Rule>(request: &Request) -> Result<Allowed<R>, ApiError> {
    let identity = bearer::identify(request).await?;
    let standing = bearer::authorize_in_business(request, &identity, R::PERMISSION, None).await?;
    audit_impersonation(request, &identity, Some(standing.business_id)).await?;
    Ok(Allowed {
        business_id: standing.business_id,
        actor: identity.actor(),
        rule: PhantomData,
    })
}

async fn allowed_in<R: Rule>(request: &Request) -> Result<AllowedIn<R>, ApiError> {
    let identity = bearer::identify(request).await?;
    // poem-openapi numbers what a path names.
    let named = request.raw_path_param("param0").unwrap_or_default();
    let named = Uuid::try_parse(named).map_err(|_| ApiError::invalid("id", "is no UUID"))?;
    let named = Some(BusinessId(named));
    let standing = bearer::authorize_in_business(request, &identity, R::PERMISSION, named).await?;
    audit_impersonation(request, &identity, Some(standing.business_id)).await?;
    Ok(AllowedIn {
        business_id: standing.business_id,
        actor: identity.actor(),
        role: standing.role,
        rule: PhantomData,
    })
}

async fn staff<R: Rule>(request: &Request) -> Result<Staff<R>, ApiError> {
    let identity = identify_user(request).await?;
    match (identity.actor(), identity.platform_role()) {
        (actor @ Actor::User { id, .. }, Some(role)) if role.holds(R::PERMISSION) => Ok(Staff {
            user_id: id,
            actor,
            rule: PhantomData,
        }),
        _ => Err(ApiError::forbidden(R::PERMISSION)),
    }
}

async fn signed_in(request: &Request) -> Result<SignedIn, ApiError> {
    let identity = identify_user(request).await?;
    audit_impersonation(request, &identity, None).await?;
    match identity.actor() {
        actor @ Actor::User { id, .. } => Ok(SignedIn { user_id: id, actor }),
        Actor::ApiKey(_) => Err(ApiError::in_person()),
    }
}

async fn public(request: &Request) -> Result<Public, ApiError> {
    let limits = &context(request).limits;
    limits
        .take(&[limits.address(Origin::of(request).0.address)])
        .await?;
    Ok(Public)
}

/// A user within the limit of what is of no business.
async fn identify_user(request: &Request) -> Result<Identity, ApiError> {
    let identity = bearer::identify(request).await?;
    if let Some(user_id) = identity.actor().user_id() {
        let limits = &context(request).limits;
        limits.take(&[limits.user(&user_id)]).await?;
    }
    Ok(identity)
}

/// Writes down that somebody acts as another, before they do: what is not written down is not done.
async fn audit_impersonation(
    request: &Request,
    identity: &Identity,
    business_id: Option<BusinessId>,
) -> Result<(), ApiError> {
    let Identity::User { holder, .. } = identity else {
        return Ok(());
    };
    if holder.impersonator_id.is_none() {
        return Ok(());
    }
    let context = context(request);
    let event = audit::Event {
        business_id,
        actor: identity.actor().for_audit(),
        action: "impersonation.request",
        object_kind: "user",
        object_id: holder.user_id.to_string(),
        details: json!({ "method": request.method().as_str(), "path": request.original_uri().path() }),
    };
    let mut tx = database::platform(&context.pool).await?;
    audit::record(&mut tx, &event, &Origin::of(request).0, context.clock.now()).await?;
    tx.commit().await?;
    Ok(())
}
