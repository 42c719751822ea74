//! What the mail with an invitation needs.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{BusinessId, InvitationId};
use crate::error::Result;

/// What the mail with an invitation needs.
#[derive(Clone, Debug)]
pub struct Invited {
    /// Where it goes.
    pub email: String,
    /// The business's name.
    pub business: String,
    /// Who invites; `None`: an API key, or somebody who has left since.
    pub by: Option<String>,
    /// The language of the business.
    pub language: String,
}

/// What the mail with an invitation needs; `None`: it is not open any more. As the business.
pub async fn find(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: InvitationId,
    now: DateTime<Utc>,
) -> Result<Option<Invited>> {
    let invited = sqlx::query_as!(
        Invited,
        r#"
        SELECT invitations.email, businesses.name AS business, users.name AS "by?", business_settings.language
        FROM invitations
        JOIN businesses ON businesses.id = invitations.business_id
        JOIN business_settings ON business_settings.business_id = invitations.business_id
        LEFT JOIN users ON users.id = invitations.invited_by
        WHERE invitations.business_id = $1 AND invitations.id = $2
          AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $3
        "#,
        business_id as _,
        id as _,
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(invited)
}
