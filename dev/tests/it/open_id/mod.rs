//! Tokens of other issuers: who is let in by them, and who is not.

mod attacks;
mod google;
mod keys;
mod linking;

use std::collections::HashMap;

use common::config::IdentityConfig;
use common::providers::oidc::Issuers;
use common::{Clock, Config};
use dev::simulators::openid::{CLIENT, OpenIdSimulator};
use dev::testing::Platform;

/// What [`Issuers`] reads of the environment `vars`.
fn identity(vars: &[(&str, &str)]) -> IdentityConfig {
    let secret = "0".repeat(64);
    let mut all: HashMap<String, String> = [
        ("DATABASE_URL", "postgres://localhost/none"),
        ("REDIS_URL", "redis://localhost"),
        ("RELAIS_MASTER_KEY", &secret),
        ("JWT_SECRET", &secret),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    all.extend(
        vars.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    Config::from_vars(all).unwrap().identity
}

/// The verifier alone, with `vars` in its environment.
fn issuers(vars: &[(&str, &str)]) -> Issuers {
    Issuers::new(&identity(vars), "http://localhost/callback".to_owned())
}

/// An issuer, the verifier that accepts its tokens, and the clock of both.
async fn issuer() -> (OpenIdSimulator, Issuers, Clock) {
    let clock = Clock::default();
    let simulator = OpenIdSimulator::start(clock.clone()).await.unwrap();
    let issuers = issuers(&[("OIDC_ISSUERS", &accepted(&simulator))]);
    (simulator, issuers, clock)
}

/// `OIDC_ISSUERS` for a simulator.
fn accepted(simulator: &OpenIdSimulator) -> String {
    format!("{}|{}", simulator.issuer(), CLIENT.0)
}

/// A platform that accepts the tokens of an issuer; with `vars` in its environment.
async fn platform_with(vars: &[(&str, &str)]) -> (Platform, OpenIdSimulator) {
    let simulator = OpenIdSimulator::start(Clock::default()).await.unwrap();
    let mut setup = crate::setup();
    (setup.workers, setup.scheduler) = (false, false);
    setup
        .vars
        .push(("OIDC_ISSUERS".to_owned(), accepted(&simulator)));
    setup.vars.extend(vars.iter().map(|(name, value)| {
        let value = value.replace("{issuer}", simulator.issuer());
        ((*name).to_owned(), value)
    }));
    (setup.start().await, simulator)
}

/// `GET path` with a bearer token.
async fn get(platform: &Platform, token: &str, path: &str) -> reqwest::Response {
    let request = platform.http.get(platform.url(path)).bearer_auth(token);
    request.send().await.unwrap()
}
