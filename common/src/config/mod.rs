//! Configuration from the environment: typed, read once in `main`, every problem told at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

mod env;
mod identity;

use env::Env;
pub use identity::{
    CodesConfig, GoogleConfig, IdentityConfig, IssuerConfig, MailConfig, SupabaseConfig,
    TwilioConfig,
};

/// Where everything is and how much of it to use. `.env.example` documents every variable.
#[derive(Clone, Debug)]
pub struct Config {
    /// PostgreSQL and Redis.
    pub stores: StoresConfig,
    /// Keys that protect what is stored.
    pub secrets: SecretsConfig,
    /// How much of everything.
    pub limits: LimitsConfig,
    /// Who signs in, and how.
    pub identity: IdentityConfig,
    /// Models that answer and embed.
    pub models: ModelsConfig,
    /// The object store.
    pub objects: ObjectsConfig,
    /// Logs, traces.
    pub telemetry: TelemetryConfig,
    /// `RELAIS_BIND`: where the ingress listens.
    pub bind: SocketAddr,
    /// `RELAIS_OPERATIONS_BIND`: where workers and scheduler serve health and metrics; `None`: nowhere.
    pub operations_bind: Option<SocketAddr>,
    /// `MANYCHAT_BASE_URL`
    pub manychat_base_url: String,
    /// `MANYCHAT_TIMEOUT_SECONDS`: how long a delivery may take; past it its outcome is unknown.
    pub manychat_timeout: Duration,
    /// `RELAIS_BURST_QUIET_MS`: how long a channel must be quiet before a burst is answered.
    pub burst_quiet: Duration,
    /// `RELAIS_SHUTDOWN_GRACE_SECONDS`: how long running work may take to finish at a stop.
    pub shutdown_grace: Duration,
    /// `RELAIS_JOB_RETENTION_DAYS`: how long ended jobs are kept.
    pub job_retention: Duration,
}

/// PostgreSQL and Redis.
#[derive(Clone, Debug)]
pub struct StoresConfig {
    /// `DATABASE_URL`: as the services' role, which cannot bypass row-level security.
    pub database_url: SecretString,
    /// `DATABASE_OWNER_URL`: as the owner, for migrations; `None`: somebody else migrates.
    pub database_owner_url: Option<SecretString>,
    /// `DATABASE_MAX_CONNECTIONS`: per process.
    pub database_max_connections: u32,
    /// `REDIS_URL`
    pub redis_url: SecretString,
}

/// Keys that protect what is stored.
#[derive(Clone, Debug)]
pub struct SecretsConfig {
    /// `RELAIS_MASTER_KEY`: 32 bytes in hex; wraps the keys that seal secrets at rest.
    pub master_key: SecretString,
    /// `RELAIS_PREVIOUS_MASTER_KEYS`: opens what was wrapped before; `relais keys rotate` makes them needless.
    pub previous_master_keys: Vec<SecretString>,
}

/// How much of everything. What asks a model is limited by the plan as well.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig {
    /// `RATE_LIMIT_REQUESTS`: a minute, of a business, or of a user where it is of no business.
    pub requests_per_minute: u32,
    /// `RATE_LIMIT_SIGN_INS`: a minute, from one address.
    pub sign_ins_per_minute: u32,
    /// `RATE_LIMIT_SIGN_INS_PER_IDENTITY`: a minute, as one e-mail address or the like.
    pub sign_ins_per_identity_per_minute: u32,
}

/// Models that answer and embed.
#[derive(Clone, Debug)]
pub struct ModelsConfig {
    /// `CHAT_PROVIDERS`: who answers, in order of preference.
    pub chat_providers: Vec<String>,
    /// `CHAT_MODEL`: `None`: each provider's default.
    pub chat_model: Option<String>,
    /// `EMBEDDING_PROVIDER`
    pub embedding_provider: String,
    /// `EMBEDDING_MODEL`: `None`: the provider's default.
    pub embedding_model: Option<String>,
    /// `OPENAI_API_KEY`
    pub openai_api_key: Option<SecretString>,
    /// `OPENAI_BASE_URL`
    pub openai_base_url: String,
    /// `MODEL_TIMEOUT_SECONDS`: the longest wait for the next piece of an answer.
    pub timeout: Duration,
}

