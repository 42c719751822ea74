//! `relais business`: businesses of the operator's own.

use std::io::Write;

use clap::Subcommand;
use common::database::businesses::settings;
use common::database::{self, audit, data_keys};
use common::domain::BusinessId;
use common::secret::{self, Sealer};
use common::{Clock, Config};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::PgPool;

use crate::seed;

/// What to do with businesses.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Create a business; prints its id, an API key and its webhook secret, which are shown this once.
    Create {
        /// Its name.
        #[arg(long)]
        name: String,
        /// The language it answers in where nothing else says: `fr` or `en`.
        #[arg(long, default_value = "fr", value_parser = ["fr", "en"])]
        language: String,
        /// What it may use: `free`, `premium`, `vip`.
        #[arg(long, default_value = "vip")]
        plan: String,
        /// The environment variable that holds its ManyChat API key.
        #[arg(long, value_name = "VARIABLE")]
        manychat_key_env: Option<String>,
    },
    /// Connect a business to ManyChat, or change its key.
    ConnectManychat {
        /// The business's id.
        id: uuid::Uuid,
        /// The environment variable that holds its ManyChat API key.
        #[arg(long, value_name = "VARIABLE")]
        manychat_key_env: String,
    },
}

/// Does it, as the services' role.
///
/// # Errors
///
/// What went wrong, in words.
pub async fn run(command: Command, config: &Config) -> Result<(), String> {
    let told = |error: common::Error| error.to_string();
    let pool = database::connect_lazy(&config.stores.database_url, 1).map_err(told)?;
    let sealer = Sealer::new(&config.secrets).map_err(told)?;
    let clock = Clock::default();
    match command {
        Command::Create {
            name,
            language,
            plan,
            manychat_key_env,
        } => {
            let key = manychat_key_env.as_deref().map(from_env).transpose()?;
            let language = common::domain::Language::from_tag(&language).unwrap_or_default();
            let key = key.as_ref();
            let made = seed::business(&pool, &clock, &sealer, &name, language, &plan, key);
            let made = made.await.map_err(told)?;
            writeln!(
                std::io::stdout(),
                "business        {}\nAPI key         {}\nwebhook secret  {}",
                made.business_id,
                made.api_key.expose_secret(),
                made.webhook_secret.expose_secret(),
            )
            .map_err(|error| format!("the keys could not be printed: {error}"))
        }
        Command::ConnectManychat {
            id,
            manychat_key_env,
        } => {
            connect(
                &pool,
                &sealer,
                BusinessId(id),
                &from_env(&manychat_key_env)?,
            )
            .await
        }
    }
}

async fn connect(
    pool: &PgPool,
    sealer: &Sealer,
    business_id: BusinessId,
    key: &SecretString,
) -> Result<(), String> {
    if !seed::is_there(pool, business_id)
        .await
        .map_err(|error| error.to_string())?
    {
        return Err(format!("there is no business {business_id}"));
    }
    let place = secret::manychat_key_place(business_id);
    let connected = async {
        let now = Clock::default().now();
        let mut tx = database::business(pool, business_id).await?;
        let key_bytes = data_keys::seal(&mut tx, sealer, business_id, key, &place, now).await?;
        settings::set_manychat_key(&mut tx, business_id, Some(&key_bytes), now).await?;
        let event = audit::Event {
            business_id: Some(business_id),
            actor: audit::Actor::Operator,
            action: "settings.changed",
            object_kind: "settings",
            object_id: business_id.to_string(),
            details: json!({ "fields": ["manychat_api_key"] }),
        };
        audit::record(&mut tx, &event, &audit::Origin::default(), now).await?;
        tx.commit().await?;
        Ok::<_, common::Error>(())
    };
    connected.await.map_err(|error| error.to_string())
}

/// Keys come from the environment: on a command line everybody on the machine could read them.
fn from_env(variable: &str) -> Result<SecretString, String> {
    let value = std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty());
    value
        .map(SecretString::from)
        .ok_or_else(|| format!("{variable} is not set"))
}
