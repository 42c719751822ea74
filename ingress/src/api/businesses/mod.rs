//! Businesses: what they say of themselves, their stages, their end.

mod invitations;
mod members;
mod profile;
mod settings;
mod settings_objects;

use std::sync::Arc;

use common::database::businesses::{profile as businesses, settings as all_settings};
use common::database::identity::memberships;
use common::database::{self, audit};
use common::domain::{BusinessId, MemberRole, Stage};
use common::{Error, Result as CommonResult};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use invitations::Invitations;
pub(crate) use members::Members;
pub(crate) use settings::BusinessSettings;

use self::profile::{BusinessResponse, CreateBusinessRequest, UpdateBusinessRequest};
use super::Tag;
use super::named::Named;
use super::page::{Page, PageRequest};
use crate::auth::{Actor, AllowedIn, Origin, SignedIn, can};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// Businesses one user may own.
const MOST_OWNED: i64 = 20;

#[derive(ApiResponse)]
enum Created {
    /// Made, and the caller owns it.
    #[oai(status = 201)]
    Created(Json<BusinessResponse>),
}

#[derive(ApiResponse)]
enum Deleting {
    /// Nothing works for it any more; until `erase_after` it can be restored.
    #[oai(status = 202)]
    Accepted(Json<BusinessResponse>),
}

/// A stage to move to.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "MoveToStage", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct StageRequest {
    /// `idea` or `established`.
    stage: Named<Stage>,
}

/// The operations on businesses themselves.
pub(crate) struct Businesses;

