//! Who is asked to become a member, and becomes one.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::Error;
use common::database::businesses::profile as businesses;
use common::database::identity::invitations::{self, Invitation};
use common::database::identity::{memberships, users};
use common::database::{self, audit};
use common::domain::{BusinessId, EmailAddress, InvitationId, MemberRole};
use common::queue::jobs::SendMail;
use common::queue::{self, NewJob};
use common::secret::Purpose;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::profile::BusinessResponse;
use crate::api::named::Named;
use crate::api::page::{Page, PageRequest};
use crate::api::{Gone, Tag};
use crate::auth::{Actor, AllowedIn, Origin, SignedIn, can};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// Members a business may have.
const MOST_MEMBERS: i64 = 200;

/// Invitations that may be open at a time: each is a mail to somebody who did not ask for it.
const MOST_OPEN: i64 = 50;

/// The longest token that is looked at.
const LONGEST_TOKEN: usize = 200;

/// An invitation that is open.
#[derive(Debug, Object)]
#[oai(rename = "Invitation")]
struct InvitationResponse {
    id: Uuid,
    email: String,
    role: Named<MemberRole>,
    /// The user who invited; null: somebody since erased.
    invited_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    /// Until when it may be accepted.
    expires_at: DateTime<Utc>,
}

impl InvitationResponse {
    fn new(invitation: Invitation) -> Result<Self, Error> {
        Ok(Self {
            id: invitation.id.0,
            email: invitation.email,
            role: Named::stored(&invitation.role)?,
            invited_by: invitation.invited_by.map(|id| id.0),
            created_at: invitation.created_at,
            expires_at: invitation.expires_at,
        })
    }
}

/// Somebody to be invited.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "InviteMember", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct InviteMemberRequest {
    #[oai(validator(min_length = 3, max_length = 254))]
    email: String,
    /// `member` or `admin`: nobody is invited as an owner.
    role: Named<MemberRole>,
}

/// An invitation's token, as its mail has it.
#[derive(Object, Deserialize)]
#[oai(rename = "AcceptInvitation", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct AcceptInvitationRequest {
    #[oai(validator(min_length = 1, max_length = 200))]
    token: String,
}

#[derive(ApiResponse)]
enum Invited {
    /// A mail with the invitation is on its way.
    #[oai(status = 201)]
    Created(Json<InvitationResponse>),
}

/// The operations on invitations.
pub(crate) struct Invitations;

