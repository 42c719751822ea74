//! Issuers, and what is particular to each kind.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::ExposeSecret;
use serde_json::Value;
use url::{Host, Url};

use super::claims::{Claims, is_true};
use super::keys::PublishedKeys;
use super::verify::{self, Unverified};
use super::{Person, Refusal};
use crate::config::{IdentityConfig, SupabaseConfig};

/// Google's issuer, and the name it had before, which some of its tokens still bear.
const GOOGLE: (&str, &str) = ("https://accounts.google.com", "accounts.google.com");

/// Where Firebase publishes the keys of all its projects.
const FIREBASE_KEYS: &str =
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";

/// The algorithms published keys are used with.
const ASYMMETRIC: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// What is particular to an issuer.
enum Kind {
    /// As the standard has it.
    Standard,
    Google,
    /// `takes_unsigned`: its emulator's tokens too.
    Firebase {
        takes_unsigned: bool,
    },
    /// With the secret of a project that still signs with HS256.
    Supabase {
        secret: Option<DecodingKey>,
    },
}

/// Somebody whose ID tokens are taken.
pub(super) struct Issuer {
    name: String,
    audiences: Vec<String>,
    kind: Kind,
    keys: Arc<PublishedKeys>,
}

/// The issuers `config` names. One that is named several times has several audiences.
pub(super) fn configured(config: &IdentityConfig, client: &reqwest::Client) -> Vec<Arc<Issuer>> {
    let mut issuers: Vec<Issuer> = Vec::new();
    let google = config.google.iter().map(|google| {
        let issuer = google.issuer.clone();
        Issuer::new(issuer, &google.client_id, Kind::Google, None, client)
    });
    let firebase = config.firebase_project_id.iter().map(|project| {
        let kind = Kind::Firebase {
            takes_unsigned: config.firebase_emulator_host.is_some(),
        };
        let issuer = format!("https://securetoken.google.com/{project}");
        Issuer::new(issuer, project, kind, Some(FIREBASE_KEYS.into()), client)
    });
    let supabase = config.supabase.iter().map(|supabase| {
        let SupabaseConfig { url, jwt_secret } = supabase;
        let secret = jwt_secret
            .as_ref()
            .map(|secret| DecodingKey::from_secret(secret.expose_secret().as_bytes()));
        let issuer = format!("{url}/auth/v1");
        let keys = Some(format!("{issuer}/.well-known/jwks.json"));
        let kind = Kind::Supabase { secret };
        Issuer::new(issuer, "authenticated", kind, keys, client)
    });
    let others = config.issuers.iter().map(|other| {
        let kind = if other.issuer == GOOGLE.0 {
            Kind::Google
        } else {
            Kind::Standard
        };
        Issuer::new(other.issuer.clone(), &other.audience, kind, None, client)
    });
    for issuer in google.chain(firebase).chain(supabase).chain(others) {
        match issuers.iter_mut().find(|known| known.name == issuer.name) {
            Some(known) => known.audiences.extend(issuer.audiences),
            None => issuers.push(issuer),
        }
    }
    issuers.into_iter().map(Arc::new).collect()
}

impl Issuer {
    fn new(
        name: String,
        audience: &str,
        kind: Kind,
        keys: Option<String>,
        client: &reqwest::Client,
    ) -> Self {
        Self {
            keys: PublishedKeys::new(name.clone(), keys, client.clone()),
            audiences: vec![audience.to_owned()],
            name,
            kind,
        }
    }

    /// Its one name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a token with this `iss` is its.
    pub(super) fn goes_by(&self, name: &str) -> bool {
        name == self.name || self.name == GOOGLE.0 && name == GOOGLE.1
    }

    /// What is known of it.
    pub(super) fn keys(&self) -> &Arc<PublishedKeys> {
        &self.keys
    }

    /// Tells the operator what is only for development.
    pub(super) fn warn(&self) {
        let issuer = self.name.as_str();
        if matches!(
            self.kind,
            Kind::Firebase {
                takes_unsigned: true
            }
        ) {
            tracing::warn!(
                issuer,
                "FIREBASE_AUTH_EMULATOR_HOST is set: anybody can sign in as anybody; for development only"
            );
        }
        let is_local = |url: &Url| match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if Url::parse(issuer).is_ok_and(|url| url.scheme() != "https" && !is_local(&url)) {
            tracing::warn!(
                issuer,
                "the keys of this issuer come without TLS: whoever is in between can sign in as anybody"
            );
        }
    }

    /// Whom a token is about, if it is this issuer's, for us, in its time and, where one is expected, with this nonce.
    pub(super) async fn verify(
        &self,
        token: &Unverified<'_>,
        nonce: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Person, Refusal> {
        let claims = self.authenticate(token, now).await?;
        // Chosen by what was not verified yet.
        if !claims.text("iss").is_some_and(|name| self.goes_by(name)) {
            return Err(Refusal::UnknownIssuer);
        }
        verify::check(&claims, &self.audiences, nonce, now)?;
        self.check_particulars(&claims)?;
        Ok(Person {
            issuer: self.name.clone(),
            subject: claims.subject()?.to_owned(),
            email: claims.email(),
            email_is_verified: self.vouches_for_email(&claims),
            name: claims.name(),
            picture: claims.picture(),
            locale: claims.text("locale").map(str::to_owned),
        })
    }

    /// What the token says, if this issuer wrote it.
    async fn authenticate(
        &self,
        token: &Unverified<'_>,
        now: DateTime<Utc>,
    ) -> Result<Claims, Refusal> {
        match (&self.kind, token.algorithm()?) {
            (
                Kind::Firebase {
                    takes_unsigned: true,
                },
                None,
            ) => token.unsigned(),
            (
                Kind::Supabase {
                    secret: Some(secret),
                },
                Some(Algorithm::HS256),
            ) => token.signed(secret, Algorithm::HS256),
            (_, Some(algorithm)) if ASYMMETRIC.contains(&algorithm) => {
                let key = self.keys.find(token.key_id(), algorithm, now).await?;
                token.signed(&key, algorithm)
            }
            _ => Err(Refusal::Algorithm),
        }
    }

    fn check_particulars(&self, claims: &Claims) -> Result<(), Refusal> {
        match self.kind {
            // People of a tenant of Identity Platform are another directory's.
            Kind::Firebase { .. } if claims.within("firebase", "tenant").is_some() => {
                Err(Refusal::Claim("firebase.tenant"))
            }
            // A project's own API keys are tokens too, with the roles `anon` and `service_role`.
            Kind::Supabase { .. } if claims.text("role") != Some("authenticated") => {
                Err(Refusal::Claim("role"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the issuer itself vouches for the address; where in doubt, it does not.
    fn vouches_for_email(&self, claims: &Claims) -> bool {
        let verified = claims.holds("email_verified");
        match self.kind {
            Kind::Standard | Kind::Firebase { .. } => verified,
            // Of an address that is not Google's own it knew once who reads it.
            Kind::Google => {
                let is_its_own = claims
                    .email()
                    .is_some_and(|email| email.as_str().ends_with("@gmail.com"));
                verified && (is_its_own || claims.text("hd").is_some_and(|hd| !hd.is_empty()))
            }
            // `user_metadata` is the user's to write, whatever it says.
            Kind::Supabase { .. } => {
                let of_the_server: Option<&Value> = claims.within("app_metadata", "email_verified");
                verified || of_the_server.is_some_and(is_true)
            }
        }
    }
}
