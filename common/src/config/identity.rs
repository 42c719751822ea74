//! Who signs in, and how: tokens, issuers, one-time codes, mail.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::env::Env;

/// What sign-in needs.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// `JWT_SECRET`: signs access tokens; the keys of codes, links and refresh tokens are derived from it.
    pub jwt_secret: SecretString,
    /// `ACCESS_TOKEN_SECONDS`
    pub access_token_lifetime: Duration,
    /// `REFRESH_TOKEN_DAYS`: how long a session lives that is not refreshed.
    pub refresh_token_lifetime: Duration,
    /// `RELAIS_PUBLIC_URL`: where people reach the ingress: links in mails and OAuth's redirect URI begin with it.
    /// `None`: at `RELAIS_BIND`.
    pub public_url: Option<String>,
    /// `TRUSTED_PROXIES`: networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `FIREBASE_PROJECT_ID`: `None`: Firebase's tokens are refused.
    pub firebase_project_id: Option<String>,
    /// `FIREBASE_AUTH_EMULATOR_HOST`: with it unsigned tokens are taken, of a project whose id begins with `demo-` only.
    pub firebase_emulator_host: Option<String>,
    /// `SUPABASE_URL`: `None`: Supabase's tokens are refused.
    pub supabase: Option<SupabaseConfig>,
    /// `OIDC_ISSUERS`: other issuers.
    pub issuers: Vec<IssuerConfig>,
    /// `GOOGLE_CLIENT_ID`: `None`: nobody signs in with Google.
    pub google: Option<GoogleConfig>,
    /// How one-time codes are sent.
    pub codes: CodesConfig,
    /// How mails are sent.
    pub mail: MailConfig,
}

/// A Supabase project.
#[derive(Clone, Debug)]
pub struct SupabaseConfig {
    /// `SUPABASE_URL`: `https://<ref>.supabase.co`.
    pub url: String,
    /// `SUPABASE_JWT_SECRET`: of a project that still signs with HS256; `None`: by its published keys only.
    pub jwt_secret: Option<SecretString>,
}

/// An OpenID Connect issuer whose ID tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// `iss`, exactly; its discovery document lies below it.
    pub issuer: String,
    /// `aud`: who we are to it.
    pub audience: String,
}

/// Sign-in with Google.
#[derive(Clone, Debug)]
pub struct GoogleConfig {
    /// `GOOGLE_CLIENT_ID`
    pub client_id: String,
    /// `GOOGLE_CLIENT_SECRET`
    pub client_secret: SecretString,
    /// `GOOGLE_ISSUER`: another issuer that behaves alike, for development.
    pub issuer: String,
}

/// How one-time codes are sent.
#[derive(Clone, Debug)]
pub struct CodesConfig {
    /// `TWILIO_ACCOUNT_SID`: `None`: codes are written to the log, for development.
    pub twilio: Option<TwilioConfig>,
    /// `OTP_COUNTRIES`: ISO 3166 codes of the countries sent to; empty: all.
    pub countries: Vec<String>,
    /// `OTP_DAILY_LIMIT`: codes sent a day, to everybody together.
    pub daily_limit: u32,
}

/// Text messages by Twilio.
#[derive(Clone, Debug)]
pub struct TwilioConfig {
    /// `TWILIO_ACCOUNT_SID`
    pub account_sid: String,
    /// `TWILIO_AUTH_TOKEN`
    pub auth_token: SecretString,
    /// `TWILIO_FROM`: a number, or the id of a messaging service (`MG…`).
    pub from: String,
    /// `TWILIO_BASE_URL`
    pub base_url: String,
}

/// How mails are sent.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// `SMTP_URL`: `None`: mails are written to the log and the data folder, for development.
    pub smtp_url: Option<SecretString>,
    /// `MAIL_FROM`
    pub from: String,
}

impl IdentityConfig {
    pub(super) fn read(env: &mut Env) -> Self {
        let day = 24 * 60 * 60;
        let config = Self {
            jwt_secret: env.signing_secret("JWT_SECRET"),
            access_token_lifetime: Duration::from_secs(env.parsed("ACCESS_TOKEN_SECONDS", 7 * day)),
            refresh_token_lifetime: Duration::from_secs(day * env.parsed("REFRESH_TOKEN_DAYS", 30)),
            public_url: env.optional_url("RELAIS_PUBLIC_URL"),
            trusted_proxies: env.networks("TRUSTED_PROXIES"),
            firebase_project_id: env.text("FIREBASE_PROJECT_ID"),
            firebase_emulator_host: env.text("FIREBASE_AUTH_EMULATOR_HOST"),
            supabase: env.optional_url("SUPABASE_URL").map(|url| SupabaseConfig {
                url,
                jwt_secret: env.secret("SUPABASE_JWT_SECRET"),
            }),
            issuers: env.issuers("OIDC_ISSUERS"),
            google: env.text("GOOGLE_CLIENT_ID").map(|client_id| GoogleConfig {
                client_id,
                client_secret: env.required_secret("GOOGLE_CLIENT_SECRET"),
                issuer: env.url("GOOGLE_ISSUER", "https://accounts.google.com"),
            }),
            codes: CodesConfig {
                twilio: env
                    .text("TWILIO_ACCOUNT_SID")
                    .map(|account_sid| TwilioConfig {
                        account_sid,
                        auth_token: env.required_secret("TWILIO_AUTH_TOKEN"),
                        from: env.required_text("TWILIO_FROM"),
                        base_url: env.url("TWILIO_BASE_URL", "https://api.twilio.com"),
                    }),
                countries: env.list("OTP_COUNTRIES"),
                daily_limit: env.parsed("OTP_DAILY_LIMIT", 1_000),
            },
            mail: MailConfig {
                smtp_url: env.secret("SMTP_URL"),
                from: env
                    .text("MAIL_FROM")
                    .unwrap_or_else(|| "Relais <relais@localhost>".to_owned()),
            },
        };
        let demo = |project: &String| project.starts_with("demo-");
        if config.firebase_emulator_host.is_some()
            && !config.firebase_project_id.as_ref().is_some_and(demo)
        {
            env.problem(
                "FIREBASE_AUTH_EMULATOR_HOST makes unsigned tokens be taken: it is for development, with a FIREBASE_PROJECT_ID that begins with `demo-`",
            );
        }
        config
    }
}

impl Env {
    fn required_text(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.problem(format!("{name} is not set"));
            String::new()
        })
    }

    fn networks(&mut self, name: &str) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for item in self.list(name) {
            match item
                .parse::<IpNet>()
                .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
            {
                Ok(network) => networks.push(network),
                Err(_) => self.problem(format!(
                    "{name} names `{item}`, which is neither an address nor a network"
                )),
            }
        }
        networks
    }

    /// `<issuer>|<audience>`, separated by commas.
    fn issuers(&mut self, name: &str) -> Vec<IssuerConfig> {
        let mut issuers = Vec::new();
        for item in self.list(name) {
            match item.split_once('|') {
                Some((issuer, audience)) if issuer.starts_with("http") && !audience.is_empty() => {
                    issuers.push(IssuerConfig {
                        issuer: issuer.to_owned(),
                        audience: audience.to_owned(),
                    });
                }
                _ => self.problem(format!(
                    "{name} names `{item}`: use `https://issuer|audience`"
                )),
            }
        }
        issuers
    }
}
