//! Access tokens: JWTs of ours, HS256 and nothing else.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::domain::{Role, SessionId, UserId};
use common::secret::{DerivationKey, Purpose};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `iss` and `aud` of our tokens: another issuer's token signed with the same secret is not one of ours.
pub(super) const ISSUER: &str = "relais";

/// How far in the future a token may have been issued: clocks of two machines differ.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// What an access token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    /// The user it acts as.
    pub sub: Uuid,
    /// Their e-mail address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub email: Option<String>,
    /// Their role on the platform when it was issued: for clients to read; decisions go by the database.
    pub role: String,
    /// The session: revoked, the token is worth nothing.
    pub sid: Uuid,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970.
    pub exp: i64,
    /// Its own id.
    pub jti: Uuid,
    /// Who acts as the user (RFC 8693); absent: the user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<Acting>,
}

/// Who acts as another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Acting {
    /// Their user id.
    pub sub: Uuid,
}

/// Whom an access token is for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The user it acts as.
    pub user_id: UserId,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Their role on the platform.
    pub role: Role,
    /// The session it belongs to.
    pub session_id: SessionId,
    /// Who acts as the user; `None`: the user.
    pub impersonator_id: Option<UserId>,
}

/// Signs access tokens and checks them.
pub struct AccessTokens {
    signs: EncodingKey,
    checks: DecodingKey,
    validation: Validation,
    lifetime: Duration,
}

impl AccessTokens {
    /// Signs with a key derived from `secret`; tokens live for `lifetime`.
    pub fn new(secret: &SecretString, lifetime: Duration) -> Self {
        let key = DerivationKey::new(secret, Purpose::AccessTokens);
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        // Checked by our own clock below.
        validation.validate_exp = false;
        Self {
            signs: EncodingKey::from_secret(key.bytes()),
            checks: DecodingKey::from_secret(key.bytes()),
            validation,
            lifetime,
        }
    }

    /// How long a token lives.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A token for `subject`, valid for `lifetime` from `now`.
    ///
    /// # Errors
    ///
    /// Never in practice: the claims are plain JSON.
    pub fn issue(
        &self,
        subject: &Subject,
        lifetime: Duration,
        now: DateTime<Utc>,
    ) -> Result<SecretString, jsonwebtoken::errors::Error> {
        let iat = now.timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: subject.user_id.0,
            email: subject.email.clone(),
            role: subject.role.name().to_owned(),
            sid: subject.session_id.0,
            iat,
            exp: iat.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
            jti: Uuid::now_v7(),
            act: subject.impersonator_id.map(|id| Acting { sub: id.0 }),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signs)
            .map(SecretString::from)
    }

    /// What a token says, if it is ours and in its time; whether its session still stands is another question.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Claims> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.checks, &self.validation)
            .ok()?
            .claims;
        let in_its_time = claims.exp > now.timestamp() && claims.iat <= (now + SKEW).timestamp();
        in_its_time.then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn tokens(secret: &str) -> AccessTokens {
        AccessTokens::new(&secret.repeat(32).into(), Duration::from_mins(1))
    }

    fn subject() -> Subject {
        Subject {
            user_id: UserId::new(),
            email: Some("a@example.org".to_owned()),
            role: Role::User,
            session_id: SessionId::new(),
            impersonator_id: None,
        }
    }

    #[test]
    fn a_token_is_taken_in_its_time_and_by_its_key_only() {
        let ours = tokens("a");
        let token = ours.issue(&subject(), ours.lifetime(), now()).unwrap();
        let token = token.expose_secret();

        assert!(ours.verify(token, now()).is_some());
        assert!(ours.verify(token, now() + TimeDelta::seconds(60)).is_none());
        assert!(ours.verify(token, now() - TimeDelta::seconds(61)).is_none());
        assert!(tokens("b").verify(token, now()).is_none());
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as base64;
        let ours = tokens("a");
        let token = ours.issue(&subject(), ours.lifetime(), now()).unwrap();
        let parts: Vec<&str> = token.expose_secret().split('.').collect();

        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS384"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"nOnE"}"#,
            "{}",
        ] {
            for signature in ["", parts[2]] {
                let forged = format!("{}.{}.{signature}", base64.encode(header), parts[1]);
                assert!(ours.verify(&forged, now()).is_none(), "{header}");
            }
        }
    }
}
