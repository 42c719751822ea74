//! The ready parts every operation works with.

use std::sync::Arc;

use common::providers::codes::{self, CodeSender};
use common::providers::object_store::{self, ObjectStore};
use common::providers::oidc::Issuers;
use common::queue::Dispatch;
use common::queue::replies::Replies;
use common::secret::Sealer;
use common::secret::{DerivationKey, PasswordHasher, Purpose};
use common::{Clock, Config, database, redis};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::accept::Acceptor;
use crate::auth::{AccessCache, AccessTokens};
use crate::limits::Limits;
use crate::open_id;

/// Uploads under way at once: each holds up to two parts of 5 MiB.
const UPLOADS: usize = 16;

/// What operations need, made once.
pub struct Context {
    /// PostgreSQL, as the services' role.
    pub pool: PgPool,
    /// Offers jobs to Redis.
    pub dispatch: Dispatch,
    /// Hears of the ends of jobs.
    pub replies: Replies,
    /// The time.
    pub clock: Clock,
    /// Where originals lie.
    pub objects: Arc<dyn ObjectStore>,
    /// Takes messages.
    pub acceptor: Acceptor,
    /// Who may come in, as learnt lately.
    pub access: Arc<AccessCache>,
    /// Signs access tokens.
    pub access_tokens: AccessTokens,
    /// How much of everything.
    pub limits: Limits,
    /// Hashes passwords and checks them.
    pub passwords: PasswordHasher,
    /// Checks the tokens of others.
    pub issuers: Issuers,
    /// Sends one-time codes; `None`: nobody does.
    pub codes: Option<Arc<dyn CodeSender>>,
    /// Seals businesses' secrets.
    pub sealer: Sealer,
    /// Room for uploads.
    pub uploads: Semaphore,
    /// Cancelled when the service is to stop.
    pub stopping: CancellationToken,
    /// As read at the start.
    pub config: Config,
}

impl Context {
    /// Connects to what `config` names, lazily: stores may be away. `stopping` tells those who wait for others to stop.
    ///
    /// # Errors
    ///
    /// Where an address does not parse or the folder for files cannot be made, in words for the operator.
    pub fn connect(
        config: Config,
        clock: Clock,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, String> {
        let pool = database::connect_lazy(
            &config.stores.database_url,
            config.stores.database_max_connections,
        )
        .map_err(|error| format!("DATABASE_URL is not usable: {}", with_cause(&error)))?;
        let no_redis =
            |error: common::Error| format!("REDIS_URL is not usable: {}", with_cause(&error));
        let dispatch = Dispatch::new(redis::connect(&config.stores.redis_url).map_err(no_redis)?);
        let subscriber = redis::connect_subscriber(&config.stores.redis_url).map_err(no_redis)?;
        let replies = Replies::listen(subscriber.clone());
        let objects = object_store::connect(&config.objects).map_err(|error| error.to_string())?;
        let acceptor = Acceptor::spawn(pool.clone(), dispatch.clone(), clock.clone());
        acceptor.listen(&subscriber);
        let access = Arc::new(AccessCache::default());
        access.listen(&subscriber);
        let limits = Limits::new(config.limits, dispatch.redis().clone());
        let identity = &config.identity;
        let codes = codes::connect(identity, &config.objects.data_dir);
        let access_tokens = AccessTokens::new(&identity.jwt_secret, identity.access_token_lifetime);
        let issuers = Issuers::new(identity, open_id::callback_url(&config));
        let sealer = Sealer::new(&config.secrets).map_err(|error| error.to_string())?;
        Ok(Arc::new(Self {
            pool,
            dispatch,
            replies,
            clock,
            objects,
            acceptor,
            access,
            access_tokens,
            limits,
            passwords: PasswordHasher::start(),
            issuers,
            codes,
            sealer,
            uploads: Semaphore::new(UPLOADS),
            stopping,
            config,
        }))
    }

    /// The key for `purpose`.
    pub(crate) fn key(&self, purpose: Purpose) -> DerivationKey {
        DerivationKey::new(&self.config.identity.jwt_secret, purpose)
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
