//! What every job is given.

use std::sync::Arc;
use std::time::Duration;

use common::Clock;
use common::database::Lines;
use common::providers::mail::Mailer;
use common::providers::{ManyChat, Models};
use common::queue::Dispatch;
use common::retrieval::Retriever;
use common::secret::{DerivationKey, Sealer};
use object_store::ObjectStore;
use sqlx::PgPool;

use crate::extraction::Extractor;
use crate::leases::Leases;

/// Ready parts, the same for every job of a process.
pub struct Context {
    /// The database, as the services' role.
    pub pool: PgPool,
    /// The database, for claims and ends.
    pub lines: Lines,
    /// The time.
    pub clock: Clock,
    /// What this process holds.
    pub leases: Leases,
    /// Redis, to push what follows.
    pub dispatch: Dispatch,
    /// Who answers.
    pub models: Models,
    /// What is known.
    pub retriever: Retriever,
    /// Reads documents, in a process of its own.
    pub extractor: Extractor,
    /// Where the originals lie.
    pub objects: Arc<dyn ObjectStore>,
    /// Opens secrets.
    pub sealer: Sealer,
    /// Delivers through ManyChat.
    pub manychat: ManyChat,
    /// Carries mails.
    pub mailer: Arc<dyn Mailer>,
    /// Derives the secrets of links that prove an address.
    pub email_proofs_key: DerivationKey,
    /// Derives the secrets of invitations.
    pub invitations_key: DerivationKey,
    /// What links begin with.
    pub public_url: String,
    /// How long a channel must be quiet before a burst is answered.
    pub burst_quiet: Duration,
    /// How long ended jobs are kept.
    pub job_retention: Duration,
    /// This process's name in rows and logs.
    pub worker: String,
}
