//! The checks every token passes, whoever issued it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::claims::Claims;
use super::{LONGEST_TOKEN, Refusal};

/// How much an issuer's clock may differ from ours, in seconds.
const SKEW: i64 = 60;

/// A token that was read and not checked yet: nothing it says may be believed.
pub(super) struct Unverified<'a> {
    token: &'a str,
    header: Header,
    has_signature: bool,
    pub(super) claims: Claims,
}

/// The header, without the ways it has of bringing its own keys: `jku`, `jwk`, `x5u` and `x5c` are not even read.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Unverified<'a> {
    /// Reads a token of three parts.
    pub(super) fn read(token: &'a str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = token.splitn(4, '.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(Refusal::Malformed);
        };
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            token,
            header: part(header)?,
            has_signature: !signature.is_empty(),
            claims: part(claims)?,
        })
    }

    /// The algorithm it claims to be signed with; `None`: not signed.
    pub(super) fn algorithm(&self) -> Result<Option<Algorithm>, Refusal> {
        if self.header.crit.is_some() {
            return Err(Refusal::CriticalHeader);
        }
        if self.header.alg == "none" {
            return Ok(None);
        }
        let known = self.header.alg.parse().map_err(|_| Refusal::Algorithm)?;
        Ok(Some(known))
    }

    /// The key it claims to be signed with.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// What it says, if `key` signed it.
    pub(super) fn signed(
        &self,
        key: &DecodingKey,
        algorithm: Algorithm,
    ) -> Result<Claims, Refusal> {
        let mut signature_alone = Validation::new(algorithm);
        // The rest is checked below, by the caller's clock.
        signature_alone.required_spec_claims.clear();
        signature_alone.validate_exp = false;
        signature_alone.validate_aud = false;
        jsonwebtoken::decode(self.token, key, &signature_alone)
            .map(|token| token.claims)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidAlgorithm => Refusal::UnsuitableKey,
                ErrorKind::InvalidSignature => Refusal::Signature,
                _ => Refusal::Malformed,
            })
    }

    /// What it says, if it does not even pretend to be signed.
    pub(super) fn unsigned(&self) -> Result<Claims, Refusal> {
        if self.has_signature {
            return Err(Refusal::Signature);
        }
        part(self.token.split('.').nth(1).unwrap_or_default())
    }
}

/// A part of a token.
fn part<T: for<'de> Deserialize<'de>>(encoded: &str) -> Result<T, Refusal> {
    let json = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Refusal::Malformed)
}

/// Checks whom the claims are for, their time and their nonce.
pub(super) fn check(
    claims: &Claims,
    ours: &[String],
    nonce: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let is_ours = |name: &str| ours.iter().any(|own| own == name);
    let audiences = claims.audiences();
    if !audiences.iter().any(|audience| is_ours(audience)) {
        return Err(Refusal::Audience);
    }
    // Of several, the one who asked for it is told apart.
    if audiences.len() > 1 && !claims.text("azp").is_some_and(is_ours) {
        return Err(Refusal::AuthorizedParty);
    }
    let now = now.timestamp();
    let expires = claims.time("exp")?.ok_or(Refusal::Claim("exp"))?;
    if expires <= now - SKEW {
        return Err(Refusal::Expired);
    }
    let issued = claims.time("iat")?.ok_or(Refusal::Claim("iat"))?;
    if issued > now + SKEW {
        return Err(Refusal::IssuedInTheFuture);
    }
    if claims
        .time("nbf")?
        .is_some_and(|begins| begins > now + SKEW)
    {
        return Err(Refusal::NotYetValid);
    }
    if nonce.is_some_and(|nonce| claims.text("nonce") != Some(nonce)) {
        return Err(Refusal::Nonce);
    }
    claims.subject()?;
    Ok(())
}
