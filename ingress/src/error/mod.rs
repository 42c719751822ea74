//! The one error format.

mod meaning;

use std::borrow::Cow;

use chrono::TimeDelta;
use common::domain::Permission;
use poem::error::ResponseError;
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::{ApiResponse, Object};
use serde_json::{Value, json};

/// Seconds after which it makes sense to try again what failed because a store was away.
const RETRY_AFTER_SECONDS: u32 = 2;

/// The same for what an operator has to set up first.
const CONFIGURED_SECONDS: u32 = 60 * 60;

/// What every refusal looks like.
#[derive(Clone, Debug, Object)]
#[oai(rename = "Error")]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, Object)]
pub struct ErrorDetail {
    /// For programs: does not change.
    pub code: String,
    /// For people: may change.
    pub message: String,
    /// More, by code: `field` and `reason` of a `VALIDATION_ERROR`.
    pub details: Value,
}

/// A refusal on its way to the caller.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    details: Value,
    retry_after: Option<u32>,
    /// A cookie the browser is to keep or to forget.
    cookie: Option<String>,
}

impl ApiError {
    /// A refusal with neither details nor advice.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: json!({}),
            retry_after: None,
            cookie: None,
        }
    }

    /// 400: `field` breaks a rule.
    pub fn invalid(field: &str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let message = format!("{field}: {reason}");
        Self::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message)
            .with_details(json!({ "field": field, "reason": reason }))
    }

    /// 401: nobody we know.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "the credentials are missing or not valid",
        )
    }

    /// 403: known, but not allowed.
    pub fn forbidden(permission: Permission) -> Self {
        let message = format!("this needs the permission `{}`", permission.name());
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
            .with_details(json!({ "permission": permission.name() }))
    }

    /// 403: only the user may do this, signed in themselves; no API key, and nobody who acts for them.
    pub fn in_person() -> Self {
        let message = "only the user in person may do this";
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// 403: it concerns owners of the business, and the caller is none.
    pub fn owners_only() -> Self {
        let message = "only an owner of the business may do this";
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// 403: the invitation is for somebody else, or nobody has proved who the caller is.
    pub fn another_address() -> Self {
        let message = "the invitation is for another e-mail address, or yours is not verified";
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// 404: there is none, or it is another's: nobody can tell.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            format!("{what} not found"),
        )
    }

    /// 408: the body came too slowly.
    pub fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "REQUEST_TIMEOUT",
            "the body did not arrive in time",
        )
    }

    /// 413: longer than `limit` bytes.
    pub fn too_large(limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "PAYLOAD_TOO_LARGE",
            format!("at most {limit} bytes are accepted"),
        )
        .with_details(json!({ "limit_bytes": limit }))
    }

    /// 415: not of a kind that is taken here.
    pub fn unsupported(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            reason,
        )
    }

    /// 429: too often; try again after `wait`.
    pub fn too_many(wait: TimeDelta) -> Self {
        let message = "too many of these were asked for; try again later";
        // Rounded up: who comes back then is let in.
        let seconds = u32::try_from(wait.num_milliseconds().max(0) / 1_000 + 1);
        Self {
            retry_after: Some(seconds.unwrap_or(u32::MAX)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", message)
        }
    }

    /// 409: the state of things forbids it.
    pub fn conflict(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", reason)
    }

    /// 422: understood, and not possible.
    pub fn not_possible(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "NOT_POSSIBLE", reason)
    }

    /// 500: ours; the cause is in the log.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "something went wrong on our side",
        )
    }

    /// 503: try again soon.
    pub fn unavailable() -> Self {
        let message = "the service cannot do this right now; try again soon";
        Self {
            retry_after: Some(RETRY_AFTER_SECONDS),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
        }
    }

    /// 503: the operator has not set it up.
    pub fn not_configured(reason: &'static str) -> Self {
        Self {
            retry_after: Some(CONFIGURED_SECONDS),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "NOT_CONFIGURED", reason)
        }
    }

    /// 503: a job ended badly; asking again makes a new one.
    pub fn job_failed(details: Value) -> Self {
        let message = "no answer could be made; try again soon";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "JOB_FAILED", message);
        Self {
            retry_after: Some(RETRY_AFTER_SECONDS),
            details,
            ..error
        }
    }

    /// With `details`, an object.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// Whether it is a 401.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Whether it is a 429.
    pub(crate) fn is_too_many(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// With a `Set-Cookie` header.
    #[must_use]
    pub fn with_cookie(mut self, cookie: String) -> Self {
        self.cookie = Some(cookie);
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer it becomes.
    pub fn to_response(&self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message, "details": self.details } });
        let mut response = poem::web::Json(body)
            .with_status(self.status)
            .into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(cookie) = self.cookie.as_ref().and_then(|cookie| cookie.parse().ok()) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
        }
        response
    }
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn as_response(&self) -> Response {
        self.to_response()
    }
}

/// What any operation may answer, for the OpenAPI document.
const DOCUMENTED: [(u16, &str); 12] = [
    (
        400,
        "Malformed or invalid: the details name the field and the reason.",
    ),
    (401, "The credentials are missing or not valid."),
    (403, "The caller is known, and may not do this."),
    (404, "There is none, or it belongs to another business."),
    (408, "The body did not arrive in time."),
    (409, "The state of things forbids it."),
    (413, "The body is too large."),
    (415, "The body is of a kind that is not taken here."),
    (422, "Understood, and not possible."),
    (429, "Too often: try again after `Retry-After` seconds."),
    (500, "Something went wrong on our side."),
    (
        503,
        "Not possible right now: try again after `Retry-After` seconds.",
    ),
];

impl ApiResponse for ApiError {
    fn meta() -> MetaResponses {
        let response = |(status, description)| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: Json::<ErrorBody>::CONTENT_TYPE,
                schema: Json::<ErrorBody>::schema_ref(),
            }],
            headers: vec![],
        };
        MetaResponses {
            responses: DOCUMENTED.into_iter().map(response).collect(),
        }
    }

    fn register(registry: &mut Registry) {
        <Json<ErrorBody> as Payload>::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use common::Error;

    use super::*;

    async fn body(response: Response) -> Value {
        response.into_body().into_json().await.unwrap()
    }

    #[tokio::test]
    async fn every_error_has_code_message_and_details() {
        let response = ApiError::invalid("limit", "at most 100").to_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            body(response).await,
            json!({"error": {
                "code": "VALIDATION_ERROR", "message": "limit: at most 100",
                "details": {"field": "limit", "reason": "at most 100"},
            }})
        );
        assert_eq!(
            body(ApiError::internal().to_response()).await["error"]["details"],
            json!({})
        );
    }

    #[tokio::test]
    async fn what_can_be_tried_again_says_when() {
        let response = ApiError::from(Error::Database(sqlx::Error::PoolTimedOut)).to_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.header(header::RETRY_AFTER), Some("2"));
    }

    #[tokio::test]
    async fn the_cause_of_an_internal_error_is_not_told() {
        let error = ApiError::from(Error::Database(sqlx::Error::ColumnNotFound(
            "secret_column".to_owned(),
        )));
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            !body(error.to_response())
                .await
                .to_string()
                .contains("secret_column")
        );

        let error = poem::Error::from_string("secret", StatusCode::BAD_GATEWAY);
        assert!(
            !body(ApiError::from(error).to_response())
                .await
                .to_string()
                .contains("secret")
        );
    }
}
