//! Who may call what: every operation of the API's own description, by everybody there is. What is found is written to a
//! file that can be published.

use std::fmt::Write;
use std::path::Path;

use common::database;
use common::database::access::{self, NewApiKey};
use common::domain::{MemberRole, Permission, Role};
use dev::testing::{Platform, TestUser};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::contract::{self, Operation};

/// What a caller is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// 401
    Unknown,
    /// 403
    Forbidden,
    /// 404, as if the business were not there.
    NotThere,
    /// Neither: whatever else may be wrong with the request.
    Allowed,
    /// [`Self::Allowed`], or [`Self::Forbidden`] where it is for the user in person.
    Either,
}

impl Verdict {
    fn is_kept_by(self, status: u16) -> bool {
        match self {
            Self::Unknown => status == 401,
            Self::Forbidden => status == 403,
            Self::NotThere => status == 404,
            Self::Allowed => !matches!(status, 401 | 403 | 500..),
            Self::Either => !matches!(status, 401 | 500..),
        }
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    /// An API key of the business, with every scope or with none.
    Key {
        all: bool,
    },
    /// A member of the business.
    Member(MemberRole),
    /// A user of the platform who is no member of the business.
    Stranger(Role),
    /// Support that acts for the business's owner.
    Acting,
}

impl Who {
    /// What `access`, as the document has it, means for them.
    fn expects(self, access: &str) -> Verdict {
        match (access, self) {
            ("public", _) => Verdict::Allowed,
            (_, Self::Nobody) => Verdict::Unknown,
            ("signed-in", Self::Key { .. }) => Verdict::Forbidden,
            ("signed-in", Self::Acting) => Verdict::Either,
            ("signed-in", _) => Verdict::Allowed,
            (name, who) => {
                let permission = Permission::of_name(name)
                    .unwrap_or_else(|| panic!("`{name}` is no permission"));
                let allowed = match who {
                    Self::Nobody => unreachable!("seen above"),
                    Self::Key { all } => all && permission.suits_api_keys(),
                    Self::Member(role) => role.holds(permission),
                    Self::Stranger(_) if permission.is_of_business() => return Verdict::NotThere,
                    Self::Stranger(role) => role.holds(permission),
                    Self::Acting => permission.suits_impersonation(),
                };
                if allowed {
                    Verdict::Allowed
                } else {
                    Verdict::Forbidden
                }
            }
        }
    }
}

/// Somebody with what proves who they are.
struct Caller {
    name: &'static str,
    who: Who,
    token: Option<SecretString>,
}

/// Everybody there is, for the seeded business.
async fn everybody(platform: &Platform) -> Vec<Caller> {
    let key = async |scopes: &[String]| {
        let new = NewApiKey {
            business_id: platform.business.business_id,
            name: "matrix",
            scopes,
            expires_at: None,
            created_by: None,
        };
        let mut tx = database::business(&platform.pool, new.business_id)
            .await
            .unwrap();
        let (_, key) = access::create_api_key(&mut tx, &new, platform.clock.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        key
    };
    let owner = platform.member("Owner", MemberRole::Owner).await;
    let support = platform.staff("Support", Role::Support).await;
    let caller = |name, who, token: &SecretString| Caller {
        name,
        who,
        token: Some(token.clone()),
    };
    vec![
        Caller {
            name: "nobody",
            who: Who::Nobody,
            token: None,
        },
        Caller {
            name: "nonsense",
            who: Who::Nobody,
            token: Some("eyJhbGciOiJub25lIn0.e30.".to_owned().into()),
        },
        caller(
            "API key, no scope",
            Who::Key { all: false },
            &key(&[]).await,
        ),
        caller(
            "API key, all scopes",
            Who::Key { all: true },
            &key(&["*".to_owned()]).await,
        ),
        caller(
            "member",
            Who::Member(MemberRole::Member),
            &platform
                .member("Member", MemberRole::Member)
                .await
                .access_token,
        ),
        caller(
            "admin",
            Who::Member(MemberRole::Admin),
            &platform
                .member("Admin", MemberRole::Admin)
                .await
                .access_token,
        ),
        caller("owner", Who::Member(MemberRole::Owner), &owner.access_token),
        caller(
            "another user",
            Who::Stranger(Role::User),
            &platform.user("Other").await.access_token,
        ),
        caller(
            "support",
            Who::Stranger(Role::Support),
            &support.access_token,
        ),
        caller(
            "platform admin",
            Who::Stranger(Role::Admin),
            &platform.staff("Root", Role::Admin).await.access_token,
        ),
        caller(
            "support for the owner",
            Who::Acting,
            &impersonate(platform, &support, &owner).await,
        ),
    ]
}

async fn impersonate(platform: &Platform, support: &TestUser, user: &TestUser) -> SecretString {
    let path = format!("/api/v1/users/{}/impersonate", user.id);
    let request = platform.as_bearer(&support.access_token, reqwest::Method::POST, &path);
    let begun: Value = request
        .json(&json!({ "reason": "matrix" }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    begun["access_token"].as_str().unwrap().to_owned().into()
}

/// Calls `operation` for the seeded business, of things that are not there, with a body that says nothing.
async fn call(platform: &Platform, operation: &Operation, caller: &Caller) -> u16 {
    let business_id = platform.business.business_id;
    let path = operation.path_with(|resource| match resource {
        "businesses" => business_id.to_string(),
        _ => Uuid::now_v7().to_string(),
    });
    let mut request = platform
        .http
        .request(operation.method.clone(), platform.url(&path))
        .header("X-Business-Id", business_id.to_string());
    if let Some(token) = &caller.token {
        request = request.bearer_auth(token.expose_secret());
    }
    if operation.takes_json() {
        request = request.json(&json!({}));
    }
    request.send().await.unwrap().status().as_u16()
}

/// What ends the caller's own session, and would spoil what comes after.
fn ends_the_session(operation: &Operation) -> bool {
    operation.path == "/auth/logout"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_lets_in_whom_it_says_and_nobody_else() {
    let platform = crate::setup().start().await;
    let callers = everybody(&platform).await;
    let operations = contract::operations(&platform).await;
    let mut report = "# Who may call what\n\nStatuses of every operation called by everybody, for things that are not there and with a \
                      body that says nothing: 401 is not known, 403 not allowed, 404 not there, and the rest was let in.\n\n| operation | asks"
        .to_owned();
    for caller in &callers {
        write!(report, " | {}", caller.name).unwrap();
    }
    writeln!(report, " |\n|---|---{}|", "|---".repeat(callers.len())).unwrap();

    let mut wrong = Vec::new();
    let asked: Vec<&Operation> = operations
        .iter()
        .filter(|operation| operation.access().is_some() && !ends_the_session(operation))
        .collect();
    for operation in &asked {
        let access = operation.access().unwrap();
        write!(
            report,
            "| `{} {}` | {access}",
            operation.method, operation.path
        )
        .unwrap();
        for caller in &callers {
            let (verdict, status) = (
                caller.who.expects(access),
                call(&platform, operation, caller).await,
            );
            write!(report, " | {status}").unwrap();
            if !verdict.is_kept_by(status) {
                wrong.push(format!(
                    "{} {} by {}: {status}, not {verdict:?}",
                    operation.method, operation.path, caller.name
                ));
            }
        }
        writeln!(report, " |").unwrap();
    }

    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("access.md");
    std::fs::write(&file, report).unwrap();
    assert!(
        wrong.is_empty(),
        "see {}:\n{}",
        file.display(),
        wrong.join("\n")
    );
    assert!(asked.len() > 50, "{}", asked.len());
    platform.stop().await;
}
