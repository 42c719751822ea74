//! Reading bodies: never more than a limit, never for longer than a while.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Body, Request, RequestBody};
use poem_openapi::impl_apirequest_for_payload;
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// What a JSON body may have unless an operation says otherwise.
pub(crate) const JSON_LIMIT: usize = 1024 * 1024;

/// How long a JSON body may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a refused body is read and dropped, and for how long.
///
/// A connection closed on bytes nobody read is reset, and the caller may lose the answer that says why.
const DRAIN_LIMIT: usize = 32 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A JSON body of at most `LIMIT` bytes, refused in our words.
#[derive(Clone, Debug)]
pub(crate) struct JsonBody<T, const LIMIT: usize = JSON_LIMIT>(pub(crate) T);

impl<T: Type, const LIMIT: usize> Payload for JsonBody<T, LIMIT> {
    const CONTENT_TYPE: &'static str = "application/json; charset=utf-8";

    fn check_content_type(content_type: &str) -> bool {
        is_json(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned, const LIMIT: usize> ParsePayload for JsonBody<T, LIMIT> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let bytes = read(request, body.take()?, LIMIT).await?;
        Ok(Self(parse(&bytes)?))
    }
}

impl_apirequest_for_payload!(JsonBody<T, LIMIT>, T: Type + DeserializeOwned, const LIMIT: usize);

/// What a form may have.
const FORM_LIMIT: usize = 64 * 1024;

/// A form of at most [`FORM_LIMIT`] bytes, each field once, refused in our words.
#[derive(Clone, Debug)]
pub(crate) struct FormBody<T>(pub(crate) T);

impl<T: Type> Payload for FormBody<T> {
    const CONTENT_TYPE: &'static str = "application/x-www-form-urlencoded";

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned> ParsePayload for FormBody<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let bytes = read(request, body.take()?, FORM_LIMIT).await?;
        let mut fields = serde_json::Map::new();
        for (name, value) in url::form_urlencoded::parse(&bytes) {
            let value = value.into_owned().into();
            if fields.insert(name.into_owned(), value).is_some() {
                return Err(ApiError::invalid("body", "has a field twice").into());
            }
        }
        let fields = serde_json::to_vec(&fields).unwrap_or_default();
        Ok(Self(parse(&fields)?))
    }
}

impl_apirequest_for_payload!(FormBody<T>, T: Type + DeserializeOwned);

/// Whether `content_type` names JSON, with or without parameters.
pub(crate) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.to_ascii_lowercase().ends_with("+json")
}

/// The whole body.
///
/// # Errors
///
/// 413 where it is longer than `limit`, 408 where it is slow, 400 where it breaks off.
pub(crate) async fn read(request: &Request, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let body = refuse_declared(request, body, limit as u64).await?;
    let mut stream = Box::pin(body.into_bytes_stream());
    let reading = async {
        let first = stream.next().await.transpose()?.unwrap_or_default();
        let Some(second) = stream.next().await.transpose()? else {
            // One piece, as nearly always: no copy.
            return Ok(first);
        };
        let mut bytes = Vec::with_capacity(limit.min(first.len() + 2 * second.len()));
        bytes.extend_from_slice(&first);
        bytes.extend_from_slice(&second);
        while bytes.len() <= limit
            && let Some(piece) = stream.next().await.transpose()?
        {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    };
    let bytes = match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(broken_off(&error)),
        Err(_) => return Err(ApiError::too_slow()),
    };
    if bytes.len() > limit {
        drain(Body::from_bytes_stream(stream)).await;
        return Err(ApiError::too_large(limit as u64));
    }
    Ok(bytes)
}

/// Gives `body` back unless `Content-Length` says it is longer than `limit`.
///
/// # Errors
///
/// 413.
pub(crate) async fn refuse_declared(
    request: &Request,
    body: Body,
    limit: u64,
) -> Result<Body, ApiError> {
    let declared: Option<u64> = request
        .header(header::CONTENT_LENGTH)
        .and_then(|length| length.parse().ok());
    if declared.is_none_or(|length| length <= limit) {
        return Ok(body);
    }
    // Who asks first has sent nothing yet, and will not once it is told.
    if request.header(header::EXPECT).is_none() {
        drain(body).await;
    }
    Err(ApiError::too_large(limit))
}

