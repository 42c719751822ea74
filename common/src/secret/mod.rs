//! Secrets at rest: sealed with the master key, kept only as a hash, or derived and not kept at all.

mod code;
mod keyed;
pub mod password;

pub use code::OneTimeCode;
pub use keyed::{DerivationKey, Purpose};
pub use password::{Password, PasswordHasher};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::BusinessId;
use crate::error::{Error, Result};

/// Bytes of the nonce in front of what [`Sealer`] writes: 192 random bits never meet again.
const NONCE_BYTES: usize = 24;

/// Seals secrets with the master key, so that a copy of the database does not give them away.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    /// # Errors
    ///
    /// [`Error::Invalid`] unless the key is 32 bytes in hex.
    pub fn new(master_key: &SecretString) -> Result<Self> {
        let bytes = from_hex(master_key.expose_secret())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or_else(|| Error::invalid("RELAIS_MASTER_KEY", "must be 64 hexadecimal digits"))?;
        Ok(Self {
            cipher: XChaCha20Poly1305::new(&Key::from(bytes)),
        })
    }

    /// Seals `secret` for `place` (table, column and row): moved anywhere else, it does not open.
    pub fn seal(&self, secret: &SecretString, place: &str) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: secret.expose_secret().as_bytes(),
            aad: place.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret is far shorter than the cipher's limit of 256 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`Self::seal`] wrote for the same `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the key, the place or the bytes are not those of the sealing.
    pub fn open(&self, sealed: &[u8], place: &str) -> Result<SecretString> {
        let corrupt = || Error::Corrupt("sealed secret");
        let (nonce, message) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(corrupt)?;
        let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| corrupt())?;
        let payload = Payload {
            msg: message,
            aad: place.as_bytes(),
        };
        let bytes = self
            .cipher
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| corrupt())?;
        String::from_utf8(bytes)
            .map(SecretString::from)
            .map_err(|_| corrupt())
    }
}

/// The place of a business's ManyChat API key, for [`Sealer`].
pub fn manychat_key_place(business_id: BusinessId) -> String {
    format!("business_settings/{business_id}/manychat_api_key")
}

/// 256 random bits in hex: a new secret, or the part of one that is.
pub fn random_token() -> String {
    to_hex(&rand::random::<[u8; 32]>())
}

/// The hash a random secret is kept as. Its 256 bits need no salt and no slow hash.
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// Whether `secret` hashes to `hash`, in time that tells nothing of either.
pub fn matches_hash(secret: &str, expected: &[u8]) -> bool {
    hash(secret).ct_eq(expected).into()
}

/// Lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string takes all that is written to it");
            hex
        })
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_in_its_place_and_with_its_key() {
        let ours = Sealer::new(&"01".repeat(32).into()).unwrap();
        let theirs = Sealer::new(&"02".repeat(32).into()).unwrap();
        let sealed = ours.seal(&"page:key".into(), "settings/1");

        assert_eq!(
            ours.open(&sealed, "settings/1").unwrap().expose_secret(),
            "page:key"
        );
        assert!(ours.open(&sealed, "settings/2").is_err());
        assert!(theirs.open(&sealed, "settings/1").is_err());
        assert!(ours.open(&sealed[..10], "settings/1").is_err());
    }
}
