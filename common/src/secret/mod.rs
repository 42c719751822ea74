//! Secrets at rest: sealed with keys that the master key wraps, kept only as a hash, or derived and not kept at all.

mod cipher;
mod code;
mod envelope;
mod keyed;
pub mod password;

pub use code::OneTimeCode;
pub use envelope::{Sealer, WrappedKey, manychat_key_place};
pub use keyed::{DerivationKey, Purpose};
pub use password::{Password, PasswordHasher};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

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