/// The object store: a local folder unless a bucket is named.
#[derive(Clone, Debug)]
pub struct ObjectsConfig {
    /// `RELAIS_DATA_DIR`
    pub data_dir: PathBuf,
    /// `S3_BUCKET`: `None`: files lie in the data folder.
    pub s3: Option<S3Config>,
}

/// A bucket of an S3-compatible service.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// `S3_BUCKET`
    pub bucket: String,
    /// `S3_REGION`
    pub region: String,
    /// `S3_ENDPOINT`: `None`: Amazon's own.
    pub endpoint: Option<String>,
    /// `S3_ACCESS_KEY_ID`
    pub access_key_id: SecretString,
    /// `S3_SECRET_ACCESS_KEY`
    pub secret_access_key: SecretString,
}

/// Logs and traces.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// `RUST_LOG`
    pub filter: String,
    /// `RELAIS_LOG_FORMAT`: `json` or `text`.
    pub json: bool,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: `None`: no traces are sent.
    pub otlp_endpoint: Option<String>,
}

/// Everything that is wrong with the environment.
#[derive(Debug, thiserror::Error)]
#[error("configuration is not usable:\n  - {}", .0.join("\n  - "))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    ///
    /// Every missing or malformed variable, at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(std::env::vars().collect())
    }

    /// Reads `vars` as if they were the environment.
    pub fn from_vars(vars: HashMap<String, String>) -> Result<Self, ConfigError> {
        let mut env = Env {
            vars,
            problems: Vec::new(),
        };
        let config = Self {
            stores: StoresConfig {
                database_url: env.required_secret("DATABASE_URL"),
                database_owner_url: env.secret("DATABASE_OWNER_URL"),
                database_max_connections: env.parsed("DATABASE_MAX_CONNECTIONS", 20),
                redis_url: env.required_secret("REDIS_URL"),
            },
            secrets: SecretsConfig {
                master_key: env.master_key(),
                previous_master_keys: env.previous_master_keys(),
            },
            limits: LimitsConfig::read(&mut env),
            identity: IdentityConfig::read(&mut env),
            models: ModelsConfig::read(&mut env),
            objects: ObjectsConfig::read(&mut env),
            telemetry: TelemetryConfig::read(&mut env),
            bind: env.parsed("RELAIS_BIND", SocketAddr::from(([127, 0, 0, 1], 8080))),
            operations_bind: env.optional("RELAIS_OPERATIONS_BIND"),
            manychat_base_url: env.url("MANYCHAT_BASE_URL", "https://api.manychat.com"),
            manychat_timeout: Duration::from_secs(env.parsed("MANYCHAT_TIMEOUT_SECONDS", 15)),
            burst_quiet: Duration::from_millis(env.parsed("RELAIS_BURST_QUIET_MS", 1_000)),
            shutdown_grace: Duration::from_secs(env.parsed("RELAIS_SHUTDOWN_GRACE_SECONDS", 25)),
            job_retention: Duration::from_hours(
                24 * env.parsed("RELAIS_JOB_RETENTION_DAYS", 7_u64),
            ),
        };
        if env.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(env.problems))
        }
    }

    /// Where people reach the ingress, without a slash at its end.
    pub fn public_url(&self) -> String {
        let bound = || format!("http://{}", self.bind);
        self.identity.public_url.clone().unwrap_or_else(bound)
    }
}

impl LimitsConfig {
    fn read(env: &mut Env) -> Self {
        let mut limit = |name, default| {
            let limit = env.parsed(name, default);
            if limit == 0 {
                env.problem(format!("{name} is 0: nobody could do anything"));
            }
            limit
        };
        Self {
            requests_per_minute: limit("RATE_LIMIT_REQUESTS", 1_200),
            sign_ins_per_minute: limit("RATE_LIMIT_SIGN_INS", 30),
            sign_ins_per_identity_per_minute: limit("RATE_LIMIT_SIGN_INS_PER_IDENTITY", 10),
        }
    }
}

