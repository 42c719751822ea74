//! Secrets that are derived with a key instead of being kept: a copy of the database has none of them.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use uuid::Uuid;

use super::cipher::Cipher;
use super::{from_hex, to_hex};

/// What a [`DerivationKey`] is for. Each purpose has a key of its own, so that no token passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Access tokens, which are signed with it.
    AccessTokens,
    /// A refresh token's successor.
    RefreshTokens,
    /// Links in mails.
    EmailProofs,
    /// Invitations.
    Invitations,
    /// The hashes of one-time codes.
    PhoneCodes,
    /// What a browser keeps while it signs in elsewhere.
    SignInState,
    /// Answers kept for those who ask again.
    IdempotencyRecords,
    /// What stands in the audit log for a name that proved to be nobody's.
    Pseudonyms,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::AccessTokens => "relais/access-tokens",
            Self::RefreshTokens => "relais/refresh-tokens",
            Self::EmailProofs => "relais/email-proofs",
            Self::Invitations => "relais/invitations",
            Self::PhoneCodes => "relais/phone-codes",
            Self::SignInState => "relais/sign-in-state",
            Self::IdempotencyRecords => "relais/idempotency-records",
            Self::Pseudonyms => "relais/pseudonyms",
        }
    }
}

/// The key of one [`Purpose`], derived from `JWT_SECRET`.
#[derive(Clone)]
pub struct DerivationKey([u8; 32]);

impl DerivationKey {
    /// The key for `purpose`.
    pub fn new(secret: &SecretString, purpose: Purpose) -> Self {
        Self(tag(
            secret.expose_secret().as_bytes(),
            &[purpose.label().as_bytes()],
        ))
    }

    /// The key's bytes, for those who sign with it.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA-256 of `parts`, each with its length in front: `["ab", "c"]` is not `["a", "bc"]`.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        tag(&self.0, parts)
    }

    /// Seals `text` for `place`, for somebody else to keep.
    pub fn seal(&self, text: &str, place: &str) -> Vec<u8> {
        Cipher::new(self.0).seal(text.as_bytes(), place)
    }

    /// What [`Self::seal`] sealed for the same place; `None`: it was not sealed with this key, or there.
    pub fn open(&self, sealed: &[u8], place: &str) -> Option<SecretString> {
        let opened = Cipher::new(self.0).open(sealed, place).ok()?;
        String::from_utf8(opened).ok().map(SecretString::from)
    }

    /// The secret token that stands for the row `id`: `<id>_<tag>`, in hex.
    pub fn token(&self, id: Uuid) -> SecretString {
        format!("{}_{}", id.simple(), to_hex(&self.tag(&[id.as_bytes()]))).into()
    }

    /// The row [`Self::token`] was made for; `None`: it was not made with this key.
    pub fn open_token(&self, token: &str) -> Option<Uuid> {
        let (id, tagged) = token.split_once('_')?;
        let id = (id.len() == 32).then(|| Uuid::try_parse(id).ok())??;
        mac(&self.0, &[id.as_bytes()])
            .verify_slice(&from_hex(tagged)?)
            .ok()?;
        Some(id)
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    mac(key, parts).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_with_its_key_and_purpose_only() {
        let secret = SecretString::from("s".repeat(32));
        let key = DerivationKey::new(&secret, Purpose::EmailProofs);
        let id = Uuid::now_v7();
        let token = key.token(id);
        let token = token.expose_secret();

        assert_eq!(key.open_token(token), Some(id));
        let other = DerivationKey::new(&secret, Purpose::Invitations);
        assert_eq!(other.open_token(token), None);
        assert_eq!(key.open_token(&token[..token.len() - 2]), None);
        assert_eq!(
            key.open_token(&token.replace(
                &id.simple().to_string(),
                &Uuid::now_v7().simple().to_string()
            )),
            None
        );
    }

    #[test]
    fn parts_do_not_run_together() {
        let key = DerivationKey::new(&"s".into(), Purpose::PhoneCodes);
        assert_ne!(key.tag(&[b"ab", b"c"]), key.tag(&[b"a", b"bc"]));
    }
}