#[OpenApi(tag = "Tag::Businesses")]
impl Invitations {
    /// Invite somebody by e-mail.
    ///
    /// They have 7 days to accept, signed in with this address. At most 50 invitations are open at a time.
    #[oai(
        path = "/businesses/:id/members",
        method = "post",
        operation_id = "invite_member"
    )]
    async fn invite(
        &self,
        caller: AllowedIn<can::WriteMembers>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
        body: JsonBody<InviteMemberRequest>,
    ) -> Result<Invited, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let email = EmailAddress::new(&body.0.email, "email")?;
        let email = email.as_str();
        let role = body.0.role.0;
        if role == MemberRole::Owner {
            let reason = "nobody is invited as an owner: an owner makes a member one";
            return Err(ApiError::invalid("role", reason));
        }
        let mut tx = database::business(&context.pool, business_id).await?;
        businesses::lock(&mut tx, business_id).await?;
        if invitations::is_member(&mut tx, business_id, email).await? {
            return Err(ApiError::conflict("they are a member already"));
        }
        if invitations::count(&mut tx, business_id, now).await? >= MOST_OPEN {
            let reason = format!("at most {MOST_OPEN} invitations are open at a time");
            return Err(ApiError::conflict(reason));
        }
        let by = caller.actor.user_id();
        let invitation = invitations::insert(&mut tx, business_id, email, role, by, now).await?;
        let mail = NewJob::new(&SendMail::Invitation {
            business_id,
            invitation_id: invitation.id,
        });
        let mail = queue::enqueue(&mut tx, &mail, now).await?;
        let details = json!({ "email": email, "role": role.name() });
        let event = event(
            business_id,
            caller.actor,
            "invitation.created",
            invitation.id,
            details,
        );
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        context.dispatch.push(mail.as_slice()).await;
        let invitation = InvitationResponse::new(invitation)?;
        Ok(Invited::Created(Json(invitation)))
    }

    /// List a business's open invitations.
    #[oai(
        path = "/businesses/:id/invitations",
        method = "get",
        operation_id = "list_invitations"
    )]
    async fn list(
        &self,
        caller: AllowedIn<can::ReadMembers>,
        context: Data<&Arc<Context>>,
        #[oai(name = "id")] _id: Path<Uuid>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<InvitationResponse>>, ApiError> {
        let page = PageRequest::<Uuid>::new(limit.0, cursor.0.as_deref())?;
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let after = page.after.map(InvitationId);
        let mut tx = database::business(&context.pool, business_id).await?;
        let rows = invitations::list(&mut tx, business_id, after, page.rows(), now).await?;
        tx.commit().await?;
        let page = page.try_page(rows, |row| row.id.0, InvitationResponse::new)?;
        Ok(Json(page))
    }

    /// Take an invitation back.
    #[oai(
        path = "/businesses/:id/invitations/:invitation_id",
        method = "delete",
        operation_id = "revoke_invitation"
    )]
    async fn revoke(
        &self,
        caller: AllowedIn<can::WriteMembers>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
        invitation_id: Path<Uuid>,
    ) -> Result<Gone, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let id = InvitationId(invitation_id.0);
        let mut tx = database::business(&context.pool, business_id).await?;
        if !invitations::mark_revoked(&mut tx, business_id, id, now).await? {
            return Err(ApiError::not_found("invitation"));
        }
        let event = event(
            business_id,
            caller.actor,
            "invitation.revoked",
            id,
            json!({}),
        );
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        Ok(Gone::Done)
    }

    /// Accept an invitation.
    ///
    /// For a user in person whose verified e-mail address is the one that was invited. Each is accepted once.
    #[oai(
        path = "/invitations/accept",
        method = "post",
        operation_id = "accept_invitation"
    )]
    async fn accept(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
        origin: Origin,
        body: JsonBody<AcceptInvitationRequest>,
    ) -> Result<Json<BusinessResponse>, ApiError> {
        caller.in_person()?;
        let nowhere = || ApiError::not_found("invitation");
        let (now, user_id) = (context.clock.now(), caller.user_id);
        let id = invitation_of(&context, &body.0.token).ok_or_else(nowhere)?;
        // As the platform: the user is not in the business yet.
        let mut tx = database::platform(&context.pool).await?;
        let accepted = invitations::mark_accepted(&mut tx, id, now).await?;
        let accepted = accepted.ok_or_else(nowhere)?;
        let user = users::find(&mut tx, user_id).await?;
        let user = user.ok_or_else(ApiError::unauthorized)?;
        if user.email_verified_at.is_none() || user.email.as_deref() != Some(&accepted.email) {
            return Err(ApiError::another_address());
        }
        let (business_id, role) = (accepted.business_id, Named::stored(&accepted.role)?.0);
        businesses::lock(&mut tx, business_id).await?;
        if memberships::count(&mut tx, business_id).await?.members >= MOST_MEMBERS {
            let reason = format!("a business has at most {MOST_MEMBERS} members");
            return Err(ApiError::conflict(reason));
        }
        memberships::insert(&mut tx, business_id, user_id, role, now).await?;
        memberships::set_missing_default(&mut tx, business_id, user_id, now).await?;
        let details = json!({ "role": role.name(), "user_id": user_id });
        let event = event(
            business_id,
            caller.actor,
            "invitation.accepted",
            id,
            details,
        );
        audit::record(&mut tx, &event, &origin.0, now).await?;
        let business = super::find(&mut tx, business_id).await?;
        tx.commit().await?;
        Ok(Json(BusinessResponse::new(business, Some(role))?))
    }
}

/// The invitation a token stands for; `None`: it is none of ours.
fn invitation_of(context: &Context, token: &str) -> Option<InvitationId> {
    let token = Some(token.trim()).filter(|token| token.len() <= LONGEST_TOKEN)?;
    context
        .key(Purpose::Invitations)
        .open_token(token)
        .map(InvitationId)
}

fn event(
    business_id: BusinessId,
    actor: Actor,
    action: &'static str,
    id: InvitationId,
    details: Value,
) -> audit::Event {
    audit::Event {
        business_id: Some(business_id),
        actor: actor.for_audit(),
        action,
        object_kind: "invitation",
        object_id: id.to_string(),
        details,
    }
}
