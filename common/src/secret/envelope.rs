//! Envelope encryption: a business's secrets are sealed with a data key of its own, which the master key wraps.
//!
//! A sealed secret is one byte of version, the data key's id, and what [`Cipher`] writes. What was sealed before there were data
//! keys is what [`Cipher`] writes with the master key, and still opens.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::cipher::{Cipher, KEY_BYTES};
use super::{from_hex, to_hex};
use crate::config::SecretsConfig;
use crate::domain::{BusinessId, DataKeyId};
use crate::error::{Error, Result};

/// What a secret begins with that is sealed with a data key.
const WITH_DATA_KEY: u8 = 1;

/// Digits of a master key's fingerprint.
const FINGERPRINT_DIGITS: usize = 16;

/// A data key as it is kept: sealed itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which.
    pub id: DataKeyId,
    /// Whose secrets it seals.
    pub business_id: BusinessId,
    /// The key, sealed with a master key.
    pub wrapped: Vec<u8>,
    /// The fingerprint of that master key.
    pub master_key_id: String,
}

impl WrappedKey {
    /// Where it is kept, so that it opens nowhere else.
    fn place(&self) -> String {
        format!("data_keys/{}/{}", self.business_id, self.id)
    }

    /// What a secret begins with that is sealed with it.
    fn mark(&self) -> Vec<u8> {
        [&[WITH_DATA_KEY], self.id.0.as_bytes().as_slice()].concat()
    }

    /// Whether `sealed` was sealed with it.
    pub fn sealed(&self, sealed: &[u8]) -> bool {
        sealed.starts_with(&self.mark())
    }
}

struct MasterKey {
    /// Tells keys apart, and nothing of the key.
    id: String,
    cipher: Cipher,
}

impl MasterKey {
    fn new(key: &SecretString, variable: &'static str) -> Result<Self> {
        let bytes = from_hex(key.expose_secret())
            .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok())
            .ok_or_else(|| Error::invalid(variable, "must be 64 hexadecimal digits"))?;
        let digest = Sha256::new()
            .chain_update(b"relais/master-key")
            .chain_update(bytes)
            .finalize();
        let mut id = to_hex(&digest);
        id.truncate(FINGERPRINT_DIGITS);
        Ok(Self {
            id,
            cipher: Cipher::new(bytes),
        })
    }
}

/// Seals and opens businesses' secrets, so that a copy of the database does not give them away.
pub struct Sealer {
    /// Wraps; the others only open what they wrapped before.
    current: MasterKey,
    previous: Vec<MasterKey>,
}

impl Sealer {
    /// # Errors
    ///
    /// [`Error::Invalid`] unless each key is 32 bytes in hex.
    pub fn new(config: &SecretsConfig) -> Result<Self> {
        let previous = config.previous_master_keys.iter();
        Ok(Self {
            current: MasterKey::new(&config.master_key, "RELAIS_MASTER_KEY")?,
            previous: previous
                .map(|key| MasterKey::new(key, "RELAIS_PREVIOUS_MASTER_KEYS"))
                .collect::<Result<_>>()?,
        })
    }

    /// The fingerprint of the master key that wraps.
    pub fn master_key_id(&self) -> &str {
        &self.current.id
    }

    /// A data key for `business_id`, which seals nothing before it is kept.
    pub fn new_data_key(&self, business_id: BusinessId) -> WrappedKey {
        let key = WrappedKey {
            id: DataKeyId::new(),
            business_id,
            wrapped: Vec::new(),
            master_key_id: String::new(),
        };
        self.wrap(key, rand::random())
    }

    /// The same key under the current master key.
    ///
    /// # Errors
    ///
    /// As [`Self::seal`].
    pub fn rewrap(&self, key: &WrappedKey) -> Result<WrappedKey> {
        Ok(self.wrap(key.clone(), self.unwrap(key)?))
    }

    /// Seals `secret` with `key` for `place` (table, column and row): moved anywhere else, it does not open.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where no master key at hand opens `key`.
    pub fn seal(&self, key: &WrappedKey, secret: &SecretString, place: &str) -> Result<Vec<u8>> {
        let cipher = Cipher::new(self.unwrap(key)?);
        let sealed = cipher.seal(secret.expose_secret().as_bytes(), place);
        Ok([key.mark(), sealed].concat())
    }

