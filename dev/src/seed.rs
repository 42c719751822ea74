//! A business to start with: what the demo shows and what tests act as.

use common::database::access::{self, NewApiKey};
use common::database::businesses::{self, NewCharacter, settings};
use common::database::identity::memberships;
use common::database::identity::users::{self, NewUser};
use common::database::{self, data_keys};
use common::domain::{BusinessId, CharacterId, EmailAddress, Language, MemberRole};
use common::secret::{self, Password, PasswordHasher, Sealer};
use common::{Clock, Error, Result};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;

/// Who the demo's assistant is.
const SYSTEM_PROMPT: &str = "You are the assistant of a small business. You answer its customers on WhatsApp: kindly, \
                             briefly, and only from what its documents say.";

/// A business that was created, with the secrets nobody is shown again.
#[derive(Clone, Debug)]
pub struct Seeded {
    /// Which.
    pub business_id: BusinessId,
    /// A key for its API.
    pub api_key: SecretString,
    /// The secret its webhooks carry.
    pub webhook_secret: SecretString,
}

/// Creates a business with a character, an API key and a webhook secret; on `plan`; with a key, ManyChat is connected.
pub async fn business(
    pool: &PgPool,
    clock: &Clock,
    sealer: &Sealer,
    name: &str,
    language: Language,
    plan: &str,
    manychat_key: Option<&SecretString>,
) -> Result<Seeded> {
    let now = clock.now();
    let business_id = BusinessId::new();
    let mut tx = database::business(pool, business_id).await?;
    businesses::insert(&mut tx, business_id, name, language, plan, now).await?;
    let character = NewCharacter {
        id: CharacterId::new(),
        business_id: Some(business_id),
        name: "Camille",
        system_prompt: SYSTEM_PROMPT,
        greeting: Some("Bonjour, je suis Camille. Que puis-je pour vous ?"),
    };
    businesses::insert_default_character(&mut tx, &character, now).await?;
    if let Some(key) = manychat_key {
        let place = secret::manychat_key_place(business_id);
        let key_bytes = data_keys::seal(&mut tx, sealer, business_id, key, &place, now).await?;
        settings::set_manychat_key(&mut tx, business_id, Some(&key_bytes), now).await?;
    }
    let key = NewApiKey {
        business_id,
        name: "seed",
        scopes: &["*".to_owned()],
        expires_at: None,
        created_by: None,
    };
    let (_, api_key) = access::create_api_key(&mut tx, &key, now).await?;
    let webhook_secret = access::create_webhook_secret(&mut tx, business_id, now).await?;
    tx.commit().await?;
    Ok(Seeded {
        business_id,
        api_key,
        webhook_secret,
    })
}

/// Makes who has this e-mail address the owner of a business, with this password.
pub async fn owner(
    pool: &PgPool,
    clock: &Clock,
    business_id: BusinessId,
    email: &str,
    password: &SecretString,
) -> Result<()> {
    let now = clock.now();
    let email = EmailAddress::new(email, "email")?;
    let password = Password::new(password.expose_secret().to_owned(), "password")?;
    let hash = PasswordHasher::start().hash(password).await;
    let hash = hash.map_err(|_| Error::Conflict("the passwords' threads have stopped"))?;
    let mut tx = database::platform(pool).await?;
    let user_id = if let Some(user) = users::find_by_email(&mut tx, &email).await? {
        users::set_password(&mut tx, user.id, None, &hash, now).await?;
        user.id
    } else {
        let new = NewUser {
            email: Some(email.as_str().to_owned()),
            email_is_verified: true,
            phone: None,
            password_hash: Some(hash),
            name: "Camille Martin".to_owned(),
            avatar_url: None,
            language: Language::French,
        };
        users::sign_up(&mut tx, &new, now).await?.id
    };
    if memberships::find(&mut tx, user_id, Some(business_id))
        .await?
        .is_none()
    {
        memberships::insert(&mut tx, business_id, user_id, MemberRole::Owner, now).await?;
    }
    users::set_default_business(&mut tx, user_id, business_id, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether the business of an earlier start is still in the database.
pub async fn is_there(pool: &PgPool, business_id: BusinessId) -> Result<bool> {
    let mut tx = database::business(pool, business_id).await?;
    let there = businesses::exists(&mut tx, business_id).await?;
    tx.commit().await?;
    Ok(there)
}
