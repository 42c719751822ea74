//! Rate limits at the edge: shared by all ingresses through Redis, in one call; and a gate in this process in front.
//!
//! The gate knows the same limits and has seen a part of the requests: what it refuses the fleet would refuse as well, so
//! a flood costs Redis nothing. Where Redis is away the gate decides alone: each ingress then lets through as much as all
//! together should.

mod gate;
mod script;
mod standing;

pub(crate) use standing::{STANDING, tell};

use std::time::Duration;

use chrono::TimeDelta;
use common::config::LimitsConfig;
use common::secret;
use fred::clients::Client;

use crate::error::ApiError;
use gate::Gates;
use script::Shared;

/// So many in a period, at once or spread; each comes back after the period's part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// For metrics and keys.
    pub name: &'static str,
    /// How many.
    pub count: u32,
    /// In what time.
    pub period: Duration,
}

impl Limit {
    const fn per_minute(name: &'static str, count: u32) -> Self {
        Self {
            name,
            count,
            period: Duration::from_mins(1),
        }
    }
}

/// A limit, and whose share of it is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    limit: Limit,
    whose: String,
}

/// What is counted, and by how much.
pub struct Limits {
    config: LimitsConfig,
    gates: Gates,
    shared: Shared,
}

impl Limits {
    /// The limits of `config`, counted in Redis.
    pub fn new(config: LimitsConfig, redis: Client) -> Self {
        Self {
            config,
            gates: Gates::default(),
            shared: Shared::new(redis),
        }
    }

    /// Of a business, whatever it asks for.
    pub fn business(&self, id: &impl ToString) -> Ask {
        let limit = Limit::per_minute("business", self.config.requests_per_minute);
        Ask {
            limit,
            whose: id.to_string(),
        }
    }

    /// Of a business, for what asks a model: as its plan says.
    pub fn plan(id: &impl ToString, requests_per_minute: u32) -> Ask {
        let limit = Limit::per_minute("plan", requests_per_minute);
        Ask {
            limit,
            whose: id.to_string(),
        }
    }

    /// Of a user, for what is of no business.
    pub fn user(&self, id: &impl ToString) -> Ask {
        let limit = Limit::per_minute("user", self.config.requests_per_minute);
        Ask {
            limit,
            whose: id.to_string(),
        }
    }

    /// Of an address, for what needs no credentials.
    pub fn address(&self, address: Option<String>) -> Ask {
        let limit = Limit::per_minute("address", self.config.sign_ins_per_minute);
        Ask {
            limit,
            whose: address.unwrap_or_default(),
        }
    }

    /// Of whoever is signed in as: an e-mail address or the like, from however many addresses. Kept as a hash.
    pub fn identity(&self, identity: &str) -> Ask {
        let limit = Limit::per_minute("identity", self.config.sign_ins_per_identity_per_minute);
        Ask {
            limit,
            whose: secret::to_hex(&secret::hash(&identity.to_lowercase())[..16]),
        }
    }

    /// Takes one of each, or none: 429 if one has run out. The tightest is told in the response's headers.
    pub async fn take(&self, asks: &[Ask]) -> Result<(), ApiError> {
        let mut refused = self.gates.pass(asks);
        if refused.is_none() {
            refused = self.shared.take(asks).await;
        }
        let Some((name, standing)) = refused else {
            return Ok(());
        };
        standing::tell(standing);
        metrics::counter!("relais_rate_limited_total", "limit" => name).increment(1);
        let wait = TimeDelta::from_std(standing.reset).unwrap_or(TimeDelta::MAX);
        Err(ApiError::too_many(wait))
    }
}
