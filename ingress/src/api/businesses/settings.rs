//! How a business wants its messages handled, and the secrets that go with it.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use common::database::access;
use common::database::businesses::profile;
use common::database::businesses::settings::{self, Settings};
use common::database::{self, audit, data_keys};
use common::domain::BusinessId;
use common::secret;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::settings_objects::{SettingsResponse, UpdateSettingsRequest};
use crate::api::Tag;
use crate::auth::{AllowedIn, Origin, can};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// How long the webhook secret before works on: time to change every flow that carries it.
const OVERLAP: TimeDelta = TimeDelta::hours(24);

/// A new webhook secret, told this once.
#[derive(Object)]
#[oai(rename = "WebhookSecret")]
struct WebhookSecretResponse {
    /// For the header `X-Webhook-Secret`. Keep it: it is not told again.
    webhook_secret: String,
    created_at: DateTime<Utc>,
    /// Until when the one before works; the one before that stopped now.
    previous_expires_at: DateTime<Utc>,
}

#[derive(ApiResponse)]
enum Rotated {
    /// Made.
    #[oai(status = 201)]
    Created(Json<WebhookSecretResponse>),
}

/// The operations on settings.
pub(crate) struct BusinessSettings;

#[OpenApi(prefix_path = "/businesses", tag = "Tag::Businesses")]
impl BusinessSettings {
    /// Get a business's settings.
    #[oai(path = "/:id/settings", method = "get", operation_id = "get_settings")]
    async fn get(
        &self,
        caller: AllowedIn<can::ReadSettings>,
        context: Data<&Arc<Context>>,
        #[oai(name = "id")] _id: Path<Uuid>,
    ) -> Result<Json<SettingsResponse>, ApiError> {
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let settings = find(&mut tx, caller.business_id).await?;
        let now = context.clock.now();
        let secrets = access::list_webhook_secrets(&mut tx, caller.business_id, now).await?;
        tx.commit().await?;
        Ok(Json(SettingsResponse::new(settings, secrets)?))
    }

    /// Change a business's settings.
    ///
    /// What is absent stays as it is; null clears.
    #[oai(
        path = "/:id/settings",
        method = "patch",
        operation_id = "update_settings"
    )]
    async fn update(
        &self,
        caller: AllowedIn<can::WriteSettings>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
        body: JsonBody<UpdateSettingsRequest>,
    ) -> Result<Json<SettingsResponse>, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let mut tx = database::business(&context.pool, business_id).await?;
        profile::lock(&mut tx, business_id).await?;
        let mut settings = find(&mut tx, business_id).await?;
        let told = body.0.apply(&mut settings)?;
        let acknowledged_otherwise = told.fields.contains(&"acknowledgement");
        if let Some(id) = told.character_id
            && !settings::may_use_character(&mut tx, business_id, id).await?
        {
            let reason = "is no character of this business or the platform";
            return Err(ApiError::invalid("default_character_id", reason));
        }
        settings::update(&mut tx, business_id, &settings, now).await?;
        if told.fields.contains(&"manychat_api_key") {
            let key = told.manychat_key.as_ref();
            connect_manychat(&context, &mut tx, business_id, key).await?;
        }
        let event = event(
            business_id,
            caller.actor.for_audit(),
            "settings.changed",
            json!({ "fields": told.fields }),
        );
        audit::record(&mut tx, &event, &origin.0, now).await?;
        let settings = find(&mut tx, business_id).await?;
        let secrets = access::list_webhook_secrets(&mut tx, business_id, now).await?;
        tx.commit().await?;
        if acknowledged_otherwise {
            // Remembered with the webhook's secrets.
            context.access.forget(&context.dispatch).await;
        }
        Ok(Json(SettingsResponse::new(settings, secrets)?))
    }

    /// Make a new webhook secret.
    ///
    /// It is told this once. The one before works for 24 hours more, and any older one stops at once.
    #[oai(
        path = "/:id/settings/webhook-secret",
        method = "post",
        operation_id = "rotate_webhook_secret"
    )]
    async fn rotate(
        &self,
        caller: AllowedIn<can::WriteSettings>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        #[oai(name = "id")] _id: Path<Uuid>,
    ) -> Result<Rotated, ApiError> {
        let (now, business_id) = (context.clock.now(), caller.business_id);
        let expires_at = now + OVERLAP;
        let mut tx = database::business(&context.pool, business_id).await?;
        profile::lock(&mut tx, business_id).await?;
        access::expire_webhook_secret(&mut tx, business_id, expires_at).await?;
        let webhook_secret = access::create_webhook_secret(&mut tx, business_id, now).await?;
        let event = event(
            business_id,
            caller.actor.for_audit(),
            "webhook_secret.rotated",
            json!({ "previous_expires_at": expires_at }),
        );
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(Rotated::Created(Json(WebhookSecretResponse {
            webhook_secret: webhook_secret.expose_secret().to_owned(),
            created_at: now,
            previous_expires_at: expires_at,
        })))
    }
}

async fn find(conn: &mut PgConnection, business_id: BusinessId) -> Result<Settings, ApiError> {
    let settings = settings::find(conn, business_id).await?;
    settings.ok_or_else(|| ApiError::not_found("settings"))
}

/// `None` disconnects.
async fn connect_manychat(
    context: &Context,
    conn: &mut PgConnection,
    business_id: BusinessId,
    key: Option<&SecretString>,
) -> common::Result<()> {
    let now = context.clock.now();
    let place = secret::manychat_key_place(business_id);
    let sealed = match key {
        Some(key) => {
            let sealer = &context.sealer;
            Some(data_keys::seal(&mut *conn, sealer, business_id, key, &place, now).await?)
        }
        None => None,
    };
    settings::set_manychat_key(conn, business_id, sealed.as_deref(), now).await
}

fn event(
    business_id: BusinessId,
    actor: audit::Actor,
    action: &'static str,
    details: serde_json::Value,
) -> audit::Event {
    audit::Event {
        business_id: Some(business_id),
        actor,
        action,
        object_kind: "settings",
        object_id: business_id.to_string(),
        details,
    }
}
