//! Who is in a business, and as what.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::Error;
use common::database::businesses::profile as businesses;
use common::database::identity::memberships::{self, Member};
use common::database::{self, audit};
use common::domain::{BusinessId, MemberRole, Permission, UserId};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::api::named::Named;
use crate::api::page::{Page, PageRequest};
use crate::api::{Gone, Tag};
use crate::auth::{Actor, AllowedIn, Origin, can};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// A user in a business.
#[derive(Debug, Object)]
#[oai(rename = "Member")]
struct MemberResponse {
    user_id: Uuid,
    role: Named<MemberRole>,
    name: String,
    email: Option<String>,
    avatar_url: Option<String>,
    /// Since when.
    created_at: DateTime<Utc>,
}

impl MemberResponse {
    fn new(member: Member) -> Result<Self, Error> {
        Ok(Self {
            user_id: member.user_id.0,
            role: Named::stored(&member.role)?,
            name: member.name,
            email: member.email,
            avatar_url: member.avatar_url,
            created_at: member.created_at,
        })
    }
}

/// Another role for a member.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "UpdateMember", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct UpdateMemberRequest {
    role: Named<MemberRole>,
}

/// The operations on members.
pub(crate) struct Members;

#[OpenApi(prefix_path = "/businesses", tag = "Tag::Businesses")]
impl Members {
    /// List a business's members.
    ///
    /// Those who signed up first come first.
    #[oai(path = "/:id/members", method = "get", operation_id = "list_members")]
    async fn list(
        &self,
        caller: AllowedIn<can::ReadMembers>,
        context: Data<&Arc<Context>>,
        #[oai(name = "id")] _id: Path<Uuid>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<MemberResponse>>, ApiError> {
        let page = PageRequest::<Uuid>::new(limit.0, cursor.0.as_deref())?;
        let after = page.after.map(UserId);
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let rows = memberships::list(&mut tx, caller.business_id, after, page.rows()).await?;
        tx.commit().await?;
        let page = page.try_page(rows, |member| member.user_id.0, MemberResponse::new)?;
        Ok(Json(page))
    }

    /// Give a member another role.
    ///
    /// Only owners make owners, or something else of them; one owner there must be.
    #[oai(
        path = "/:id/members/:user_id",
        method = "patch",
        operation_id = "update_member"
    )]
    async fn update(
        &self,
        caller: AllowedIn<can::WriteMembers>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
        user_id: Path<Uuid>,
        body: JsonBody<UpdateMemberRequest>,
    ) -> Result<Json<MemberResponse>, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let (user_id, to) = (UserId(user_id.0), body.0.role.0);
        let mut tx = database::business(&context.pool, business_id).await?;
        let change = Change::begin(&mut tx, business_id, caller.actor, user_id).await?;
        change.needs(Permission::WriteMembers)?;
        if change.before != to {
            change.concerns_owners(change.before.max(to))?;
            if change.before == MemberRole::Owner {
                change.leaves_an_owner(&mut tx).await?;
            }
            memberships::update_role(&mut tx, business_id, user_id, to).await?;
            let details = json!({ "from": change.before.name(), "to": to.name() });
            let event = change.event("member.role_changed", details);
            audit::record(&mut tx, &event, &origin.0, now).await?;
        }
        let member = memberships::find_member(&mut tx, business_id, user_id).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        let member = member.ok_or_else(|| ApiError::not_found("member"))?;
        Ok(Json(MemberResponse::new(member)?))
    }

    /// Remove a member, or leave.
    ///
    /// Everybody may leave, but for the last owner. To remove others needs `members:write`; owners are removed by owners.
    #[oai(
        path = "/:id/members/:user_id",
        method = "delete",
        operation_id = "remove_member"
    )]
    async fn remove(
        &self,
        caller: AllowedIn<can::LeaveBusiness>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
        user_id: Path<Uuid>,
    ) -> Result<Gone, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let user_id = UserId(user_id.0);
        // As the platform: it changes what the user has as their default.
        let mut tx = database::platform(&context.pool).await?;
        let change = Change::begin(&mut tx, business_id, caller.actor, user_id).await?;
        if !change.is_of_oneself() {
            change.needs(Permission::WriteMembers)?;
            change.concerns_owners(change.before)?;
        }
        if change.before == MemberRole::Owner {
            change.leaves_an_owner(&mut tx).await?;
        }
        memberships::delete(&mut tx, business_id, user_id).await?;
        memberships::move_default(&mut tx, business_id, Some(user_id), now).await?;
        let details = json!({ "role": change.before.name(), "left": change.is_of_oneself() });
        let event = change.event("member.removed", details);
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(Gone::Done)
    }
}

/// A change to a membership, with what both sides are as of now: nobody else changes members until it is done.
struct Change {
    business_id: BusinessId,
    actor: Actor,
    /// The role of who does it.
    own: MemberRole,
    user_id: UserId,
    /// The member's role.
    before: MemberRole,
}

impl Change {
    async fn begin(
        conn: &mut PgConnection,
        business_id: BusinessId,
        actor: Actor,
        user_id: UserId,
    ) -> Result<Self, ApiError> {
        businesses::lock(&mut *conn, business_id).await?;
        let own = actor.user_id().ok_or_else(ApiError::in_person)?;
        // Read again: what the caller was when the request began may have been taken since.
        let own = memberships::find_role(&mut *conn, business_id, own).await?;
        let before = memberships::find_role(conn, business_id, user_id).await?;
        Ok(Self {
            business_id,
            actor,
            own: own.ok_or_else(|| ApiError::not_found("business"))?,
            user_id,
            before: before.ok_or_else(|| ApiError::not_found("member"))?,
        })
    }

    fn is_of_oneself(&self) -> bool {
        self.actor.user_id() == Some(self.user_id)
    }

    fn needs(&self, permission: Permission) -> Result<(), ApiError> {
        if self.own.holds(permission) {
            Ok(())
        } else {
            Err(ApiError::forbidden(permission))
        }
    }

    /// 403 where `highest` of the roles concerned is an owner's, and the caller is none.
    fn concerns_owners(&self, highest: MemberRole) -> Result<(), ApiError> {
        if self.own >= highest {
            Ok(())
        } else {
            Err(ApiError::owners_only())
        }
    }

    async fn leaves_an_owner(&self, conn: &mut PgConnection) -> Result<(), ApiError> {
        let counts = memberships::count(conn, self.business_id).await?;
        if counts.owners > 1 {
            Ok(())
        } else {
            Err(ApiError::conflict("a business has one owner at least"))
        }
    }

    fn event(&self, action: &'static str, details: Value) -> audit::Event {
        audit::Event {
            business_id: Some(self.business_id),
            actor: self.actor.for_audit(),
            action,
            object_kind: "member",
            object_id: self.user_id.to_string(),
            details,
        }
    }
}
