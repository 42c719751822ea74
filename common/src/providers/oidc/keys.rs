//! The keys an issuer publishes, kept for as long as it says, and fetched again when a token names one that is new.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::discovery::{self, Metadata};
use super::{PROVIDER, Refusal};
use crate::providers::ProviderError;

/// How long an issuer is left alone after it was asked: a flood of tokens with made-up keys must not become one of requests.
const BETWEEN_FETCHES: TimeDelta = TimeDelta::seconds(30);

/// The same where nothing is known of it yet, and so nobody could sign in.
const BETWEEN_FIRST_FETCHES: TimeDelta = TimeDelta::seconds(5);

/// How long past their time keys are used while the issuer is away. Later, a key that it has withdrawn since could do harm.
const LONGEST_OUTAGE: TimeDelta = TimeDelta::hours(24);

/// Keys of one set that are looked at.
const MOST_KEYS: usize = 100;

/// The keys an issuer publishes.
pub(super) struct PublishedKeys {
    issuer: String,
    /// `None`: where its discovery document says.
    url: Option<String>,
    client: reqwest::Client,
    known: RwLock<Option<Arc<Known>>>,
    /// When it was last asked, and with what outcome; held while it is asked, so that all who wait share one answer.
    asked: Mutex<Option<(DateTime<Utc>, Option<ProviderError>)>>,
}

/// What is known of an issuer.
pub(super) struct Known {
    /// `None`: not asked for.
    pub(super) metadata: Option<Metadata>,
    keys: Vec<Key>,
    fresh_until: DateTime<Utc>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decodes: DecodingKey,
}

/// A set as it is published. Keys that do not read, or are for something else, do not spoil the others.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl PublishedKeys {
    /// The keys of `issuer`: at `url`, or where its discovery document says.
    pub(super) fn new(issuer: String, url: Option<String>, client: reqwest::Client) -> Arc<Self> {
        Arc::new(Self {
            issuer,
            url,
            client,
            known: RwLock::default(),
            asked: Mutex::default(),
        })
    }

    /// The key named `id` for `algorithm`. One that is not known is asked for once.
    pub(super) async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
        now: DateTime<Utc>,
    ) -> Result<DecodingKey, Refusal> {
        let known = self.known(now).await.map_err(Refusal::Unavailable)?;
        match known.find(id, algorithm) {
            Err(Refusal::UnknownKey) => {}
            found => return found,
        }
        let newer = self.ask(Some(known), now).await;
        newer.map_err(Refusal::Unavailable)?.find(id, algorithm)
    }

    /// What is known of the issuer, fetched where it is not fresh.
    pub(super) async fn known(
        self: &Arc<Self>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Known>, ProviderError> {
        match self.learnt() {
            Some(known) if now < known.fresh_until => Ok(known),
            known => self.ask(known, now).await,
        }
    }

    fn learnt(&self) -> Option<Arc<Known>> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks the issuer, unless somebody did since `seen` was known, or just before.
    ///
    /// In a task of its own: whoever waits may go away, and the answer is for all.
    async fn ask(
        self: &Arc<Self>,
        seen: Option<Arc<Known>>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Known>, ProviderError> {
        let this = Arc::clone(self);
        let asking = tokio::spawn(async move { this.ask_in_turn(seen.as_ref(), now).await });
        asking.await.map_err(|_| ProviderError::Unknown {
            provider: PROVIDER,
            reason: "the request panicked".to_owned(),
        })?
    }

    async fn ask_in_turn(
        &self,
        seen: Option<&Arc<Known>>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Known>, ProviderError> {
        let mut asked = self.asked.lock().await;
        let known = self.learnt();
        let is_newer = match (&known, seen) {
            (Some(known), Some(seen)) => !Arc::ptr_eq(known, seen),
            (Some(_), None) => true,
            (None, _) => false,
        };
        let pause = if known.is_some() {
            BETWEEN_FETCHES
        } else {
            BETWEEN_FIRST_FETCHES
        };
        let is_too_soon = asked
            .as_ref()
            .is_some_and(|(at, _)| (now - *at).abs() < pause);
        if !is_newer && !is_too_soon {
            let outcome = self.fetch(now).await;
            if let Err(error) = &outcome {
                tracing::warn!(issuer = self.issuer, %error, "the keys of an OpenID Connect issuer cannot be had");
            }
            *asked = Some((now, outcome.as_ref().err().cloned()));
            if let Ok(fetched) = outcome {
                let fetched = Arc::new(fetched);
                *self.known.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::clone(&fetched));
                return Ok(fetched);
            }
        }
        let error = asked.as_ref().and_then(|(_, error)| error.clone());
        match (known, error) {
            (Some(known), _) if now < known.fresh_until + LONGEST_OUTAGE => Ok(known),
            (_, Some(error)) => Err(error),
            (_, None) => Err(ProviderError::Unavailable {
                provider: PROVIDER,
                reason: "its keys are too old".to_owned(),
            }),
        }
    }

    async fn fetch(&self, now: DateTime<Utc>) -> Result<Known, ProviderError> {
        let metadata = match self.url {
            Some(_) => None,
            None => Some(discovery::discover(&self.client, &self.issuer).await?),
        };
        let of_metadata = metadata.as_ref().map(|metadata| &metadata.jwks_uri);
        let url = self
            .url
            .as_ref()
            .or(of_metadata)
            .expect("metadata is fetched where no address is configured");
        let (set, lifetime): (Jwks, Duration) = discovery::fetch(&self.client, url).await?;
        let keys = set.keys.into_iter().take(MOST_KEYS);
        Ok(Known {
            metadata,
            keys: keys.filter_map(Key::read).collect(),
            fresh_until: now + lifetime,
        })
    }
}

impl Known {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, Refusal> {
        let mut named = self
            .keys
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id)
            .peekable();
        if named.peek().is_none() || id.is_none() && self.keys.len() != 1 {
            return Err(Refusal::UnknownKey);
        }
        named
            .find(|key| key.algorithm == algorithm)
            .map(|key| key.decodes.clone())
            .ok_or(Refusal::UnsuitableKey)
    }
}

impl Key {
    /// `None`: of a kind, or for a use, that tokens of ours have no use for.
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let (algorithm, its_own) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            _ => return None,
        };
        let signs = jwk
            .common
            .public_key_use
            .is_none_or(|purpose| purpose == PublicKeyUse::Signature)
            && jwk
                .common
                .key_operations
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify))
            && jwk.common.key_algorithm.is_none_or(|told| told == its_own);
        let decodes = match &jwk.algorithm {
            AlgorithmParameters::RSA(key) => DecodingKey::from_rsa_components(&key.n, &key.e),
            AlgorithmParameters::EllipticCurve(key) => {
                DecodingKey::from_ec_components(&key.x, &key.y)
            }
            _ => return None,
        };
        signs.then_some(Self {
            id: jwk.common.key_id,
            algorithm,
            decodes: decodes.ok()?,
        })
    }
}
