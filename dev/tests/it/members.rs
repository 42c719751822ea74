//! Members: who is in a business, as what, and how they come in and go.

use common::secret::{DerivationKey, Purpose};
use dev::testing::Platform;
use futures::future::join_all;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::businesses::{actions, ask, business_of, id_in, join};
use crate::sign_in_mail::mail;

const ACCEPT: &str = "/api/v1/invitations/accept";

/// The token an invitation's mail carries.
fn token(platform: &Platform, invitation: &Value) -> Value {
    let id = Uuid::parse_str(invitation["id"].as_str().unwrap()).unwrap();
    let key = DerivationKey::new(&platform.config.identity.jwt_secret, Purpose::Invitations);
    json!({ "token": key.token(id).expose_secret() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_invited_comes_in_once_with_the_invited_address() {
    let platform = crate::setup().start().await;
    let (ana, bo, cem) = tokio::join!(
        platform.user("Ana"),
        platform.user("Bo"),
        platform.user("Cem")
    );
    let path = business_of(&platform, &ana, "Dubois").await;
    let (members, invitations) = (format!("{path}/members"), format!("{path}/invitations"));
    let invite = json!({ "email": bo.email.to_uppercase(), "role": "admin" });
    let invited = ask(
        &platform,
        &ana.access_token,
        ("POST", &members),
        Some(invite.clone()),
        201,
    )
    .await;
    assert_eq!(
        (&invited["email"], &invited["role"]),
        (&json!(bo.email), &json!("admin"))
    );
    assert!(!invited.to_string().contains("token"));
    ask(
        &platform,
        &ana.access_token,
        ("POST", &members),
        Some(invite.clone()),
        409,
    )
    .await;
    for wrong in [
        json!({ "email": "nonsense", "role": "admin" }),
        json!({ "email": "a@b.org", "role": "owner" }),
        json!({ "email": "a@b.org", "role": "king" }),
        json!({ "email": "a@b.org" }),
        json!({ "email": "a@b.org", "role": "admin", "business_id": Uuid::now_v7() }),
    ] {
        ask(
            &platform,
            &ana.access_token,
            ("POST", &members),
            Some(wrong),
            400,
        )
        .await;
    }
    let open = ask(
        &platform,
        &ana.access_token,
        ("GET", &invitations),
        None,
        200,
    )
    .await;
    assert_eq!(open["data"], json!([invited]));

    // The mail is all that has the token.
    let letter = mail(&platform, 0).await;
    assert_eq!(letter.to, bo.email);
    let accept = json!({ "token": letter.token("invitation") });
    // The address counts, not who holds the token; and it must be proved.
    ask(
        &platform,
        &cem.access_token,
        ("POST", ACCEPT),
        Some(accept.clone()),
        403,
    )
    .await;
    let verified = async |at: &str| {
        sqlx::query("UPDATE users SET email_verified_at = $1::text::timestamptz WHERE id = $2")
            .bind((!at.is_empty()).then_some(at))
            .bind(bo.id.0)
            .execute(&platform.owner)
            .await
            .unwrap();
    };
    verified("").await;
    ask(
        &platform,
        &bo.access_token,
        ("POST", ACCEPT),
        Some(accept.clone()),
        403,
    )
    .await;
    verified("2026-01-01").await;
    for wrong in [
        "x".to_owned(),
        String::new(),
        format!("{}_{}", Uuid::now_v7().simple(), "0".repeat(64)),
    ] {
        ask(
            &platform,
            &bo.access_token,
            ("POST", ACCEPT),
            Some(json!({ "token": wrong })),
            404,
        )
        .await;
    }
    // However often at once, it is accepted once.
    let answers =
        join_all((0..5).map(|_| platform.send(&bo.access_token, "POST", ACCEPT, Some(&accept))))
            .await;
    let mut statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404, 404, 404, 404]);
    let seen = ask(&platform, &bo.access_token, ("GET", &path), None, 200).await;
    assert_eq!(seen["role"], "admin");
    ask(
        &platform,
        &ana.access_token,
        ("POST", &members),
        Some(invite),
        409,
    )
    .await;

    // One that was taken back, and one that ran out.
    let invite = json!({ "email": cem.email, "role": "member" });
    let revoked = ask(
        &platform,
        &bo.access_token,
        ("POST", &members),
        Some(invite.clone()),
        201,
    )
    .await;
    let one = format!("{invitations}/{}", revoked["id"].as_str().unwrap());
    ask(&platform, &bo.access_token, ("DELETE", &one), None, 204).await;
    ask(&platform, &bo.access_token, ("DELETE", &one), None, 404).await;
    ask(
        &platform,
        &cem.access_token,
        ("POST", ACCEPT),
        Some(token(&platform, &revoked)),
        404,
    )
    .await;
    let late = ask(
        &platform,
        &bo.access_token,
        ("POST", &members),
        Some(invite.clone()),
        201,
    )
    .await;
    sqlx::query("UPDATE invitations SET expires_at = now() WHERE id = $1")
        .bind(Uuid::parse_str(late["id"].as_str().unwrap()).unwrap())
        .execute(&platform.owner)
        .await
        .unwrap();
    ask(
        &platform,
        &cem.access_token,
        ("POST", ACCEPT),
        Some(token(&platform, &late)),
        404,
    )
    .await;
    ask(
        &platform,
        &bo.access_token,
        ("POST", &members),
        Some(invite),
        201,
    )
    .await;

    assert_eq!(
        actions(&platform, id_in(&path)).await,
        [
            "business.created",
            "invitation.created",
            "invitation.accepted",
            "invitation.created",
            "invitation.revoked",
            "invitation.created",
            "invitation.created",
        ]
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_are_made_by_owners_and_one_is_always_left() {
    let platform = crate::setup().start().await;
    let (ana, bo, cem, dia) = tokio::join!(
        platform.user("Ana"),
        platform.user("Bo"),
        platform.user("Cem"),
        platform.user("Dia"),
    );
    let path = business_of(&platform, &ana, "Dubois").await;
    join(&platform, &path, &bo, "admin").await;
    join(&platform, &path, &cem, "member").await;
    let member = |user: &dev::testing::TestUser| format!("{path}/members/{}", user.id);
    let role = |role: &str| Some(json!({ "role": role }));

    let list = ask(
        &platform,
        &cem.access_token,
        ("GET", &format!("{path}/members")),
        None,
        200,
    )
    .await;
    let roles: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles.len(), 3);
    for (user, method, whom, body, status) in [
        // An admin makes admins and members of each other, and no owners.
        (&bo, "PATCH", &cem, role("admin"), 200),
        (&bo, "PATCH", &cem, role("member"), 200),
        (&bo, "PATCH", &cem, role("owner"), 403),
        (&bo, "PATCH", &bo, role("owner"), 403),
        (&bo, "PATCH", &ana, role("member"), 403),
        (&bo, "DELETE", &ana, None, 403),
        (&cem, "PATCH", &cem, role("admin"), 403),
        (&cem, "DELETE", &bo, None, 403),
        // Who is no member is nowhere.
        (&bo, "PATCH", &dia, role("admin"), 404),
        (&bo, "DELETE", &dia, None, 404),
        (&ana, "PATCH", &ana, role("admin"), 409),
        (&ana, "DELETE", &ana, None, 409),
        (&ana, "PATCH", &bo, role("owner"), 200),
        (&ana, "PATCH", &ana, role("admin"), 200),
        // Rights that were taken are gone with the answer.
        (&ana, "PATCH", &bo, role("member"), 403),
        (&bo, "PATCH", &ana, role("owner"), 200),
        (&cem, "DELETE", &cem, None, 204),
        (&cem, "DELETE", &cem, None, 404),
    ] {
        ask(
            &platform,
            &user.access_token,
            (method, &member(whom)),
            body,
            status,
        )
        .await;
    }
    ask(&platform, &cem.access_token, ("GET", &path), None, 404).await;

    // Two owners who leave at once: one stays.
    let (ana_leaves, bo_leaves) = (member(&ana), member(&bo));
    let answers = tokio::join!(
        platform.send(&ana.access_token, "DELETE", &ana_leaves, None),
        platform.send(&bo.access_token, "DELETE", &bo_leaves, None),
    );
    let mut statuses = [answers.0.status().as_u16(), answers.1.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_membership_ends_has_another_default_business() {
    let platform = crate::setup().start().await;
    let (ana, bo) = tokio::join!(platform.user("Ana"), platform.user("Bo"));
    let path = business_of(&platform, &ana, "Dubois").await;
    join(&platform, &path, &bo, "member").await;
    let default = async || -> Option<Uuid> {
        let found =
            sqlx::query_scalar("SELECT default_business_id FROM users WHERE id = $1").bind(bo.id.0);
        found.fetch_one(&platform.owner).await.unwrap()
    };
    sqlx::query("UPDATE users SET default_business_id = $1 WHERE id = $2")
        .bind(id_in(&path))
        .bind(bo.id.0)
        .execute(&platform.owner)
        .await
        .unwrap();
    ask(
        &platform,
        &ana.access_token,
        ("DELETE", &format!("{path}/members/{}", bo.id)),
        None,
        204,
    )
    .await;
    assert_eq!(default().await, Some(bo.business_id.0));
    platform.stop().await;
}
