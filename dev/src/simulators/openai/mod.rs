//! A server of OpenAI's API without a model: it repeats the question, embeds by hashing words, keeps what it was asked, and
//! misbehaves when told to.
//!
//! After OpenAI's description of its API (version 2.3.0) and the requests its own clients send; the faults are those of
//! OpenAI and of the servers that call themselves compatible.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::Clock;
use futures::stream::{self, StreamExt};
use ingress::PromptAcceptor;
use poem::error::NotFoundError;
use poem::http::{StatusCode, header};
use poem::listener::Acceptor;
use poem::{Body, EndpointExt, IntoResponse, Request, Response, Route, Server, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

mod chat;
mod embeddings;

/// How the next call goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, these headers and this body instead of an answer.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Never a byte.
    Silent,
    /// This status, with a body that never ends.
    Endless(u16),
    /// A stream of comments, as servers send to keep the line open, and never an event.
    OnlyComments,
    /// The answer comes piece by piece, with rests between them.
    Drips,
    /// The line breaks in the middle of the answer, and of an event.
    BreaksOff,
    /// The stream ends in the middle of the answer as if it were whole.
    EndsEarly,
    /// An event with this text in the middle of the answer, and the end.
    Event(String),
    /// The answer is whole; the line breaks before the usage.
    BreaksBeforeUsage,
    /// The answer is whole, but for the usage.
    NoUsage,
}

impl Fault {
    /// An error in OpenAI's form.
    pub fn refusal(status: u16, code: &str, message: &str) -> Self {
        Self::Answer(status, Vec::new(), error_body(message, Some(code)))
    }

    /// Too many requests, with this `Retry-After`.
    pub fn rate_limited(after: Option<u64>) -> Self {
        let headers = after
            .map(|seconds| ("retry-after", seconds.to_string()))
            .into_iter();
        let message = "Rate limit reached for requests: Limit 3, Used 3, Requested 1.";
        let body = error_body(message, Some("rate_limit_exceeded"));
        Self::Answer(429, headers.collect(), body)
    }

    /// An account without credit: the status of a rate limit, but nothing that waiting heals.
    pub fn out_of_quota() -> Self {
        let message =
            "You exceeded your current quota, please check your plan and billing details.";
        Self::refusal(429, "insufficient_quota", message)
    }

    /// An error as Gemini's compatible server has it: a list, with the status as its code.
    pub fn like_gemini(status: u16, message: &str) -> Self {
        let error = json!({ "code": status, "message": message, "status": "UNAVAILABLE" });
        Self::Answer(status, Vec::new(), json!([{ "error": error }]).to_string())
    }

    /// What a proxy answers whose server is away.
    pub fn bad_gateway() -> Self {
        let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>cloudflare</body>\r\n</html>";
        Self::Answer(
            502,
            vec![("content-type", "text/html".to_owned())],
            page.to_owned(),
        )
    }
}

/// A request that was understood.
#[derive(Clone, Debug)]
pub struct Call {
    operation: &'static str,
    /// What was asked.
    pub body: Value,
    /// Who asked: what stands for `:source` in the prefix, if that is there.
    pub source: Option<String>,
    /// When it came.
    pub started_at: DateTime<Utc>,
    /// When it was answered; `None`: it is under way, or its caller went away, which is seen late or never.
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    faults: VecDeque<Fault>,
    answers: VecDeque<String>,
    /// How long an answer takes.
    pace: Duration,
}

struct Shared {
    state: Mutex<State>,
    api_key: String,
    clock: Clock,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way: it ends when dropped.
struct UnderWay {
    shared: Arc<Shared>,
    number: usize,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        self.shared.state().calls[self.number].ended_at = Some(now);
    }
}

