//! `Idempotency-Key`: a POST that is sent again is done once, and answered alike.
//!
//! What was answered is kept in Redis for a day, sealed, since it may carry a secret that is shown once. Emptied, Redis
//! forgets it, and what is sent again is done again.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::secret::{Purpose, hash, to_hex};
use common::telemetry;
use fred::interfaces::KeysInterface;
use fred::types::Expiration;
use fred::types::scripts::Script;
use poem::http::{HeaderName, Method, StatusCode, header};
use poem::{Endpoint, IntoEndpoint, IntoResponse, Request, Response};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::Instrument;

use crate::auth;
use crate::body::{self, JSON_LIMIT, is_json};
use crate::context::Context;
use crate::error::ApiError;
use crate::limits::{STANDING, tell};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A longer key is somebody's mistake.
const LONGEST_KEY: usize = 255;

/// The longest answer that is kept; a longer one is not answered again.
const LONGEST_ANSWER: usize = 256 * 1024;

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// How long a request may take before it counts as lost: longer than any operation's limit.
const RUNS_FOR: Duration = Duration::from_secs(200);

/// Marks a key as being worked on, unless it is known: then what is known of it is answered.
///
/// - `KEYS`: the record
/// - `ARGV`: the mark, and for how many milliseconds it holds
const CLAIM: &str = r#"
local known = redis.call("GET", KEYS[1])
if not known then redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2]) end
return known
"#;

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Of the request: another body is another request.
    fingerprint: String,
    /// Sealed; `None`: it is being worked on.
    answer: Option<String>,
}

/// An answer as it is kept, before it is sealed.
#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    content_type: Option<String>,
    body: String,
}

/// Puts `inner`'s POSTs under keys.
pub(crate) struct Idempotent<E>(Arc<E>);

impl<E> Idempotent<E> {
    pub(crate) fn new(inner: impl IntoEndpoint<Endpoint = E>) -> Self {
        Self(Arc::new(inner.into_endpoint()))
    }
}

impl<E: Endpoint + 'static> Endpoint for Idempotent<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let Some(key) = key_of(&request)? else {
            return self.0.call(request).await.map(IntoResponse::into_response);
        };
        // Whose token is worth nothing any more is not told what it once was answered, and leaves no trace.
        if auth::identify(&request).await.is_err() {
            return self.0.call(request).await.map(IntoResponse::into_response);
        }
        let context = Arc::clone(auth::context(&request));
        let is_read = is_json(request.content_type().unwrap_or_default());
        let (request, fingerprint) = fingerprint(request, is_read).await?;
        let place = place(&request, &key);
        let record = Record {
            fingerprint,
            answer: None,
        };
        if let Some(known) = claim(&context, &place, &record).await? {
            return replay(&context, &place, &known, &record.fingerprint);
        }
        // Goes on where the caller hangs up: they will ask again.
        let inner = Arc::clone(&self.0);
        let id = telemetry::current_request_id().unwrap_or_default();
        let (redis, claimed) = (context.dispatch.redis().clone(), place.clone());
        let work = async move {
            let response = match inner.call(request).await {
                Ok(output) => output.into_response(),
                Err(error) => ApiError::from(error).to_response(),
            };
            let lasts = lasts(response.status(), is_read);
            let response = keep(&context, &place, record, response, lasts).await;
            (response, STANDING.with(Cell::get))
        };
        let work = telemetry::within_request(id, STANDING.scope(Cell::new(None), work));
        let Ok((response, standing)) = tokio::spawn(work.in_current_span()).await else {
            // It panicked, which is in the log: it may be tried again.
            redis.del::<(), _>(claimed).await.ok();
            return Err(ApiError::internal().into());
        };
        standing.into_iter().for_each(tell);
        Ok(response)
    }
}

