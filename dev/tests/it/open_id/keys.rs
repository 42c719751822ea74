//! The keys of issuers: fetched once, kept, and fetched again when they change.

use chrono::TimeDelta;
use common::providers::oidc::Refusal;
use dev::simulators::openid::SigningKey;
use serde_json::json;

use super::{issuer, issuers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_fetched_once_for_all_who_wait() {
    let (simulator, issuers, clock) = issuer().await;
    let token = simulator.token(&json!({ "sub": "a" }));

    let verified = (0..50).map(|_| issuers.verify(&token, clock.now()));
    let verified = futures::future::join_all(verified).await;

    assert!(verified.iter().all(Result::is_ok), "{verified:?}");
    assert_eq!(simulator.fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_learnt_without_a_restart_and_made_up_ones_do_no_harm() {
    let (simulator, issuers, clock) = issuer().await;
    let person = json!({ "sub": "a" });
    let old = simulator.token(&person);
    assert!(issuers.verify(&old, clock.now()).await.is_ok());

    simulator.publish([SigningKey::rsa("second", 2)]);
    let new = simulator.token(&person);
    assert_eq!(
        issuers.verify(&new, clock.now()).await,
        Err(Refusal::UnknownKey),
        "the issuer was asked a moment ago"
    );
    clock.shift(TimeDelta::seconds(31));
    assert!(issuers.verify(&new, clock.now()).await.is_ok());
    assert_eq!(simulator.fetches(), 2);
    assert_eq!(
        issuers.verify(&old, clock.now()).await,
        Err(Refusal::UnknownKey)
    );

    clock.shift(TimeDelta::seconds(31));
    for number in 0..100 {
        let made_up = SigningKey::rsa(&format!("made up {number}"), 1);
        let token = made_up.sign(&simulator.claims(&person));
        let refused = issuers.verify(&token, clock.now()).await;
        assert_eq!(refused, Err(Refusal::UnknownKey));
    }
    assert_eq!(simulator.fetches(), 3, "one for all of them");
    assert!(issuers.verify(&new, clock.now()).await.is_ok());
    clock.shift(TimeDelta::seconds(601));
    assert!(issuers.verify(&new, clock.now()).await.is_ok());
    assert_eq!(simulator.fetches(), 4, "their time was over");
}

#[tokio::test]
async fn a_key_without_a_name_is_found_where_it_is_the_only_one() {
    let (simulator, issuers, clock) = issuer().await;
    let claims = simulator.claims(&json!({ "sub": "a" }));
    let nameless = SigningKey::rsa("", 1).sign_with(&json!({ "alg": "RS256" }), &claims);

    assert!(issuers.verify(&nameless, clock.now()).await.is_ok());
}

#[tokio::test]
async fn keys_are_used_on_while_their_issuer_is_away_but_not_for_ever() {
    let (simulator, issuers, clock) = issuer().await;
    let token = simulator.token(&json!({ "sub": "a", "exp": 9_999_999_999_i64 }));
    assert!(issuers.verify(&token, clock.now()).await.is_ok());

    simulator.set_away(true);
    for hours in [1, 20] {
        clock.shift(TimeDelta::hours(hours));
        assert!(issuers.verify(&token, clock.now()).await.is_ok());
    }
    clock.shift(TimeDelta::hours(4));
    let refused = issuers.verify(&token, clock.now()).await;
    assert!(
        matches!(refused, Err(Refusal::Unavailable(_))),
        "{refused:?}"
    );
    simulator.set_away(false);
    clock.shift(TimeDelta::seconds(31));
    assert!(issuers.verify(&token, clock.now()).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_asked_again_soon() {
    let (simulator, issuers, clock) = issuer().await;
    let token = simulator.token(&json!({ "sub": "a" }));
    simulator.set_away(true);
    for _ in 0..10 {
        let refused = issuers.verify(&token, clock.now()).await;
        assert!(
            matches!(refused, Err(Refusal::Unavailable(_))),
            "{refused:?}"
        );
    }
    simulator.set_away(false);
    clock.shift(TimeDelta::seconds(6));
    assert!(issuers.verify(&token, clock.now()).await.is_ok());
}

#[tokio::test]
async fn a_description_of_another_issuer_is_not_believed() {
    let (simulator, _, clock) = issuer().await;
    let by_another_name = simulator.issuer().replace("127.0.0.1", "localhost");
    let issuers = issuers(&[("OIDC_ISSUERS", &format!("{by_another_name}|relais"))]);

    let token = simulator.token(&json!({ "sub": "a", "iss": by_another_name }));
    let refused = issuers.verify(&token, clock.now()).await;

    assert!(
        matches!(&refused, Err(Refusal::Unavailable(error)) if !error.is_transient()),
        "{refused:?}"
    );
}