impl ModelsConfig {
    fn read(env: &mut Env) -> Self {
        let chat_providers = match env.text("CHAT_PROVIDERS") {
            Some(_) => env.list("CHAT_PROVIDERS"),
            None => vec!["offline".to_owned()],
        };
        let config = Self {
            chat_providers,
            chat_model: env.text("CHAT_MODEL"),
            embedding_provider: env
                .text("EMBEDDING_PROVIDER")
                .unwrap_or_else(|| "offline".to_owned()),
            embedding_model: env.text("EMBEDDING_MODEL"),
            openai_api_key: env.secret("OPENAI_API_KEY"),
            openai_base_url: env.url("OPENAI_BASE_URL", "https://api.openai.com/v1"),
            timeout: Duration::from_secs(env.parsed("MODEL_TIMEOUT_SECONDS", 60)),
        };
        for name in config
            .chat_providers
            .iter()
            .chain([&config.embedding_provider])
        {
            match name.as_str() {
                "offline" => {}
                "openai" if config.openai_api_key.is_some() => {}
                "openai" => {
                    env.problem("OPENAI_API_KEY is needed where the provider `openai` is named");
                }
                other => env.problem(format!(
                    "`{other}` is no provider of this version: use `openai` or `offline`"
                )),
            }
        }
        if config.chat_providers.is_empty() {
            env.problem("CHAT_PROVIDERS names nobody: use `offline` to answer without a model");
        }
        config
    }
}

impl ObjectsConfig {
    fn read(env: &mut Env) -> Self {
        let data_dir = env
            .text("RELAIS_DATA_DIR")
            .unwrap_or_else(|| ".relais".to_owned())
            .into();
        let s3 = env.text("S3_BUCKET").map(|bucket| S3Config {
            bucket,
            region: env
                .text("S3_REGION")
                .unwrap_or_else(|| "us-east-1".to_owned()),
            endpoint: env.text("S3_ENDPOINT"),
            access_key_id: env.required_secret("S3_ACCESS_KEY_ID"),
            secret_access_key: env.required_secret("S3_SECRET_ACCESS_KEY"),
        });
        Self { data_dir, s3 }
    }
}

impl TelemetryConfig {
    fn read(env: &mut Env) -> Self {
        let format = env
            .text("RELAIS_LOG_FORMAT")
            .unwrap_or_else(|| "json".to_owned());
        if !["json", "text"].contains(&format.as_str()) {
            env.problem(format!(
                "RELAIS_LOG_FORMAT is `{format}`: use `json` or `text`"
            ));
        }
        Self {
            filter: env.text("RUST_LOG").unwrap_or_else(|| "info".to_owned()),
            json: format == "json",
            otlp_endpoint: env.text("OTEL_EXPORTER_OTLP_ENDPOINT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let error = Config::from_vars(vars(&[
            ("REDIS_URL", "redis://localhost"),
            ("RELAIS_MASTER_KEY", "short"),
            ("RELAIS_BIND", "nonsense"),
            ("CHAT_PROVIDERS", "openai,hal9000"),
        ]))
        .unwrap_err()
        .to_string();

        for part in [
            "DATABASE_URL is not set",
            "64 hexadecimal",
            "RELAIS_BIND is `nonsense`",
            "OPENAI_API_KEY",
            "hal9000",
        ] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let config = Config::from_vars(vars(&[
            (
                "DATABASE_URL",
                "postgres://relais_app:hunter2@localhost/relais",
            ),
            ("REDIS_URL", "redis://:hunter2@localhost"),
            ("RELAIS_MASTER_KEY", &"ab".repeat(32)),
            ("JWT_SECRET", &"cd".repeat(32)),
        ]))
        .unwrap();

        let printed = format!("{config:?}");
        assert!(
            ["hunter2", "abab", "cdcd"]
                .iter()
                .all(|secret| !printed.contains(secret)),
            "{printed}"
        );
    }
}
