//! One-time codes.

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::DerivationKey;

/// How many codes there are: six digits.
const CODES: u32 = 1_000_000;

/// Six digits that are told to one phone.
#[derive(Clone, Debug)]
pub struct OneTimeCode(SecretString);

impl OneTimeCode {
    /// A new one, each as likely as any other.
    pub fn random() -> Self {
        // Past the last whole multiple the first codes would come up more often.
        let end = u32::MAX - u32::MAX % CODES;
        let number = std::iter::repeat_with(rand::random::<u32>)
            .find(|number| *number < end)
            .expect("the iterator does not end");
        Self(format!("{:06}", number % CODES).into())
    }

    /// What somebody typed; `None`: no code looks like it.
    pub fn read(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|letter| *letter != ' ').collect();
        let is_code = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_code.then(|| Self(digits.into()))
    }

    /// What is kept of it, for the row `id`. Without the key a million tries would find the code.
    pub fn hash(&self, key: &DerivationKey, id: Uuid) -> [u8; 32] {
        key.tag(&[id.as_bytes(), self.0.expose_secret().as_bytes()])
    }

    /// Whether it hashes to `expected`, in time that tells nothing of either.
    pub fn matches(&self, key: &DerivationKey, id: Uuid, expected: &[u8]) -> bool {
        self.hash(key, id).ct_eq(expected).into()
    }

    /// For whoever sends it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Purpose;

    #[test]
    fn a_code_has_six_digits_and_matches_in_its_row_only() {
        let key = DerivationKey::new(&"s".into(), Purpose::PhoneCodes);
        let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
        for _ in 0..1_000 {
            let code = OneTimeCode::random();
            let typed = format!("{} {}", &code.expose()[..3], &code.expose()[3..]);
            let typed = OneTimeCode::read(&typed).unwrap();
            let hash = code.hash(&key, id);
            assert!(typed.matches(&key, id, &hash) && !typed.matches(&key, other, &hash));
        }
        for wrong in ["", "12345", "1234567", "12345a", "１２３４５６", "12345\0"] {
            assert!(OneTimeCode::read(wrong).is_none(), "{wrong}");
        }
    }
}
