//! Twilio's API for messages: takes what is sent, lists it, and misbehaves when told to.
//!
//! After Twilio's OpenAPI description and its list of errors: Basic authentication with account and token, a form with `To`,
//! `Body` and `From` or `MessagingServiceSid`, 201 with the message, errors as `{"code", "message", "more_info", "status"}`.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::error::NotFoundError;
use poem::http::{StatusCode, header};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Form, Json, Path};
use poem::{EndpointExt, IntoResponse, Request, Response, Route, Server, handler, post};
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The account there is.
pub const ACCOUNT: &str = "AC00000000000000000000000000000001";

/// Its token.
pub const TOKEN: &str = "twilio-token-of-the-tests";

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// To which number.
    pub to: String,
    /// From which number or messaging service.
    pub from: String,
    /// What it says.
    pub body: String,
}

#[derive(Default)]
struct State {
    sent: Vec<Sent>,
    /// Status and Twilio's code of the calls to come.
    refusals: VecDeque<(u16, u32)>,
}

/// A running simulator; it ends when dropped.
pub struct TwilioSimulator {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

impl Drop for TwilioSimulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl TwilioSimulator {
    /// Listens at `address`.
    pub async fn start(address: SocketAddr) -> std::io::Result<Self> {
        let acceptor = TcpListener::bind(address).into_acceptor().await?;
        let address = acceptor
            .local_addr()
            .first()
            .and_then(|address| address.as_socket_addr().copied());
        let address = address.ok_or_else(|| std::io::Error::other("not a TCP address"))?;
        let state = Arc::new(Mutex::new(State::default()));
        let app = Route::new()
            .at(
                "/2010-04-01/Accounts/:account/Messages.json",
                post(send_message),
            )
            .catch_error(|_: NotFoundError| async { error(404, 20404, "was not found") })
            .data(Arc::clone(&state));
        let serving = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(app).await.ok();
        });
        Ok(Self {
            address,
            state,
            serving,
        })
    }

    /// Where it listens.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was taken so far, oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        lock(&self.state).sent.clone()
    }

    /// Makes the next calls fail, with these statuses and codes.
    pub fn fail_next(&self, refusals: impl IntoIterator<Item = (u16, u32)>) {
        lock(&self.state).refusals.extend(refusals);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[handler]
fn send_message(
    request: &Request,
    Path(account): Path<String>,
    Form(form): Form<HashMap<String, String>>,
    Data(state): Data<&Arc<Mutex<State>>>,
) -> Response {
    let expected = format!("Basic {}", STANDARD.encode(format!("{ACCOUNT}:{TOKEN}")));
    if account != ACCOUNT || request.header(header::AUTHORIZATION) != Some(expected.as_str()) {
        return error(401, 20003, "Authenticate");
    }
    let field = |name: &str| form.get(name).filter(|value| !value.is_empty()).cloned();
    let Some(to) = field("To") else {
        return error(400, 21604, "A 'To' phone number is required.");
    };
    let Some(body) = field("Body") else {
        return error(400, 21602, "Message body is required.");
    };
    let Some(from) = field("MessagingServiceSid").or_else(|| field("From")) else {
        return error(400, 21603, "A 'From' phone number is required.");
    };
    let digits = to.strip_prefix('+').unwrap_or_default();
    if digits.len() < 7 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("The 'To' number {to} is not a valid phone number.");
        return error(400, 21211, &message);
    }
    let mut state = lock(state);
    if let Some((status, code)) = state.refusals.pop_front() {
        return error(status, code, &format!("Refused for {to}"));
    }
    let sid = format!("SM{}", Uuid::now_v7().simple());
    let answer = json!({
        "sid": sid, "account_sid": ACCOUNT, "to": to, "from": from, "body": body, "status": "queued", "direction": "outbound-api",
        "num_segments": "1", "num_media": "0", "error_code": null, "error_message": null, "price": null, "price_unit": "USD",
        "api_version": "2010-04-01", "uri": format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json"),
    });
    state.sent.push(Sent { to, from, body });
    Json(answer)
        .with_status(StatusCode::CREATED)
        .into_response()
}

fn error(status: u16, code: u32, message: &str) -> Response {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    let body = json!({ "code": code, "message": message, "more_info": more, "status": status });
    Json(body)
        .with_status(StatusCode::from_u16(status).unwrap_or_default())
        .into_response()
}
