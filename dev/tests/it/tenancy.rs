//! No business sees another's bytes, by any route, id or query; checked from the API's own description,
//! so that a new route cannot be forgotten.

use common::database::access::NewApiKey;
use common::database::{self, access, vector_index};
use common::domain::BusinessId;
use dev::seed::Seeded;
use dev::testing::{PATIENCE, Platform, TestUser, eventually};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_input::refused;
use crate::businesses::{ask, join};
use crate::contract::{Operation, operations};

/// The same person to both businesses.
const SUBSCRIBER: u64 = 4_242;

/// A business that has used everything, and what it has.
pub(crate) struct Tenant {
    seeded: Seeded,
    /// Who owns it, signed in, with it as their default.
    owner: TestUser,
    /// A word only its own documents and messages have.
    word: &'static str,
    document: String,
    job: String,
    contact: String,
    chat: String,
    api_key: String,
    invitation: String,
}

impl Tenant {
    pub(crate) fn business_id(&self) -> BusinessId {
        self.seeded.business_id
    }

    /// Something of its own, by the part of a path in front of the id.
    fn id_of(&self, resource: &str) -> String {
        let id = match resource {
            "businesses" => return self.business_id().to_string(),
            "members" => return self.owner.id.to_string(),
            "documents" => &self.document,
            "jobs" => &self.job,
            "contacts" => &self.contact,
            "chats" => &self.chat,
            "api-keys" => &self.api_key,
            "invitations" => &self.invitation,
            _ => panic!("there is nothing to try `{resource}/{{id}}` with: add it here"),
        };
        id.clone()
    }

    /// The same by the name of a parameter.
    fn parameter(&self, name: &str) -> String {
        match name {
            "contact_id" => self.contact.clone(),
            "chat_id" => self.chat.clone(),
            "external_id" => SUBSCRIBER.to_string(),
            "actor_id" => self.owner.id.to_string(),
            "object_id" => self.api_key.clone(),
            _ => panic!("there is nothing to try `?{name}=` with: add it here"),
        }
    }

    fn request(&self, platform: &Platform, method: Method, path: &str) -> RequestBuilder {
        let key = self.seeded.api_key.expose_secret();
        platform
            .http
            .request(method, platform.url(path))
            .bearer_auth(key)
    }

    async fn get(&self, platform: &Platform, path: &str) -> Value {
        let response = platform.get_as(&self.seeded, path).await;
        assert_eq!(response.status(), 200, "GET {path}");
        response.json().await.unwrap()
    }

    /// `GET path` of an operation as somebody it is for: a user, or a machine.
    async fn list(&self, platform: &Platform, list: &Operation, path: &str) -> Value {
        let token = if list.description["x-access"] == "signed-in" {
            &self.owner.access_token
        } else {
            &self.seeded.api_key
        };
        ask(platform, token, ("GET", path), None, 200).await
    }

    async fn post(&self, platform: &Platform, path: &str, body: &Value) -> Response {
        self.request(platform, Method::POST, path)
            .json(body)
            .send()
            .await
            .unwrap()
    }
}

/// A platform with two businesses that did the same, each with a word of its own.
pub(crate) async fn two_tenants() -> (Platform, Tenant, Tenant) {
    let platform = crate::setup().start().await;
    let other = platform.another_business("Another").await;
    let first = platform.business.clone();
    let (first, second) = tokio::join!(
        tenant(&platform, first, "quetzalcoatlus"),
        tenant(&platform, other, "brachiosaurus")
    );
    (platform, first, second)
}

