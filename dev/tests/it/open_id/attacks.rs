//! Tokens nobody should be let in by.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::providers::oidc::Refusal;
use dev::simulators::openid::{CLIENT, OpenIdSimulator, SigningKey, unsigned};
use serde_json::{Value, json};

use super::{get, issuer, issuers, platform_with};
use crate::bad_input::refused;

/// Every attack on a token of `simulator`, which publishes an RSA key as `first` and one on P-256 as `curve`; and what it is
/// refused for.
fn attacks(simulator: &OpenIdSimulator) -> Vec<(&'static str, String, Refusal)> {
    let (rsa, curve) = (SigningKey::rsa("first", 1), SigningKey::p256("curve"));
    let someone = json!({ "sub": "victim" });
    let claims = simulator.claims(&someone);
    let with = |more: Value| simulator.claims(&more);
    let now = claims["iat"].as_i64().unwrap();
    let good = rsa.sign(&claims);
    let parts: Vec<&str> = good.split('.').collect();
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());

    let public = rsa.jwk();
    let modulus = URL_SAFE_NO_PAD
        .decode(public["n"].as_str().unwrap())
        .unwrap();
    let confused = |secret: &[u8], kid: &str| {
        SigningKey::shared(secret).sign_with(&json!({ "alg": "HS256", "kid": kid }), &claims)
    };
    let attacker = SigningKey::rsa("first", 2);
    let brought = |header: Value| attacker.sign_with(&header, &claims);
    let tampered = encode(&with(json!({ "sub": "admin" })));
    let mut cases = vec![
        (
            "unsigned",
            unsigned(&json!({ "alg": "none" }), &claims),
            Refusal::Algorithm,
        ),
        (
            "unsigned with a key",
            unsigned(&json!({ "alg": "none", "kid": "first" }), &claims),
            Refusal::Algorithm,
        ),
        (
            "unsigned in disguise",
            unsigned(&json!({ "alg": "nOnE" }), &claims),
            Refusal::Algorithm,
        ),
        (
            "unsigned with a signature",
            format!(
                "{}.{}.{}",
                encode(&json!({ "alg": "none" })),
                parts[1],
                parts[2]
            ),
            Refusal::Algorithm,
        ),
        (
            "signature taken off",
            format!("{}.{}.", parts[0], parts[1]),
            Refusal::Signature,
        ),
        (
            "no signature at all",
            format!("{}.{}", parts[0], parts[1]),
            Refusal::Malformed,
        ),
        ("a fourth part", format!("{good}.x"), Refusal::Malformed),
        (
            "the public key as a shared secret, as JSON",
            confused(public.to_string().as_bytes(), "first"),
            Refusal::Algorithm,
        ),
        (
            "the same, its modulus",
            confused(&modulus, "first"),
            Refusal::Algorithm,
        ),
        (
            "the same, without a name",
            confused(&modulus, ""),
            Refusal::Algorithm,
        ),
        (
            "an algorithm that is not on the list",
            rsa.sign_with(&json!({ "alg": "RS512", "kid": "first" }), &claims),
            Refusal::Algorithm,
        ),
        (
            "an algorithm nobody knows",
            rsa.sign_with(&json!({ "alg": "XY1", "kid": "first" }), &claims),
            Refusal::Algorithm,
        ),
        (
            "somebody else's key under a known name",
            attacker.sign(&claims),
            Refusal::Signature,
        ),
        (
            "another claim under the same signature",
            format!("{}.{tampered}.{}", parts[0], parts[2]),
            Refusal::Signature,
        ),
        (
            "ES256 said of an RSA key",
            rsa.sign_with(&json!({ "alg": "ES256", "kid": "first" }), &claims),
            Refusal::UnsuitableKey,
        ),
        (
            "signed on the curve, named the RSA key",
            curve.sign_with(&json!({ "alg": "ES256", "kid": "first" }), &claims),
            Refusal::UnsuitableKey,
        ),
        (
            "RS256 said of the curve's key",
            curve.sign_with(&json!({ "alg": "RS256", "kid": "curve" }), &claims),
            Refusal::UnsuitableKey,
        ),
        (
            "no key named, of several",
            rsa.sign_with(&json!({ "alg": "RS256" }), &claims),
            Refusal::UnknownKey,
        ),
        (
            "an unknown key",
            attacker.sign_with(&json!({ "alg": "RS256", "kid": "made up" }), &claims),
            Refusal::UnknownKey,
        ),
        (
            "its own key in the header",
            brought(json!({ "alg": "RS256", "kid": "own", "jwk": attacker.jwk() })),
            Refusal::UnknownKey,
        ),
        (
            "its own key under a known name",
            brought(json!({ "alg": "RS256", "kid": "first", "jwk": attacker.jwk() })),
            Refusal::Signature,
        ),
        (
            "the address of its own keys",
            brought(json!({ "alg": "RS256", "kid": "first", "jku": "http://127.0.0.1:9/jwks" })),
            Refusal::Signature,
        ),
        (
            "the address of its own certificate",
            brought(json!({ "alg": "RS256", "kid": "first", "x5u": "http://127.0.0.1:9/cert" })),
            Refusal::Signature,
        ),
        (
            "a critical header",
            rsa.sign_with(
                &json!({ "alg": "RS256", "kid": "first", "crit": ["b64"], "b64": false }),
                &claims,
            ),
            Refusal::CriticalHeader,
        ),
        (
            "longer than any token",
            rsa.sign(&with(json!({ "sub": "a", "more": "x".repeat(20_000) }))),
            Refusal::Malformed,
        ),
    ];
    let of_claims = [
        (
            "another issuer",
            json!({ "iss": "https://evil.example" }),
            Refusal::UnknownIssuer,
        ),
        (
            "an issuer below ours",
            json!({ "iss": format!("{}/x", simulator.issuer()) }),
            Refusal::UnknownIssuer,
        ),
        ("no issuer", json!({ "iss": null }), Refusal::UnknownIssuer),
        (
            "several issuers",
            json!({ "iss": [simulator.issuer()] }),
            Refusal::UnknownIssuer,
        ),
        (
            "another audience",
            json!({ "aud": "somebody else" }),
            Refusal::Audience,
        ),
        ("no audience", json!({ "aud": null }), Refusal::Audience),
        (
            "an audience that only begins like ours",
            json!({ "aud": "relais2" }),
            Refusal::Audience,
        ),
        (
            "several audiences, asked for by nobody",
            json!({ "aud": [CLIENT.0, "other"] }),
            Refusal::AuthorizedParty,
        ),
        (
            "the same, asked for by another",
            json!({ "aud": [CLIENT.0, "other"], "azp": "other" }),
            Refusal::AuthorizedParty,
        ),
        ("expired", json!({ "exp": now - 61 }), Refusal::Expired),
        ("for ever", json!({ "exp": null }), Refusal::Claim("exp")),
        (
            "until no time of this world",
            json!({ "exp": 1e300 }),
            Refusal::Claim("exp"),
        ),
        (
            "until a text",
            json!({ "exp": "9999999999" }),
            Refusal::Claim("exp"),
        ),
        (
            "issued in the future",
            json!({ "iat": now + 120, "exp": now + 600 }),
            Refusal::IssuedInTheFuture,
        ),
        (
            "issued at no time",
            json!({ "iat": null }),
            Refusal::Claim("iat"),
        ),
        (
            "not valid yet",
            json!({ "nbf": now + 120 }),
            Refusal::NotYetValid,
        ),
        ("about nobody", json!({ "sub": null }), Refusal::Subject),
        (
            "about an empty name",
            json!({ "sub": "" }),
            Refusal::Subject,
        ),
        ("about a number", json!({ "sub": 1 }), Refusal::Subject),
        (
            "about a name that is too long",
            json!({ "sub": "x".repeat(256) }),
            Refusal::Subject,
        ),
        (
            "about a name the database does not take",
            json!({ "sub": "a\0b" }),
            Refusal::Subject,
        ),
    ];
    for (case, more, refusal) in of_claims {
        let mut claims = json!({ "sub": "victim" });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        cases.push((case, rsa.sign(&with(claims)), refusal));
    }
    for malformed in ["", ".", "..", "a.b.c", "null", "é.é.é"] {
        cases.push(("nonsense", malformed.to_owned(), Refusal::Malformed));
    }
    cases
}

