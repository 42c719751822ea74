//! Sign-in with the ID tokens of other issuers: Firebase, Supabase, Google, and any that is configured.

mod google;
mod link;

pub(crate) use google::{
    Callback, SignedInWithGoogle, begin_with_google, callback_url, finish_with_google,
};
pub(crate) use link::user_of;

use common::database::identity::users::User;
use common::providers::oidc::{Person, Refusal};

use crate::auth::Origin;
use crate::context::Context;
use crate::error::ApiError;

/// The user an ID token is about: one we know, one it is safe to take them for, or a new one.
///
/// # Errors
///
/// 401 unless the token is a configured issuer's and the user may sign in; 409 where their e-mail address is another
/// account's and it is not proved that both are theirs.
pub(crate) async fn sign_in_with_id_token(
    context: &Context,
    id_token: &str,
    origin: &Origin,
) -> Result<User, ApiError> {
    let person = verify(context, id_token).await?;
    user_of(context, &person, origin).await
}

/// Whom an ID token is about.
pub(crate) async fn verify(context: &Context, id_token: &str) -> Result<Person, ApiError> {
    let verified = context.issuers.verify(id_token, context.clock.now()).await;
    verified.map_err(refused)
}

/// What a refusal means to whoever sent the token: which check failed is for the log alone.
fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        // Also what our own tokens end as, once they have expired.
        Refusal::Malformed | Refusal::UnknownIssuer => ApiError::unauthorized(),
        Refusal::Unavailable(error) if error.is_transient() => {
            tracing::warn!(%error, "an ID token could not be checked");
            ApiError::unavailable()
        }
        refusal => {
            let cause = std::error::Error::source(&refusal).map(ToString::to_string);
            tracing::info!(reason = %refusal, cause, "an ID token was refused");
            ApiError::unauthorized()
        }
    }
}
