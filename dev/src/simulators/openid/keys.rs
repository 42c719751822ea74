//! The simulator's keys. They are in this repository, and so nobody's secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

const RSA: [&[u8]; 2] = [
    include_bytes!("keys/rsa-1.der"),
    include_bytes!("keys/rsa-2.der"),
];

const P256: &[u8] = include_bytes!("keys/p256.der");

/// A key that signs.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    /// RSA key number 1 or 2, published as `id`.
    pub fn rsa(id: &str, number: usize) -> Self {
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_der(RSA[number - 1]),
        }
    }

    /// A key on the curve P-256, published as `id`.
    pub fn p256(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(P256),
        }
    }

    /// A shared secret, never published.
    pub fn shared(secret: &[u8]) -> Self {
        Self {
            id: "shared".to_owned(),
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(secret),
        }
    }

    /// The public half, as it is published.
    ///
    /// # Panics
    ///
    /// Never: the keys are known to be good.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm)
            .and_then(|jwk| Ok(serde_json::to_value(jwk)?));
        let mut jwk = jwk.expect("the key is good");
        jwk["kid"] = self.id.as_str().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token as this key signs them.
    pub fn sign(&self, claims: &Value) -> String {
        let algorithm = format!("{:?}", self.algorithm);
        self.sign_with(
            &json!({ "alg": algorithm, "kid": self.id, "typ": "JWT" }),
            claims,
        )
    }

    /// A token with any header.
    ///
    /// # Panics
    ///
    /// Never: the keys are known to be good.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.expect("the key is good"))
    }
}

/// A token without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.", message(header, claims))
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}