/// Reads `body` away.
pub(crate) async fn drain(body: Body) {
    let mut stream = Box::pin(body.into_bytes_stream());
    let mut left = DRAIN_LIMIT;
    let draining = async {
        while let Some(Ok(piece)) = stream.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(DRAIN_TIMEOUT, draining).await.ok();
}

fn broken_off(error: &std::io::Error) -> ApiError {
    tracing::debug!(%error, "body broke off");
    ApiError::from(poem::Error::from(ReadBodyError::Io(std::io::Error::other(
        "body broke off",
    ))))
}

/// Decodes JSON, with an error that names the field and says what serde says of it.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // For serde a list is a struct too, its members in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::invalid("body", "must be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // What is no JSON is wrong as a whole.
        let has_place = error.inner().is_data() && path != ".";
        let reason = error.into_inner().to_string();
        let field = quoted(&reason).unwrap_or(if has_place { &path } else { "body" });
        ApiError::invalid(field, reason.clone())
    })?;
    json.end()
        .map_err(|error| ApiError::invalid("body", error.to_string()))?;
    Ok(parsed)
}

/// The field that serde names where it is of no use to say where: it is missing, or unknown.
fn quoted(reason: &str) -> Option<&str> {
    ["missing field `", "unknown field `"]
        .iter()
        .find_map(|words| reason.strip_prefix(words)?.split('`').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_pieces(pieces: Vec<&'static [u8]>, limit: usize) -> Result<Bytes, ApiError> {
        let stream = futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        read(&Request::default(), Body::from_bytes_stream(stream), limit).await
    }

    #[tokio::test]
    async fn a_body_of_undeclared_length_is_cut_at_the_limit() {
        assert_eq!(read_pieces(vec![], 4).await.unwrap(), "");
        assert_eq!(read_pieces(vec![b"abcd"], 4).await.unwrap(), "abcd");
        assert_eq!(
            read_pieces(vec![b"a", b"b", b"cd"], 4).await.unwrap(),
            "abcd"
        );
        for pieces in [
            vec![&b"abcde"[..]],
            vec![b"abcd", b"e"],
            vec![b"a", b"b", b"c", b"de"],
        ] {
            assert_eq!(read_pieces(pieces, 4).await.unwrap_err().status(), 413);
        }
    }

    #[test]
    fn a_list_is_no_object() {
        #[derive(Debug, serde::Deserialize)]
        struct Request {
            #[serde(rename = "name")]
            _name: Option<String>,
        }
        assert!(parse::<Request>(br#"{"name": null}"#).is_ok());
        assert!(parse::<Request>(b" [null]").is_err());
    }

    #[test]
    fn json_is_recognised_with_parameters_and_suffixes() {
        assert!(is_json("application/json"));
        assert!(is_json("Application/JSON; charset=utf-8"));
        assert!(is_json("application/vnd.api+json"));
        assert!(!is_json("text/plain"));
    }

    #[test]
    fn a_missing_field_is_named() {
        #[derive(Debug, serde::Deserialize)]
        struct Request {
            #[serde(rename = "question")]
            _question: String,
        }
        let error = parse::<Request>(b"{}").unwrap_err();
        assert!(
            error.to_string().contains("question: missing field"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_or_unknown_field_is_named_with_its_place() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Request {
            #[serde(rename = "team")]
            _team: Vec<Member>,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Member {
            #[serde(rename = "name")]
            _name: String,
        }
        for (body, named) in [
            (
                r#"{"team": [{"name": "a"}, {"name": 5}]}"#,
                "team[1].name: ",
            ),
            (r#"{"team": [], "role": "admin"}"#, "role: unknown field"),
            (r#"{"team": []} x"#, "body: trailing characters"),
            (r#"{"team": [{"#, "body: EOF"),
        ] {
            let error = parse::<Request>(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
