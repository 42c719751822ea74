//! A server of OpenAI's API without a model: it repeats the question, embeds by hashing words, keeps what it was asked, and
//! misbehaves when told to.
//!
//! After OpenAI's description of its API (version 2.3.0) and the requests its own clients send; the faults are those of
//! OpenAI and of the servers that call themselves compatible.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::Clock;
use futures::stream::{self, StreamExt};
use poem::error::NotFoundError;
use poem::http::{StatusCode, header};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json};
use poem::{Body, EndpointExt, IntoResponse, Request, Response, Route, Server, handler, post};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// What an embeddings request may hold: inputs, tokens in all, tokens each.
const EMBED_LIMITS: (usize, usize, usize) = (2_048, 300_000, 8_192);

/// Characters of an answer in one event of its stream.
const DELTA: usize = 5;

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
struct Call {
    operation: &'static str,
    body: Value,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    faults: VecDeque<Fault>,
    answers: VecDeque<String>,
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
    /// Listens at `address`, under `prefix` (`/v1` at OpenAI's), and takes calls with `api_key`.
    pub async fn start(address: SocketAddr, prefix: &str, api_key: &str) -> std::io::Result<Self> {
        let acceptor = TcpListener::bind(address).into_acceptor().await?;
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
            .at(format!("{prefix}/chat/completions"), post(chat))
            .at(format!("{prefix}/embeddings"), post(embeddings))
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

#[handler]
async fn chat(request: &Request, body: Body, shared: Data<&Arc<Shared>>) -> Response {
    let (body, fault) = match admit("chat", request, body, &shared).await {
        Ok(admitted) => admitted,
        Err(response) => return response,
    };
    let completion = match Completion::of(&body, &shared) {
        Ok(completion) => completion,
        Err(reason) => return refuse(StatusCode::BAD_REQUEST, reason, None),
    };
    if body["stream"] == true {
        streamed(&completion, &body["stream_options"], fault)
    } else {
        let usage = completion.usage();
        let mut whole = completion.object("chat.completion");
        let message = json!({ "role": "assistant", "content": completion.text, "refusal": null, "annotations": [] });
        whole["choices"] =
            json!([{ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" }]);
        if !matches!(fault, Some(Fault::NoUsage)) {
            whole["usage"] = usage;
        }
        whole["service_tier"] = json!("default");
        Json(whole).into_response()
    }
}

#[handler]
async fn embeddings(request: &Request, body: Body, shared: Data<&Arc<Shared>>) -> Response {
    let (body, _) = match admit("embeddings", request, body, &shared).await {
        Ok(admitted) => admitted,
        Err(response) => return response,
    };
    match embedded(&body) {
        Ok(answer) => Json(answer).into_response(),
        Err(reason) => refuse(StatusCode::BAD_REQUEST, reason, None),
    }
}

/// The request, if it has the key and reads, and a fault of the kind that lets an answer begin.
async fn admit(
    operation: &'static str,
    request: &Request,
    body: Body,
    shared: &Shared,
) -> Result<(Value, Option<Fault>), Response> {
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
    let fault = {
        let mut state = shared.state();
        let body = body.clone();
        state.calls.push(Call { operation, body });
        state.faults.pop_front()
    };
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
        fault => Ok((body, fault)),
    }
}

/// An answer to be told whole or in pieces.
struct Completion {
    id: String,
    model: String,
    created: i64,
    text: String,
    prompt_tokens: usize,
}

impl Completion {
    fn of(body: &Value, shared: &Shared) -> Result<Self, &'static str> {
        let model = body["model"]
            .as_str()
            .ok_or("you must provide a model parameter")?;
        let messages = body["messages"]
            .as_array()
            .filter(|messages| !messages.is_empty())
            .ok_or("Invalid 'messages': empty array. Expected an array with minimum length 1.")?;
        let texts = |role: &'static str| {
            let messages = messages
                .iter()
                .filter(move |message| message["role"] == role);
            messages.filter_map(|message| message["content"].as_str())
        };
        let cites =
            texts("system").any(|text| text.contains("[1]") && text.contains("number=\"1\""));
        let question = texts("user").last().unwrap_or_default();
        let repeated = format!("You asked: {question}{}", if cites { " [1]" } else { "" });
        Ok(Self {
            id: format!("chatcmpl-{}", Uuid::now_v7().simple()),
            // The snapshot that answers has a longer name than the alias that is asked.
            model: format!("{model}-2024-07-18"),
            created: shared.clock.now().timestamp(),
            text: shared.state().answers.pop_front().unwrap_or(repeated),
            prompt_tokens: messages
                .iter()
                .map(|message| 3 + tokens(message["content"].as_str().unwrap_or_default()))
                .sum(),
        })
    }

    fn object(&self, object: &str) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": "fp_simulated",
        })
    }

    fn usage(&self) -> Value {
        let written = tokens(&self.text);
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 },
        })
    }

    fn chunk(&self, choices: &Value, usage: Option<&Value>, obfuscated: bool) -> String {
        let mut chunk = self.object("chat.completion.chunk");
        chunk["choices"] = choices.clone();
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        if obfuscated {
            chunk["obfuscation"] = json!("aGJ8zuQ");
        }
        format!("data: {chunk}\n\n")
    }
}