#[OpenApi(prefix_path = "/businesses", tag = "Tag::Businesses")]
impl Businesses {
    /// List the user's businesses.
    ///
    /// With the user's role in each; those being deleted too.
    #[oai(path = "/", method = "get", operation_id = "list_businesses")]
    async fn list(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<BusinessResponse>>, ApiError> {
        let page = PageRequest::<Uuid>::new(limit.0, cursor.0.as_deref())?;
        let mut tx = database::user(&context.pool, caller.user_id).await?;
        let after = page.after.map(BusinessId);
        let rows = businesses::list_of_user(&mut tx, caller.user_id, after, page.rows()).await?;
        tx.commit().await?;
        let make = |(business, role)| BusinessResponse::new(business, Some(role));
        let page = page.try_page(rows, |(business, _)| business.id.0, make)?;
        Ok(Json(page))
    }

    /// Create a business.
    ///
    /// The caller, in person, becomes its owner. A user owns at most 20.
    #[oai(path = "/", method = "post", operation_id = "create_business")]
    async fn create(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
        origin: Origin,
        body: JsonBody<CreateBusinessRequest>,
    ) -> Result<Created, ApiError> {
        caller.in_person()?;
        let now = context.clock.now();
        let language = Named::or_default(body.0.language);
        let business = body.0.business(now)?;
        let mut tx = database::platform(&context.pool).await?;
        if memberships::count_owned(&mut tx, caller.user_id).await? >= MOST_OWNED {
            let reason = format!("a user owns at most {MOST_OWNED} businesses");
            return Err(ApiError::conflict(reason));
        }
        businesses::insert(&mut tx, &business).await?;
        all_settings::insert(&mut tx, business.id, language, now).await?;
        let owner = MemberRole::Owner;
        memberships::insert(&mut tx, business.id, caller.user_id, owner, now).await?;
        memberships::set_missing_default(&mut tx, business.id, caller.user_id, now).await?;
        let event = event(business.id, caller.actor, "business.created", json!({}));
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        let business = BusinessResponse::new(business, Some(owner))?;
        Ok(Created::Created(Json(business)))
    }

    /// Get a business.
    #[oai(path = "/:id", method = "get", operation_id = "get_business")]
    async fn get(
        &self,
        caller: AllowedIn<can::ReadBusiness>,
        context: Data<&Arc<Context>>,
        #[oai(name = "id")] _id: Path<Uuid>,
    ) -> Result<Json<BusinessResponse>, ApiError> {
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let business = find(&mut tx, caller.business_id).await?;
        tx.commit().await?;
        Ok(Json(BusinessResponse::new(business, caller.role)?))
    }

    /// Change a business.
    ///
    /// What is absent stays as it is; null clears.
    #[oai(path = "/:id", method = "patch", operation_id = "update_business")]
    async fn update(
        &self,
        caller: AllowedIn<can::WriteBusiness>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
        body: JsonBody<UpdateBusinessRequest>,
    ) -> Result<Json<BusinessResponse>, ApiError> {
        let now = context.clock.now();
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        businesses::lock(&mut tx, caller.business_id).await?;
        let mut business = find(&mut tx, caller.business_id).await?;
        let fields = body.0.apply(&mut business)?;
        business.updated_at = now;
        businesses::update(&mut tx, &business).await?;
        let details = json!({ "fields": fields });
        let event = event(business.id, caller.actor, "business.changed", details);
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        Ok(Json(BusinessResponse::new(business, caller.role)?))
    }

    /// Move a business to another stage.
    ///
    /// An idea becomes established, and back; a personal business becomes either, and never personal again.
    #[oai(
        path = "/:id/stage",
        method = "post",
        operation_id = "move_business_to_stage"
    )]
    async fn stage(
        &self,
        caller: AllowedIn<can::WriteBusiness>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
        body: JsonBody<StageRequest>,
    ) -> Result<Json<BusinessResponse>, ApiError> {
        let (now, to) = (context.clock.now(), body.0.stage.0);
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        businesses::lock(&mut tx, caller.business_id).await?;
        let mut business = find(&mut tx, caller.business_id).await?;
        let from = business.stage()?;
        if !from.may_become(to) {
            let reason = format!("from `{}` there is no way to `{}`", from.name(), to.name());
            return Err(ApiError::not_possible(reason));
        }
        to.name().clone_into(&mut business.stage);
        business.updated_at = now;
        businesses::update(&mut tx, &business).await?;
        let details = json!({ "from": from.name(), "to": to.name() });
        let event = event(business.id, caller.actor, "business.stage_changed", details);
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        Ok(Json(BusinessResponse::new(business, caller.role)?))
    }

    /// Delete a business.
    ///
    /// At once nothing works for it: no API key, no webhook, no member's request. For 30 days it can be restored; then it is
    /// erased, with all that belongs to it. A personal business is deleted with its user's account only.
    #[oai(path = "/:id", method = "delete", operation_id = "delete_business")]
    async fn delete(
        &self,
        caller: AllowedIn<can::DeleteBusiness>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
        /// The business's name, so that it is not the wrong one.
        confirm: Query<String>,
    ) -> Result<Deleting, ApiError> {
        let now = context.clock.now();
        // As the platform: it changes what its members have as their default.
        let mut tx = database::platform(&context.pool).await?;
        businesses::lock(&mut tx, caller.business_id).await?;
        let business = find(&mut tx, caller.business_id).await?;
        if business.stage()? == Stage::Personal {
            let reason = "a personal business is deleted with its user's account only";
            return Err(ApiError::not_possible(reason));
        }
        if confirm.0 != business.name {
            return Err(ApiError::invalid("confirm", "is not the business's name"));
        }
        if businesses::mark_deletion_requested(&mut tx, business.id, now).await? {
            memberships::move_default(&mut tx, business.id, None, now).await?;
            let action = "business.deletion_requested";
            let event = event(business.id, caller.actor, action, json!({}));
            audit::record(&mut tx, &event, &origin.0, now).await?;
        }
        let business = find(&mut tx, business.id).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        let business = BusinessResponse::new(business, caller.role)?;
        Ok(Deleting::Accepted(Json(business)))
    }

    /// Keep a business that is being deleted.
    #[oai(
        path = "/:id/restore",
        method = "post",
        operation_id = "restore_business"
    )]
    async fn restore(
        &self,
        caller: AllowedIn<can::RestoreBusiness>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
    ) -> Result<Json<BusinessResponse>, ApiError> {
        let now = context.clock.now();
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        if businesses::restore(&mut tx, caller.business_id, now).await? {
            let event = event(
                caller.business_id,
                caller.actor,
                "business.restored",
                json!({}),
            );
            audit::record(&mut tx, &event, &origin.0, now).await?;
        }
        let business = find(&mut tx, caller.business_id).await?;
        tx.commit().await?;
        if business.deletion_requested_at.is_some() {
            // Its time is over: it is being erased.
            return Err(ApiError::not_found("business"));
        }
        context.access.forget(&context.dispatch).await;
        Ok(Json(BusinessResponse::new(business, caller.role)?))
    }
}

async fn find(
    conn: &mut PgConnection,
    business_id: BusinessId,
) -> CommonResult<businesses::Business> {
    let business = businesses::find(conn, business_id).await?;
    business.ok_or(Error::NotFound("business"))
}

/// That something was done to the business itself.
fn event(
    business_id: BusinessId,
    actor: Actor,
    action: &'static str,
    details: Value,
) -> audit::Event {
    audit::Event {
        business_id: Some(business_id),
        actor: actor.for_audit(),
        action,
        object_kind: "business",
        object_id: business_id.to_string(),
        details,
    }
}