/// Uses everything as `seeded`: a document, a message with its answer, a question, and a vector index.
async fn tenant(platform: &Platform, seeded: Seeded, word: &'static str) -> Tenant {
    let text = format!("Our mascot is the {word}. The {word} wears a red scarf in winter.");
    let uploaded = platform.upload_as(&seeded, "mascot.md", text.into()).await;
    assert_eq!(uploaded.status(), 202);
    let uploaded: Value = uploaded.json().await.unwrap();
    let (document, job) = (
        uploaded["id"].as_str().unwrap(),
        uploaded["job_id"].as_str().unwrap(),
    );
    let list = async |path: &str| -> Vec<Value> {
        let list: Value = platform.get_as(&seeded, path).await.json().await.unwrap();
        list["data"].as_array().unwrap().clone()
    };
    eventually("the document is processed", async || {
        (!list("/api/v1/documents?status=processed").await.is_empty()).then_some(())
    })
    .await;

    // The same message of the same person: each business has its own.
    let message = json!({ "subscriber_id": SUBSCRIBER, "text": "What does the mascot wear?", "message_id": "same" });
    assert_eq!(
        platform.webhook_to(0, &seeded, &message).await.status(),
        200
    );
    eventually("the answer is sent", async || {
        let sent = list("/api/v1/messages?direction=outbound").await;
        sent.iter()
            .any(|message| message["status"] == "sent")
            .then_some(())
    })
    .await;
    let (contacts, chats) = (list("/api/v1/contacts").await, list("/api/v1/chats").await);
    let (owner, api_key, invitation) = owned(platform, &seeded, word).await;

    let model: String = sqlx::query_scalar("SELECT min(model) FROM chunk_embeddings")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    vector_index::ensure(&platform.pool, seeded.business_id, &model)
        .await
        .unwrap();
    Tenant {
        document: document.to_owned(),
        job: job.to_owned(),
        contact: contacts[0]["id"].as_str().unwrap().to_owned(),
        chat: chats[0]["id"].as_str().unwrap().to_owned(),
        api_key,
        invitation,
        owner,
        seeded,
        word,
    }
}

/// An owner for a business, and what only a person makes: an API key, an invitation.
async fn owned(platform: &Platform, seeded: &Seeded, word: &str) -> (TestUser, String, String) {
    let owner = platform.user(word).await;
    let path = format!("/api/v1/businesses/{}", seeded.business_id);
    join(platform, &path, &owner, "owner").await;
    sqlx::query("UPDATE users SET default_business_id = $1 WHERE id = $2")
        .bind(seeded.business_id.0)
        .bind(owner.id.0)
        .execute(&platform.owner)
        .await
        .unwrap();
    let make = async |path: &str, body: Value| {
        let made = ask(
            platform,
            &owner.access_token,
            ("POST", path),
            Some(body),
            201,
        )
        .await;
        made["id"].as_str().unwrap().to_owned()
    };
    let key = json!({ "name": "n8n", "scopes": ["*"] });
    let invitation = json!({ "email": format!("{}@example.org", owner.id), "role": "member" });
    let api_key = make("/api/v1/api-keys", key).await;
    let invitation = make(&format!("{path}/members"), invitation).await;
    (owner, api_key, invitation)
}

/// Headers that differ from answer to answer, whatever was asked.
const CHANGING_HEADERS: [&str; 4] = [
    "x-request-id",
    "date",
    "ratelimit-remaining",
    "ratelimit-reset",
];