/// The answer as events: the role, the words, the reason, the usage without a choice, the end.
fn streamed(completion: &Completion, options: &Value, fault: Option<Fault>) -> Response {
    let counts = options["include_usage"] == true && !matches!(fault, Some(Fault::NoUsage));
    let obfuscated = options["include_obfuscation"] != false;
    let no_usage = counts.then_some(&Value::Null);
    let event = |delta: Value, reason: Value| {
        let choice =
            json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]);
        completion.chunk(&choice, no_usage, obfuscated)
    };
    let characters: Vec<char> = completion.text.chars().collect();
    let mut events = vec![
        ": a comment is legal anywhere\n\n".to_owned(),
        event(
            json!({ "role": "assistant", "content": "", "refusal": null }),
            Value::Null,
        ),
    ];
    events.extend(
        characters
            .chunks(DELTA)
            .map(|delta| event(json!({ "content": String::from_iter(delta) }), Value::Null)),
    );
    let middle = events.len().div_ceil(2);
    events.push(event(json!({}), json!("stop")));
    if counts {
        events.push(completion.chunk(&json!([]), Some(&completion.usage()), false));
    }
    events.push("data: [DONE]\n\n".to_owned());
    let breaks = match fault {
        Some(Fault::BreaksOff) => {
            events.truncate(middle);
            events.push("data: {\"id\":\"chatcmpl".to_owned());
            true
        }
        Some(Fault::BreaksBeforeUsage) => {
            events.truncate(events.len() - 2);
            true
        }
        Some(Fault::EndsEarly) => {
            events.truncate(middle);
            false
        }
        Some(Fault::Event(text)) => {
            events.truncate(middle);
            events.push(format!("data: {text}\n\n"));
            false
        }
        _ => false,
    };
    Body::from_bytes_stream(stream::iter(pieces(events, breaks)).then(|piece| async {
        // Lets what was written before leave on its own.
        tokio::task::yield_now().await;
        piece
    }))
    .with_content_type("text/event-stream; charset=utf-8")
    .into_response()
}

/// Events in pieces that end anywhere, even inside a character; `breaks`: then the line does.
fn pieces(events: Vec<String>, breaks: bool) -> Vec<std::io::Result<Vec<u8>>> {
    let mut pieces = Vec::new();
    for event in events {
        let mut event = event.into_bytes();
        let inside = event.iter().position(|byte| byte & 0xC0 == 0x80);
        let rest = event.split_off(inside.unwrap_or(event.len() / 2));
        pieces.extend([Ok(event), Ok(rest)]);
    }
    if breaks {
        pieces.push(Err(std::io::Error::other("the line breaks")));
    }
    pieces
}

fn endless(text: &'static str) -> Body {
    Body::from_bytes_stream(stream::repeat(()).then(move |()| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, std::io::Error>(text)
    }))
}

fn embedded(body: &Value) -> Result<Value, &'static str> {
    let model = body["model"]
        .as_str()
        .ok_or("you must provide a model parameter")?;
    let inputs: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if inputs.is_empty() || inputs.len() > EMBED_LIMITS.0 || inputs.contains(&"") {
        return Err("'$.input' is invalid. Please check the API reference.");
    }
    let counts: Vec<usize> = inputs.iter().map(|text| tokens(text)).collect();
    let total: usize = counts.iter().sum();
    if total > EMBED_LIMITS.1 || counts.iter().any(|count| *count > EMBED_LIMITS.2) {
        return Err("Invalid 'input': maximum context length is 8192 tokens.");
    }
    let native = if model.contains("large") {
        3_072
    } else {
        1_536
    };
    let dimensions = match body.get("dimensions").filter(|value| !value.is_null()) {
        None => native,
        Some(_) if model.contains("ada") => {
            return Err("This model does not support specifying dimensions.");
        }
        Some(asked) => asked
            .as_u64()
            .and_then(|asked| usize::try_from(asked).ok())
            .filter(|asked| (1..=native).contains(asked))
            .ok_or("Invalid value for 'dimensions'.")?,
    };
    let in_base64 = body["encoding_format"] == "base64";
    let item = |(index, text): (usize, &&str)| {
        let vector = vector(text, dimensions);
        let embedding = if in_base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    };
    // Last first: the order is the index's, not the list's.
    let data: Vec<Value> = inputs.iter().enumerate().map(item).rev().collect();
    let usage = json!({ "prompt_tokens": total, "total_tokens": total });
    Ok(json!({ "object": "list", "data": data, "model": model, "usage": usage }))
}

/// A unit vector: texts that share words are near each other.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let mut hasher = DefaultHasher::new();
        word.to_lowercase().hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % dimensions as u64).unwrap_or(0);
        vector[place] += 1.0;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
    } else {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
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
