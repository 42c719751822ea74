//! Users of tests, signed in without a password: hashing one takes a quarter of a second.

use std::time::Duration;

use common::database;
use common::database::identity::memberships;
use common::database::identity::sessions::{self, NewSession};
use common::database::identity::users::{self, NewUser};
use common::domain::{BusinessId, Language, MemberRole, Role, SessionId, UserId};
use ingress::auth::{AccessTokens, Subject};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};

use super::Platform;

/// A user who is signed in.
#[derive(Clone, Debug)]
pub struct TestUser {
    /// Who.
    pub id: UserId,
    /// Verified.
    pub email: String,
    /// The sign-in.
    pub session_id: SessionId,
    /// Good for 30 days.
    pub access_token: SecretString,
    /// The personal business.
    pub business_id: BusinessId,
}

impl Platform {
    /// A new user as a sign-up makes one, signed in: `<name>@example.org`, or `<name>-2@…` where there is that one already.
    pub async fn user(&self, name: &str) -> TestUser {
        let now = self.clock.now();
        let email = self.free_email(&name.to_lowercase()).await;
        let new = NewUser {
            email: Some(email.clone()),
            email_is_verified: true,
            phone: None,
            password_hash: None,
            name: name.to_owned(),
            avatar_url: None,
            language: Language::English,
        };
        let mut tx = database::platform(&self.pool).await.unwrap();
        let user = users::sign_up(&mut tx, &new, now).await.unwrap();
        let session_id = SessionId::new();
        let session = NewSession {
            id: session_id,
            user_id: user.id,
            impersonator_id: None,
            address: None,
            user_agent: None,
            expires_at: now + Duration::from_hours(24 * 30),
        };
        sessions::insert(&mut tx, &session, now).await.unwrap();
        tx.commit().await.unwrap();
        let subject = Subject {
            user_id: user.id,
            email: Some(email.clone()),
            role: Role::User,
            session_id,
            impersonator_id: None,
        };
        let month = Duration::from_hours(24 * 30);
        let tokens = AccessTokens::new(&self.config.identity.jwt_secret, month);
        TestUser {
            id: user.id,
            email,
            session_id,
            access_token: tokens.issue(&subject, month, now).unwrap(),
            business_id: user.default_business_id.unwrap(),
        }
    }

    async fn free_email(&self, name: &str) -> String {
        let taken =
            "SELECT count(*) FROM users WHERE email LIKE $1 || '@%' OR email LIKE $1 || '-%'";
        let taken: i64 = sqlx::query_scalar(taken)
            .bind(name)
            .fetch_one(&self.owner)
            .await
            .unwrap();
        match taken {
            0 => format!("{name}@example.org"),
            more => format!("{name}-{}@example.org", more + 1),
        }
    }

    /// As [`Self::user`], with a role on the platform.
    pub async fn staff(&self, name: &str, role: Role) -> TestUser {
        let user = self.user(name).await;
        let promote = sqlx::query("UPDATE users SET role = $2 WHERE id = $1");
        let promoted = promote
            .bind(user.id)
            .bind(role.name())
            .execute(&self.owner)
            .await;
        promoted.unwrap();
        user
    }

    /// As [`Self::user`], and a member of the seeded business.
    pub async fn member(&self, name: &str, role: MemberRole) -> TestUser {
        let user = self.user(name).await;
        let mut tx = database::platform(&self.pool).await.unwrap();
        let business_id = self.business.business_id;
        memberships::insert(&mut tx, business_id, user.id, role, self.clock.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        user
    }

    /// A request with a bearer token.
    pub fn as_bearer(&self, token: &SecretString, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, self.url(path))
            .bearer_auth(token.expose_secret())
    }
}
