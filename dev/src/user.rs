//! `relais user`: who runs the platform. The first admin is made here; the others by an admin.

use clap::{Subcommand, ValueEnum};
use common::database::identity::directory::{self, StandingChange};
use common::database::identity::users;
use common::database::{self, audit};
use common::domain::{EmailAddress, Role};
use common::{Clock, Config};
use serde_json::json;
use sqlx::PgPool;

/// What to do with users.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Give a user a role on the platform.
    Role {
        /// The user's e-mail address.
        #[arg(long)]
        email: String,
        /// The role.
        #[arg(long, value_enum)]
        role: NamedRole,
    },
    /// End a user's sessions, and let no new one begin.
    Deactivate {
        /// The user's e-mail address.
        #[arg(long)]
        email: String,
    },
    /// Let a user sign in again.
    Reactivate {
        /// The user's e-mail address.
        #[arg(long)]
        email: String,
    },
}

/// A role on the platform, on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NamedRole {
    /// Anybody who signed up.
    User,
    /// Finds users and acts for them.
    Support,
    /// Runs the platform.
    Admin,
    /// A machine.
    Service,
}

impl From<NamedRole> for Role {
    fn from(role: NamedRole) -> Self {
        match role {
            NamedRole::User => Self::User,
            NamedRole::Support => Self::Support,
            NamedRole::Admin => Self::Admin,
            NamedRole::Service => Self::Service,
        }
    }
}

/// Does it, as the services' role. Ingresses that run hear of it within 5 s.
///
/// # Errors
///
/// What went wrong, in words.
pub async fn run(command: Command, config: &Config) -> Result<(), String> {
    let pool = database::connect_lazy(&config.stores.database_url, 1)
        .map_err(|error| error.to_string())?;
    let (email, change) = match command {
        Command::Role { email, role } => (
            email,
            StandingChange {
                role: Some(role.into()),
                is_active: None,
            },
        ),
        Command::Deactivate { email } => (
            email,
            StandingChange {
                role: None,
                is_active: Some(false),
            },
        ),
        Command::Reactivate { email } => (
            email,
            StandingChange {
                role: None,
                is_active: Some(true),
            },
        ),
    };
    let told = |error: common::Error| error.to_string();
    let address = EmailAddress::new(&email, "--email").map_err(told)?;
    if apply(&pool, &address, change).await.map_err(told)? {
        Ok(())
    } else {
        Err(format!("there is no user with the address {address}"))
    }
}

/// Whether there is such a user.
async fn apply(
    pool: &PgPool,
    email: &EmailAddress,
    change: StandingChange,
) -> common::Result<bool> {
    let now = Clock::default().now();
    let mut tx = database::platform(pool).await?;
    let Some(user) = users::find_by_email(&mut tx, email).await? else {
        return Ok(false);
    };
    directory::change_standing(&mut tx, user.id, change, now).await?;
    let event = audit::Event {
        business_id: None,
        actor: audit::Actor::Operator,
        action: "user.changed",
        object_kind: "user",
        object_id: user.id.to_string(),
        details: json!({ "role": change.role.map(Role::name), "active": change.is_active }),
    };
    audit::record(&mut tx, &event, &audit::Origin::default(), now).await?;
    tx.commit().await?;
    Ok(true)
}