/// Everything a caller can tell two answers apart by.
async fn told(response: Response) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .filter(|(name, _)| !CHANGING_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (
        response.status().as_u16(),
        headers,
        response.text().await.unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_another_s_answers_exactly_as_what_is_nowhere() {
    let (platform, first, second) = two_tenants().await;
    let operations = operations(&platform).await;

    let mut tried = 0;
    for operation in operations
        .iter()
        .filter(|operation| operation.takes_api_key() && !operation.parameters("path").is_empty())
    {
        let case = format!("{} {}", operation.method, operation.path);
        let body = operation.body(&case);
        let theirs = operation.path_with(|resource| first.id_of(resource));
        let nowhere = operation.path_with(|_| Uuid::now_v7().to_string());
        // Their member, in one's own business.
        let own = |resource: &str, id: String| match resource {
            "businesses" => second.business_id().to_string(),
            _ => id,
        };
        let within = [
            operation.path_with(|resource| own(resource, first.id_of(resource))),
            operation.path_with(|resource| own(resource, Uuid::now_v7().to_string())),
        ];
        let send = async |path: &str| {
            // The owner may do everything a caller can.
            let (token, method) = (&second.owner.access_token, operation.method.as_str());
            told(platform.send(token, method, path, body.as_ref()).await).await
        };
        let (another, unknown) = (send(&theirs).await, send(&nowhere).await);
        assert_eq!(another.0, 404, "{case}");
        assert_eq!(another, unknown, "{case}");
        if operation.parameters("path").len() > 1 {
            let (another, unknown) = (send(&within[0]).await, send(&within[1]).await);
            assert_eq!((another.0, &another), (404, &unknown), "{case}");
        }
        if operation.method == Method::GET {
            // Whose it is sees it, and still does.
            first.get(&platform, &theirs).await;
        }
        tried += 1;
    }
    assert!(tried >= 7, "{tried}");
    for path in ["query", "search"] {
        let ask = async |id: &str| {
            let body = json!({ "question": "What does the mascot wear?", "document_ids": [second.document, id] });
            told(
                second
                    .post(&platform, &format!("/api/v1/{path}"), &body)
                    .await,
            )
            .await
        };
        let (another, unknown) = (
            ask(&first.document).await,
            ask(&Uuid::now_v7().to_string()).await,
        );
        assert_eq!((another.0, &another), (404, &unknown), "{path}");
    }
    first
        .get(
            &platform,
            &format!("/api/v1/documents/{}/chunks", first.document),
        )
        .await;
    platform.stop().await;
}

/// Every id in `value`, except those of what all businesses are shown.
fn ids(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) if fields.get("is_shared") == Some(&json!(true)) => Vec::new(),
        Value::Object(fields) => fields.values().flat_map(ids).collect(),
        Value::Array(items) => items.iter().flat_map(ids).collect(),
        Value::String(text) if Uuid::try_parse(text).is_ok() => vec![text.clone()],
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_list_search_or_answer_shows_what_is_another_s() {
    let (platform, first, second) = two_tenants().await;
    let operations = operations(&platform).await;
    let mut forbidden = vec![first.business_id().to_string(), first.word.to_owned()];
    let mut seen = Vec::new();

    let lists = operations.iter().filter(|operation| {
        operation.method == Method::GET
            && operation.takes_api_key()
            && operation.parameters("path").is_empty()
    });
    for list in lists {
        let path = list.path_with(|_| unreachable!("no ids"));
        let theirs = first.list(&platform, list, &path).await;
        assert!(
            !theirs["data"].as_array().unwrap().is_empty(),
            "{path}: use it in `tenant`, or this proves nothing"
        );
        forbidden.extend(ids(&theirs));
        let mine = second.list(&platform, list, &path).await;
        assert!(!mine["data"].as_array().unwrap().is_empty(), "{path}");
        seen.push((path.clone(), mine));
        for name in list
            .parameters("query")
            .iter()
            .filter(|name| name.ends_with("_id"))
        {
            let filtered = format!("{path}?{name}={}", first.parameter(name));
            let found = second.get(&platform, &filtered).await;
            if *name != "external_id" {
                let unknown = second
                    .get(&platform, &format!("{path}?{name}={}", Uuid::now_v7()))
                    .await;
                assert_eq!(found, unknown, "{filtered}");
            }
            seen.push((filtered, found));
        }
        // A cursor says where to go on, not whose.
        let cursor = Uuid::try_parse("ffffffff-ffff-ffff-ffff-ffffffffffff")
            .unwrap()
            .simple();
        let path = format!("{path}?cursor={cursor}");
        seen.push((path.clone(), second.list(&platform, list, &path).await));
    }
    assert!(seen.len() >= 12, "{}", seen.len());
    for path in ["query", "search"] {
        let path = format!("/api/v1/{path}");
        for question in [
            format!("What does the {} wear?", first.word),
            "What does the mascot wear?".to_owned(),
        ] {
            let body = json!({ "question": question, "top_k": 20 });
            let found: Value = second
                .post(&platform, &path, &body)
                .await
                .json()
                .await
                .unwrap();
            // The question's own words are no secret.
            let sources = found["sources"].as_array().unwrap();
            assert!(
                sources
                    .iter()
                    .all(|source| source["document_id"] == second.document.as_str()),
                "{found}"
            );
            seen.push((format!("{path} {question}"), found));
        }
    }
    for (what, found) in &seen {
        let text = found.to_string();
        for secret in &forbidden {
            assert!(
                !text.contains(secret.as_str()),
                "{what} shows {secret}: {text}"
            );
        }
    }

    // Nor did the answers that were sent: one each, from each business's own documents.
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| delivered.len() == 2)
            .await
    );
    let answers = platform.manychat.texts_to(&SUBSCRIBER.to_string());
    for word in [first.word, second.word] {
        assert_eq!(
            answers
                .iter()
                .filter(|answer| answer.contains(word))
                .count(),
            1,
            "{answers:?}"
        );
    }
    assert!(
        answers
            .iter()
            .all(|answer| !(answer.contains(first.word) && answer.contains(second.word))),
        "{answers:?}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_in_without_a_valid_key_of_the_business() {
    let platform = crate::setup().start().await;
    let other = platform.another_business("Another").await;
    let right = platform.business.api_key.expose_secret();
    let (id, secret) = right
        .strip_prefix("rl_live_")
        .unwrap()
        .split_once('_')
        .unwrap();
    let (_, their_secret) = other
        .api_key
        .expose_secret()
        .strip_prefix("rl_live_")
        .unwrap()
        .split_once('_')
        .unwrap();
    let now = platform.clock.now();
    let mut tx = database::business(&platform.pool, platform.business.business_id)
        .await
        .unwrap();
    let scopes = ["*".to_owned()];
    let key = |name| NewApiKey {
        business_id: platform.business.business_id,
        name,
        scopes: &scopes,
        expires_at: None,
        created_by: None,
    };
    let (revoked_id, revoked) = access::create_api_key(&mut tx, &key("revoked"), now)
        .await
        .unwrap();
    let (leaving_id, leaving) = access::create_api_key(&mut tx, &key("leaving"), now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let revoke = async |id: Uuid| {
        let query = sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE id = $1");
        query.bind(id).execute(&platform.owner).await.unwrap();
    };
    let list = async |key: &str| {
        let request = platform
            .http
            .get(platform.url("/api/v1/documents"))
            .bearer_auth(key);
        request.send().await.unwrap()
    };
    revoke(revoked_id.0).await;
    assert_eq!(list(leaving.expose_secret()).await.status(), 200);
    revoke(leaving_id.0).await;

    let wrong = [
        "Bearer".to_owned(),
        "Bearer nonsense".to_owned(),
        format!("Basic {right}"),
        format!("Bearer rl_live_{}_{secret}", Uuid::now_v7().simple()),
        format!("Bearer rl_live_{id}_{their_secret}"),
        format!("Bearer rl_live_{id}_"),
        format!("Bearer {right}x"),
        format!(
            "Bearer {}",
            platform.business.webhook_secret.expose_secret()
        ),
        format!("Bearer {}", revoked.expose_secret()),
    ];
    let operations = operations(&platform).await;
    for operation in operations.iter().filter(|operation| !operation.is_public()) {
        let path = operation.path_with(|_| Uuid::now_v7().to_string());
        let case = format!("{} {path}", operation.method);
        let request = || {
            platform
                .http
                .request(operation.method.clone(), platform.url(&path))
        };
        refused(&case, request().send().await.unwrap(), 401, "UNAUTHORIZED").await;
        assert!(!operation.description["security"].is_null(), "{case}");
        if !operation.takes_api_key() {
            continue;
        }
        let mut answers = Vec::new();
        for authorization in &wrong {
            let response = request()
                .header("Authorization", authorization)
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), 401, "{case} {authorization}");
            answers.push(told(response).await);
        }
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{case}: {answers:?}"
        );
        for business in [
            other.business_id.to_string(),
            Uuid::now_v7().to_string(),
            "nonsense".to_owned(),
        ] {
            let request = request()
                .bearer_auth(right)
                .header("X-Business-Id", business);
            refused(&case, request.send().await.unwrap(), 404, "NOT_FOUND").await;
        }
    }
    let own = platform.business.business_id.to_string();
    let request = platform
        .http
        .get(platform.url("/api/v1/documents"))
        .bearer_auth(right);
    assert_eq!(
        request
            .header("X-Business-Id", own)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    // A key in use is remembered for seconds, no longer.
    eventually("the revoked key is refused", async || {
        (list(leaving.expose_secret()).await.status() == 401).then_some(())
    })
    .await;
    platform.stop().await;
}