    /// Opens what was sealed for the same `place`, with `key` or, before there were data keys, with a master key.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the keys, the place or the bytes are not those of the sealing.
    pub fn open(
        &self,
        key: Option<&WrappedKey>,
        sealed: &[u8],
        place: &str,
    ) -> Result<SecretString> {
        let bytes = match key {
            Some(key) if key.sealed(sealed) => {
                Cipher::new(self.unwrap(key)?).open(&sealed[key.mark().len()..], place)
            }
            _ => self
                .master_keys()
                .find_map(|master| master.cipher.open(sealed, place).ok())
                .ok_or(Error::Corrupt("sealed secret")),
        }?;
        String::from_utf8(bytes)
            .map(SecretString::from)
            .map_err(|_| Error::Corrupt("sealed secret"))
    }

    /// Seals as was done before there were data keys: for the tests of those who still have such secrets.
    pub fn seal_without_data_key(&self, secret: &SecretString, place: &str) -> Vec<u8> {
        let secret = secret.expose_secret().as_bytes();
        self.current.cipher.seal(secret, place)
    }

    fn wrap(&self, mut key: WrappedKey, bytes: [u8; KEY_BYTES]) -> WrappedKey {
        key.wrapped = self.current.cipher.seal(&bytes, &key.place());
        key.master_key_id.clone_from(&self.current.id);
        key
    }

    fn unwrap(&self, key: &WrappedKey) -> Result<[u8; KEY_BYTES]> {
        let master = self
            .master_keys()
            .find(|master| master.id == key.master_key_id)
            .ok_or(Error::Corrupt("data key: its master key is not at hand"))?;
        let bytes = master.cipher.open(&key.wrapped, &key.place())?;
        bytes.try_into().map_err(|_| Error::Corrupt("data key"))
    }

    fn master_keys(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// The place of a business's ManyChat API key, for [`Sealer`].
pub fn manychat_key_place(business_id: BusinessId) -> String {
    format!("business_settings/{business_id}/manychat_api_key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(current: &str, previous: &[&str]) -> Sealer {
        Sealer::new(&SecretsConfig {
            master_key: current.repeat(32).into(),
            previous_master_keys: previous.iter().map(|key| key.repeat(32).into()).collect(),
        })
        .unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_only_in_its_place_and_with_its_keys() {
        let ours = sealer("01", &[]);
        let (key, other) = (
            ours.new_data_key(BusinessId::new()),
            ours.new_data_key(BusinessId::new()),
        );
        let sealed = ours.seal(&key, &"page:key".into(), "settings/1").unwrap();

        let opened = ours.open(Some(&key), &sealed, "settings/1").unwrap();
        assert_eq!(opened.expose_secret(), "page:key");
        assert!(ours.open(Some(&key), &sealed, "settings/2").is_err());
        assert!(ours.open(Some(&key), &sealed[..20], "settings/1").is_err());
        assert!(ours.open(Some(&other), &sealed, "settings/1").is_err());
        assert!(ours.open(None, &sealed, "settings/1").is_err());
        let theirs = sealer("02", &[]);
        assert!(theirs.open(Some(&key), &sealed, "settings/1").is_err());
        // Neither is a data key good for another business.
        let moved = WrappedKey {
            business_id: BusinessId::new(),
            ..key
        };
        assert!(ours.open(Some(&moved), &sealed, "settings/1").is_err());
    }

    #[test]
    fn another_master_key_opens_what_was_wrapped_anew() {
        let old = sealer("01", &[]);
        let key = old.new_data_key(BusinessId::new());
        let sealed = old.seal(&key, &"page:key".into(), "a").unwrap();

        let both = sealer("02", &["01"]);
        assert!(both.open(Some(&key), &sealed, "a").is_ok());
        let key = both.rewrap(&key).unwrap();
        assert!(sealer("02", &[]).open(Some(&key), &sealed, "a").is_ok());
        assert!(old.open(Some(&key), &sealed, "a").is_err());
    }

    #[test]
    fn what_was_sealed_before_there_were_data_keys_opens() {
        let sealed = sealer("01", &[]).seal_without_data_key(&"page:key".into(), "a");
        let both = sealer("02", &["01"]);
        let key = both.new_data_key(BusinessId::new());
        for key in [None, Some(&key)] {
            let opened = both.open(key, &sealed, "a").unwrap();
            assert_eq!(opened.expose_secret(), "page:key");
            assert!(sealer("02", &[]).open(key, &sealed, "a").is_err());
        }
    }
}
