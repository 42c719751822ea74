//! Which user of ours a person of another issuer is.

use chrono::{DateTime, Utc};
use common::database;
use common::database::audit::{self, Actor, Event};
use common::database::identity::identities;
use common::database::identity::users::{self, NewUser, User};
use common::domain::Language;
use common::providers::oidc::Person;
use serde_json::json;
use sqlx::PgConnection;

use crate::auth::Origin;
use crate::context::Context;
use crate::error::ApiError;

/// The user `person` is: the one they were before, else the one with the same proved e-mail address, else a new one.
pub(crate) async fn user_of(
    context: &Context,
    person: &Person,
    origin: &Origin,
) -> Result<User, ApiError> {
    let now = context.clock.now();
    let mut tx = database::platform(&context.pool).await?;
    let known = identities::find_user_for_update(&mut tx, &person.issuer, &person.subject).await?;
    let user = match known {
        Some(user) => user,
        None => new_identity(&mut tx, person, origin, now).await?,
    };
    if user.deactivated_at.is_some() {
        return Err(ApiError::unauthorized());
    }
    tx.commit().await?;
    Ok(user)
}

async fn new_identity(
    conn: &mut PgConnection,
    person: &Person,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<User, ApiError> {
    let existing = match &person.email {
        Some(email) => users::find_by_email(conn, email).await?,
        None => None,
    };
    let (user, action) = match existing {
        // Whoever signed up with an address they cannot read waits for its reader to come by another issuer; and an issuer
        // that lets anybody claim any address would give away every account.
        Some(user) if !person.email_is_verified || user.email_verified_at.is_none() => {
            return Err(taken());
        }
        Some(user) => (user, "identity.linked"),
        None => (
            users::sign_up(conn, &new_user(person), now).await?,
            "user.created",
        ),
    };
    identities::insert(conn, &person.issuer, &person.subject, user.id, now).await?;
    let event = Event {
        business_id: None,
        actor: Actor::User(user.id, None),
        action,
        object_kind: "user",
        object_id: user.id.to_string(),
        details: json!({ "issuer": person.issuer, "subject": person.subject }),
    };
    audit::record(conn, &event, &origin.0, now).await?;
    Ok(user)
}

fn new_user(person: &Person) -> NewUser {
    let of_email = || {
        let (local, _) = person.email.as_ref()?.as_str().split_once('@')?;
        Some(local.to_owned())
    };
    NewUser {
        email: person.email.as_ref().map(ToString::to_string),
        email_is_verified: person.email_is_verified,
        phone: None,
        password_hash: None,
        name: person
            .name
            .clone()
            .or_else(of_email)
            .unwrap_or_else(|| "Anonymous".to_owned()),
        avatar_url: person.picture.clone(),
        language: person
            .locale
            .as_deref()
            .and_then(Language::from_tag)
            .unwrap_or_default(),
    }
}

fn taken() -> ApiError {
    ApiError::conflict(
        "an account with this e-mail address exists: sign in the way you did before, and verify the address in both places",
    )
}