/// A running simulator; it ends when dropped.
pub struct OpenAiSimulator {
    base_url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for OpenAiSimulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl OpenAiSimulator {
    /// Listens at `address`, under `prefix` (`/v1` at OpenAI's), and takes calls with `api_key`. A part `:source` of the
    /// prefix stands for anything, and is kept with each call.
    pub async fn start(address: SocketAddr, prefix: &str, api_key: &str) -> std::io::Result<Self> {
        let acceptor = PromptAcceptor::new(TcpListener::bind(address).await?)?;
        let address = acceptor
            .local_addr()
            .first()
            .and_then(|address| address.as_socket_addr().copied());
        let address = address.ok_or_else(|| std::io::Error::other("not a TCP address"))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            api_key: api_key.to_owned(),
            clock: Clock::default(),
        });
        let app = Route::new()
            .at(format!("{prefix}/chat/completions"), post(chat::chat))
            .at(format!("{prefix}/embeddings"), post(embeddings::embeddings))
            .catch_error(unknown_path)
            .data(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(app).await.ok();
        });
        Ok(Self {
            base_url: format!("http://{address}{prefix}"),
            shared,
            serving,
        })
    }

    /// What a client is configured with.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The bodies of the requests for completions, oldest first.
    pub fn chats(&self) -> Vec<Value> {
        self.calls("chat")
    }

    /// The bodies of the requests for embeddings, oldest first.
    pub fn embeddings(&self) -> Vec<Value> {
        self.calls("embeddings")
    }

    /// The requests for completions, oldest first.
    pub fn chat_calls(&self) -> Vec<Call> {
        let state = self.shared.state();
        let calls = state.calls.iter().filter(|call| call.operation == "chat");
        calls.cloned().collect()
    }

    /// Makes every answer take `pace` from now on.
    pub fn set_pace(&self, pace: Duration) {
        self.shared.state().pace = pace;
    }

    /// How many completions were under way at once, at most.
    pub fn most_at_once(&self) -> usize {
        let mut changes: Vec<(DateTime<Utc>, isize)> = Vec::new();
        for call in self.chat_calls() {
            changes.push((call.started_at, 1));
            changes.extend(call.ended_at.map(|at| (at, -1)));
        }
        changes.sort_unstable();
        let running = changes.iter().scan(0_isize, |running, (_, change)| {
            *running += change;
            Some(*running)
        });
        running.max().unwrap_or(0).unsigned_abs()
    }

    /// Lets the calls go right again.
    pub fn forgive(&self) {
        self.shared.state().faults.clear();
    }

    fn calls(&self, operation: &str) -> Vec<Value> {
        let state = self.shared.state();
        let calls = state
            .calls
            .iter()
            .filter(|call| call.operation == operation);
        calls.map(|call| call.body.clone()).collect()
    }

    /// What to answer next, one each; after them it repeats questions again.
    pub fn answer_next<T: Into<String>>(&self, answers: impl IntoIterator<Item = T>) {
        let answers = answers.into_iter().map(Into::into);
        self.shared.state().answers.extend(answers);
    }

    /// Makes the next calls go wrong, one each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().faults.extend(faults);
    }
}

async fn unknown_path(_: NotFoundError) -> Response {
    refuse(StatusCode::NOT_FOUND, "Invalid URL", None)
}

/// The request, if it has the key and reads, and a fault of the kind that lets an answer begin.
async fn admit(
    operation: &'static str,
    request: &Request,
    body: Body,
    shared: &Arc<Shared>,
) -> Result<(Value, Option<Fault>, UnderWay), Response> {
    let key = request
        .header(header::AUTHORIZATION)
        .and_then(|value| value.strip_prefix("Bearer "));
    if key != Some(shared.api_key.as_str()) {
        let (message, code) = ("Incorrect API key provided: sk-***.", "invalid_api_key");
        return Err(refuse(StatusCode::UNAUTHORIZED, message, Some(code)));
    }
    let Ok(body) = body.into_json::<Value>().await else {
        let message = "We could not parse the JSON body of your request.";
        return Err(refuse(StatusCode::BAD_REQUEST, message, None));
    };
    let (fault, pace, under_way) = {
        let mut state = shared.state();
        state.calls.push(Call {
            operation,
            body: body.clone(),
            source: request.raw_path_param("source").map(str::to_owned),
            started_at: shared.clock.now(),
            ended_at: None,
        });
        let under_way = UnderWay {
            shared: Arc::clone(shared),
            number: state.calls.len() - 1,
        };
        (state.faults.pop_front(), state.pace, under_way)
    };
    if !pace.is_zero() {
        tokio::time::sleep(pace).await;
    }
    match fault {
        Some(Fault::Answer(status, headers, body)) => {
            let mut response = Response::builder()
                .status(StatusCode::from_u16(status).unwrap_or_default())
                .content_type("application/json");
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Err(response.body(body))
        }
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Endless(status)) => Err(endless("words without end ")
            .with_status(StatusCode::from_u16(status).unwrap_or_default())
            .into_response()),
        Some(Fault::OnlyComments) => Err(endless(": keep-alive\n\n")
            .with_content_type("text/event-stream")
            .into_response()),
        fault => Ok((body, fault, under_way)),
    }
}

fn endless(text: &'static str) -> Body {
    Body::from_bytes_stream(stream::repeat(()).then(move |()| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, std::io::Error>(text)
    }))
}

/// Tokens of a text: one a word, more where it is long.
fn tokens(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| word.chars().count().div_ceil(8))
        .sum()
}

fn error_body(message: &str, code: Option<&str>) -> String {
    json!({ "error": { "message": message, "type": "invalid_request_error", "param": null, "code": code } })
        .to_string()
}

fn refuse(status: StatusCode, message: &str, code: Option<&str>) -> Response {
    error_body(message, code)
        .with_content_type("application/json")
        .with_status(status)
        .into_response()
}
