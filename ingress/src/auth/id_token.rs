//! Bearers of other issuers' ID tokens.

use common::database;
use common::database::identity::identities;
use common::database::identity::sessions::Holder;

use super::Origin;
use crate::context::Context;
use crate::error::ApiError;
use crate::open_id;

/// Whose an ID token is; a person who is new signs up with it. The token is checked each time, its user every few seconds.
pub(super) async fn holder_of(
    context: &Context,
    token: &str,
    origin: impl FnOnce() -> Origin,
) -> Result<Holder, ApiError> {
    let person = open_id::verify(context, token).await?;
    let key = (person.issuer.clone(), person.subject.clone());
    let load = async {
        let mut tx = database::platform_relaxed(&context.pool).await?;
        let holder = identities::find_holder(&mut tx, &person.issuer, &person.subject).await?;
        tx.commit().await?;
        Ok(holder)
    };
    let known = context
        .access
        .learn(&context.access.identities, key, load)
        .await?;
    if let Some(holder) = known {
        return Ok(holder);
    }
    let user = open_id::user_of(context, &person, &origin()).await?;
    Ok(Holder {
        user_id: user.id,
        role: user.role()?,
        impersonator_id: None,
    })
}
