//! ManyChat's sending API: takes what Relais delivers, lists it, and misbehaves when told to.
//!
//! After ManyChat's OpenAPI description: bearer token, `subscriber_id` an integer, dynamic block v2, `status` in the body
//! whatever the HTTP status, HTML for unknown paths.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::Clock;
use ingress::PromptAcceptor;
use poem::error::NotFoundError;
use poem::http::{StatusCode, header};
use poem::listener::Acceptor;
use poem::web::{Data, Html, Json};
use poem::{Body, EndpointExt, IntoResponse, Request, Response, Route, Server, get, handler, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A text that was delivered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Delivered {
    /// To whom; a string, as ManyChat's answers have it.
    pub subscriber_id: String,
    /// What.
    pub text: String,
    /// When.
    pub received_at: DateTime<Utc>,
}

/// How the next call goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Refused with this status and body; nothing is delivered.
    Answer(u16, Value),
    /// Too many requests, with this `Retry-After`; nothing is delivered.
    RateLimited(Option<u64>),
    /// Delivered, but the answer never comes.
    Silent,
}

#[derive(Default)]
struct State {
    delivered: Vec<Delivered>,
    faults: VecDeque<Fault>,
}

struct Shared {
    state: Mutex<State>,
    count: watch::Sender<usize>,
    token: String,
    clock: Clock,
}

/// A running simulator; it ends when dropped.
pub struct ManyChatSimulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for ManyChatSimulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ManyChatSimulator {
    /// Listens at `address` and takes calls with the API key `token`.
    pub async fn start(address: SocketAddr, token: &str) -> std::io::Result<Self> {
        let acceptor = PromptAcceptor::new(TcpListener::bind(address).await?)?;
        let address = acceptor
            .local_addr()
            .first()
            .and_then(|address| address.as_socket_addr().copied());
        let address = address.ok_or_else(|| std::io::Error::other("not a TCP address"))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            count: watch::channel(0).0,
            token: token.to_owned(),
            clock: Clock::default(),
        });
        let app = Route::new()
            .at("/fb/sending/sendContent", post(send_content))
            .at("/messages", get(list_messages))
            .catch_error(unknown_path)
            .data(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(app).await.ok();
        });
        Ok(Self {
            address,
            shared,
            serving,
        })
    }

    /// Where it listens.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was delivered so far, oldest first.
    pub fn delivered(&self) -> Vec<Delivered> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .delivered
            .clone()
    }

    /// The texts one subscriber got, oldest first.
    pub fn texts_to(&self, subscriber_id: &str) -> Vec<String> {
        let delivered = self.delivered().into_iter();
        delivered
            .filter(|message| message.subscriber_id == subscriber_id)
            .map(|message| message.text)
            .collect()
    }

    /// Makes the next calls go wrong, one each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .faults
            .extend(faults);
    }

    /// Lets the calls go right again.
    pub fn forgive(&self) {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .faults
            .clear();
    }

    /// Waits until `condition` holds of what was delivered; `false` after `timeout`.
    pub async fn wait_until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&[Delivered]) -> bool,
    ) -> bool {
        let mut count = self.shared.count.subscribe();
        let waiting = async {
            while !condition(&self.delivered()) {
                if count.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(timeout, waiting).await.is_ok()
    }
}

/// ManyChat's unknown paths are a web page, not JSON.
async fn unknown_path(_: NotFoundError) -> Response {
    Html("<!DOCTYPE html><title>404</title>")
        .with_status(StatusCode::NOT_FOUND)
        .into_response()
}

#[handler]
fn list_messages(Data(shared): Data<&Arc<Shared>>) -> Json<Value> {
    let state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    Json(json!({ "messages": state.delivered }))
}

#[handler]
async fn send_content(request: &Request, body: Body, shared: Data<&Arc<Shared>>) -> Response {
    let expected = format!("Bearer {}", shared.token);
    if request.header(header::AUTHORIZATION) != Some(expected.as_str()) {
        return error(StatusCode::UNAUTHORIZED, "Token is required", None);
    }
    let (subscriber_id, texts) = match read(body).await {
        Ok(read) => read,
        Err(reason) => return error(StatusCode::BAD_REQUEST, "Validation error", Some(&reason)),
    };
    let fault = shared
        .state
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .faults
        .pop_front();
    match fault {
        Some(Fault::Answer(status, body)) => {
            return Json(body)
                .with_status(StatusCode::from_u16(status).unwrap_or_default())
                .into_response();
        }
        Some(Fault::RateLimited(after)) => {
            let response = Json(json!({ "status": "error", "message": "Too many requests" }))
                .with_status(StatusCode::TOO_MANY_REQUESTS);
            return match after {
                Some(seconds) => response
                    .with_header(header::RETRY_AFTER, seconds)
                    .into_response(),
                None => response.into_response(),
            };
        }
        Some(Fault::Silent) => {
            deliver(&shared, &subscriber_id, texts);
            return std::future::pending().await;
        }
        None => {}
    }
    deliver(&shared, &subscriber_id, texts);
    Json(json!({ "status": "success" })).into_response()
}

fn deliver(shared: &Shared, subscriber_id: &str, texts: Vec<String>) {
    let received_at = shared.clock.now();
    let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    for text in texts {
        state.delivered.push(Delivered {
            subscriber_id: subscriber_id.to_owned(),
            text,
            received_at,
        });
    }
    shared.count.send_replace(state.delivered.len());
}

/// What a call is to deliver, if it is one ManyChat would take.
async fn read(body: Body) -> Result<(String, Vec<String>), String> {
    let body: Value = body.into_json().await.map_err(|_| "not JSON".to_owned())?;
    let subscriber_id = body["subscriber_id"]
        .as_u64()
        .ok_or("subscriber_id must be an integer")?;
    if body["data"]["version"] != "v2" {
        return Err("data.version must be v2".to_owned());
    }
    let parts = body["data"]["content"]["messages"]
        .as_array()
        .ok_or("messages are missing")?;
    if parts.is_empty() || parts.len() > 10 {
        return Err("there must be 1 to 10 messages".to_owned());
    }
    let text = |part: &Value| {
        let text = part["text"]
            .as_str()
            .filter(|_| part["type"] == "text")
            .filter(|text| !text.is_empty());
        text.filter(|text| text.chars().count() <= 4_096)
            .map(str::to_owned)
            .ok_or("a text is missing or too long")
    };
    let texts = parts.iter().map(text).collect::<Result<_, _>>()?;
    Ok((subscriber_id.to_string(), texts))
}

fn error(status: StatusCode, message: &str, detail: Option<&str>) -> Response {
    let details = detail.map(|detail| json!({ "messages": [{ "message": detail }] }));
    Json(json!({ "status": "error", "message": message, "details": details }))
        .with_status(status)
        .into_response()
}