#[tokio::test]
async fn a_token_that_is_forged_or_not_for_us_is_refused_for_the_reason_it_should_be() {
    let (simulator, issuers, clock) = issuer().await;
    simulator.publish([SigningKey::rsa("first", 1), SigningKey::p256("curve")]);
    let good = simulator.token(&json!({ "sub": "victim" }));
    assert!(issuers.verify(&good, clock.now()).await.is_ok());

    for (case, token, refusal) in attacks(&simulator) {
        let verified = issuers.verify(&token, clock.now()).await;
        assert_eq!(verified, Err(refusal), "{case}: {token:.200}");
    }
    let claims = simulator.claims(&json!({ "sub": "curve" }));
    let of_the_curve = SigningKey::p256("curve").sign(&claims);
    assert!(issuers.verify(&of_the_curve, clock.now()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_a_bad_token_learns_only_that_it_is() {
    let (platform, simulator) = platform_with(&[]).await;
    simulator.publish([SigningKey::rsa("first", 1), SigningKey::p256("curve")]);

    for (case, token, _) in attacks(&simulator) {
        let Ok(header) =
            reqwest::header::HeaderValue::from_bytes(format!("Bearer {token}").as_bytes())
        else {
            continue;
        };
        let request = platform.http.get(platform.url("/api/v1/documents"));
        let response = request
            .header("Authorization", header)
            .send()
            .await
            .unwrap();
        let error = refused(case, response, 401, "UNAUTHORIZED").await;
        assert_eq!(
            error["message"], "the credentials are missing or not valid",
            "{case}"
        );
    }
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert_eq!(users, 0);
    let good = simulator.token(&json!({}));
    let refused = get(&platform, &good, "/api/v1/documents").await;
    assert_eq!(refused.status(), 401, "it has no subject");
    let good = simulator.token(&json!({ "sub": "somebody" }));
    assert_eq!(
        get(&platform, &good, "/api/v1/documents").await.status(),
        200
    );
    platform.stop().await;
}

#[tokio::test]
async fn a_shared_secret_is_taken_from_supabase_alone_and_only_where_there_is_one() {
    let (simulator, _, clock) = issuer().await;
    let url = simulator.issuer();
    let secret = "supabase-signs-with-this-and-no-one-else";
    let legacy = issuers(&[("SUPABASE_URL", url), ("SUPABASE_JWT_SECRET", secret)]);
    let modern = issuers(&[("SUPABASE_URL", url)]);
    let claims = |more: Value| {
        let mut claims = json!({
            "iss": format!("{url}/auth/v1"), "aud": "authenticated", "role": "authenticated", "sub": "u",
            "email": "A@Example.org", "user_metadata": { "email_verified": true, "full_name": "Ada" },
        });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        simulator.claims(&claims)
    };
    let now = clock.now();
    let symmetric = SigningKey::shared(secret.as_bytes()).sign(&claims(json!({})));
    let published = SigningKey::rsa("first", 1).sign(&claims(json!({ "aud": ["authenticated"] })));

    let person = legacy.verify(&symmetric, now).await.unwrap();
    assert_eq!(person.email.unwrap().as_str(), "a@example.org");
    assert_eq!(person.name.as_deref(), Some("Ada"));
    assert!(!person.email_is_verified, "who wrote that is the user");
    assert_eq!(
        modern.verify(&symmetric, now).await,
        Err(Refusal::Algorithm)
    );
    assert!(legacy.verify(&published, now).await.is_ok());
    assert!(modern.verify(&published, now).await.is_ok());

    let public = SigningKey::rsa("first", 1).jwk().to_string();
    for guess in [
        public.as_bytes(),
        b"",
        b"another secret, just as long as the real one",
    ] {
        let forged = SigningKey::shared(guess).sign(&claims(json!({})));
        assert_eq!(legacy.verify(&forged, now).await, Err(Refusal::Signature));
    }
    for (more, refusal) in [
        (json!({ "role": "service_role" }), Refusal::Claim("role")),
        (json!({ "role": "anon" }), Refusal::Claim("role")),
        (json!({ "sub": null }), Refusal::Subject),
        (json!({ "aud": "anon" }), Refusal::Audience),
    ] {
        let token = SigningKey::shared(secret.as_bytes()).sign(&claims(more.clone()));
        assert_eq!(legacy.verify(&token, now).await, Err(refusal), "{more}");
    }
    for (more, is_verified) in [
        (json!({ "app_metadata": { "email_verified": true } }), true),
        (json!({ "email_verified": true }), true),
        (json!({ "app_metadata": { "provider": "email" } }), false),
    ] {
        let token = SigningKey::shared(secret.as_bytes()).sign(&claims(more.clone()));
        let person = legacy.verify(&token, now).await.unwrap();
        assert_eq!(person.email_is_verified, is_verified, "{more}");
    }
}

#[tokio::test]
async fn unsigned_tokens_are_taken_only_of_firebase_s_emulator_and_only_where_it_is_switched_on() {
    let (simulator, _, clock) = issuer().await;
    let emulated = issuers(&[
        ("FIREBASE_PROJECT_ID", "demo-relais"),
        ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099"),
    ]);
    let real = issuers(&[("FIREBASE_PROJECT_ID", "demo-relais")]);
    let firebase = json!({
        "iss": "https://securetoken.google.com/demo-relais", "aud": "demo-relais", "sub": "u",
        "email": "a@example.org", "email_verified": true, "firebase": { "sign_in_provider": "password" },
    });
    let now = clock.now();
    let token = |more: Value| {
        let mut claims = firebase.clone();
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        unsigned(
            &json!({ "alg": "none", "typ": "JWT" }),
            &simulator.claims(&claims),
        )
    };

    assert!(
        emulated
            .verify(&token(json!({})), now)
            .await
            .unwrap()
            .email_is_verified
    );
    assert_eq!(
        real.verify(&token(json!({})), now).await,
        Err(Refusal::Algorithm)
    );
    for (more, refusal) in [
        (
            json!({ "iss": "https://securetoken.google.com/other" }),
            Refusal::UnknownIssuer,
        ),
        (json!({ "aud": "other" }), Refusal::Audience),
        (json!({ "exp": 1 }), Refusal::Expired),
        (
            json!({ "firebase": { "tenant": "t" } }),
            Refusal::Claim("firebase.tenant"),
        ),
    ] {
        assert_eq!(
            emulated.verify(&token(more.clone()), now).await,
            Err(refusal),
            "{more}"
        );
    }
    let signed = format!("{}c2ln", token(json!({})));
    assert_eq!(emulated.verify(&signed, now).await, Err(Refusal::Signature));

    let problem = |project: &str| {
        let vars = [
            ("FIREBASE_PROJECT_ID", project),
            ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099"),
        ];
        std::panic::catch_unwind(|| super::identity(&vars)).is_err()
    };
    assert!(
        problem("relais-production"),
        "the services do not even start"
    );
    assert!(!problem("demo-relais"));
}