/// The request's key, where it has one that counts. Not for webhooks, which have ids of their own, nor for signing in, whose
/// answers are worth something only once.
fn key_of(request: &Request) -> Result<Option<String>, ApiError> {
    let path = request.original_uri().path();
    let counts = request.method() == Method::POST
        && !["/api/v1/webhook/", "/api/v1/auth/"]
            .iter()
            .any(|prefix| path.starts_with(prefix));
    let Some(key) = request.headers().get(&KEY).filter(|_| counts) else {
        return Ok(None);
    };
    let sane = |key: &&str| {
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let key = key.to_str().ok().filter(sane).ok_or_else(|| {
        let reason = format!("must have 1 to {LONGEST_KEY} visible characters");
        ApiError::invalid("Idempotency-Key", reason)
    })?;
    Ok(Some(key.to_owned()))
}

/// What tells two requests with one key apart. Of what is not JSON, a file on its way, only the length: it is not read here.
async fn fingerprint(mut request: Request, is_read: bool) -> Result<(Request, String), ApiError> {
    let mut digest = Sha256::new();
    if is_read {
        let body = request.take_body();
        let bytes = body::read(&request, body, JSON_LIMIT).await?;
        digest.update(&bytes);
        request.set_body(bytes);
    } else {
        digest.update(request.header(header::CONTENT_LENGTH).unwrap_or_default());
    }
    Ok((request, to_hex(&digest.finalize())))
}

/// Where the record is: a key is its sender's own, for this operation.
fn place(request: &Request, key: &str) -> String {
    let part = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let whole = [
        part("authorization"),
        part("x-business-id"),
        request.original_uri().path().to_owned(),
        key.to_owned(),
    ];
    format!("relais:idempotency:{}", to_hex(&hash(&whole.join("\n"))))
}

async fn claim(
    context: &Context,
    place: &str,
    record: &Record,
) -> Result<Option<Record>, ApiError> {
    let millis = RUNS_FOR.as_millis().to_string();
    let known: Option<String> = Script::from_lua(CLAIM)
        .evalsha_with_reload(
            context.dispatch.redis(),
            vec![place],
            vec![encode(record), millis],
        )
        .await
        .map_err(common::Error::from)?;
    known.map(|known| decode(&known)).transpose()
}

fn replay(
    context: &Context,
    place: &str,
    known: &Record,
    fingerprint: &str,
) -> poem::Result<Response> {
    if known.fingerprint != fingerprint {
        let message = "this Idempotency-Key was used for another request";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(ApiError::new(status, "IDEMPOTENCY_MISMATCH", message).into());
    }
    let Some(sealed) = &known.answer else {
        let message = "the request with this Idempotency-Key is still being worked on";
        return Err(ApiError::new(StatusCode::CONFLICT, "IDEMPOTENCY_RUNNING", message).into());
    };
    let opened = BASE64
        .decode(sealed)
        .ok()
        .and_then(|sealed| {
            context
                .key(Purpose::IdempotencyRecords)
                .open(&sealed, place)
        })
        .and_then(|json| serde_json::from_str::<Answer>(json.expose_secret()).ok())
        .ok_or_else(ApiError::internal)?;
    let mut response = Response::builder()
        .status(StatusCode::from_u16(opened.status).map_err(|_| ApiError::internal())?)
        .header(REPLAYED, "true");
    if let Some(content_type) = opened.content_type {
        response = response.content_type(content_type);
    }
    Ok(response.body(opened.body))
}

/// Keeps the answer, if asking again would bring the same; else forgets that it was asked.
async fn keep(
    context: &Context,
    place: &str,
    mut record: Record,
    response: Response,
    lasts: bool,
) -> Response {
    let status = response.status();
    let (parts, body) = response.into_parts();
    let bytes = match body.into_bytes().await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(%error, "an answer broke off");
            return ApiError::internal().to_response();
        }
    };
    let text = std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| text.len() <= LONGEST_ANSWER);
    let redis = context.dispatch.redis();
    let kept: Result<(), _> = match text.filter(|_| lasts) {
        Some(text) => {
            let content_type = parts.headers.get(header::CONTENT_TYPE);
            let answer = Answer {
                status: status.as_u16(),
                content_type: content_type
                    .and_then(|kind| kind.to_str().ok())
                    .map(str::to_owned),
                body: text.to_owned(),
            };
            let json = serde_json::to_string(&answer).unwrap_or_default();
            let sealed = context.key(Purpose::IdempotencyRecords).seal(&json, place);
            record.answer = Some(BASE64.encode(sealed));
            let seconds = i64::try_from(KEPT_FOR.as_secs()).unwrap_or(i64::MAX);
            redis
                .set(
                    place,
                    encode(&record),
                    Some(Expiration::EX(seconds)),
                    None,
                    false,
                )
                .await
        }
        None => redis.del(place).await,
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "an answer was not kept for its Idempotency-Key");
    }
    Response::from_parts(parts, bytes.into())
}

/// Whether a request that was answered so would be answered so again: rights and limits change, what failed may work, and
/// a file that did not arrive whole may do so the next time.
fn lasts(status: StatusCode, is_read: bool) -> bool {
    status.is_success()
        || is_read
            && !status.is_server_error()
            && !matches!(
                status,
                StatusCode::UNAUTHORIZED
                    | StatusCode::FORBIDDEN
                    | StatusCode::PAYMENT_REQUIRED
                    | StatusCode::REQUEST_TIMEOUT
                    | StatusCode::TOO_MANY_REQUESTS
            )
}

fn encode(record: &Record) -> String {
    serde_json::to_string(record).expect("texts are plain JSON")
}

fn decode(text: &str) -> Result<Record, ApiError> {
    serde_json::from_str(text).map_err(|error| {
        tracing::error!(%error, "a record of an Idempotency-Key does not read");
        ApiError::internal()
    })
}
