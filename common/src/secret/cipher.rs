//! One key, and what is sealed with it.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::error::{Error, Result};

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;

/// Bytes of the nonce in front of what [`Cipher`] writes: 192 random bits never meet again.
const NONCE_BYTES: usize = 24;

/// Seals with one key.
pub(super) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub(super) fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(XChaCha20Poly1305::new(&Key::from(key)))
    }

    /// Seals `secret` for `place` (table, column and row): moved anywhere else, it does not open.
    pub(super) fn seal(&self, secret: &[u8], place: &str) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: secret,
            aad: place.as_bytes(),
        };
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret is far shorter than the cipher's limit of 256 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`Self::seal`] wrote for the same `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the key, the place or the bytes are not those of the sealing.
    pub(super) fn open(&self, sealed: &[u8], place: &str) -> Result<Vec<u8>> {
        let corrupt = || Error::Corrupt("sealed secret");
        let (nonce, message) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(corrupt)?;
        let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| corrupt())?;
        let payload = Payload {
            msg: message,
            aad: place.as_bytes(),
        };
        self.0
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| corrupt())
    }
}
