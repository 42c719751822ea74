//! What each error of ours and of the libraries means to a caller.

use std::error::Error as _;

use common::Error;
use common::secret::password::Busy;
use poem::error::{MethodNotAllowedError, NotFoundError, ParsePathError, ReadBodyError};
use poem::http::StatusCode;
use poem_openapi::error::{
    AuthorizationError, ContentTypeError, ParseParamError, ParseRequestPayloadError,
};

use super::ApiError;

/// Decides what an error means to a caller, and logs the cause of those that are ours.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(what) => Self::not_found(what),
            Error::Invalid { field, reason } => Self::invalid(field, reason),
            Error::Conflict(reason) => Self::conflict(reason),
            error if error.is_transient() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    cause = error.source(),
                    "not available"
                );
                Self::unavailable()
            }
            error => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    cause = error.source(),
                    "request failed"
                );
                Self::internal()
            }
        }
    }
}

impl From<Busy> for ApiError {
    fn from(error: Busy) -> Self {
        tracing::warn!(%error, "not available");
        Self::unavailable()
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Error::from(error).into()
    }
}

/// The same for what poem and poem-openapi refuse before our code is reached.
impl From<poem::Error> for ApiError {
    fn from(error: poem::Error) -> Self {
        if let Some(error) = error.downcast_ref::<ApiError>() {
            return error.clone();
        }
        if error.is::<NotFoundError>() {
            return Self::new(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "there is nothing at this path",
            );
        }
        if error.is::<MethodNotAllowedError>() {
            let message = "this path does not take this method";
            return Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                message,
            );
        }
        if error.is::<AuthorizationError>() {
            return Self::unauthorized();
        }
        if let Some(error) = error.downcast_ref::<ParseParamError>() {
            return Self::invalid(error.name, plain(&error.reason));
        }
        if let Some(error) = error.downcast_ref::<poem_openapi::error::ParsePathError>() {
            // Its name is the parameter's number; all of ours are ids.
            return Self::invalid("id", plain(&error.reason));
        }
        if error.is::<ParsePathError>() {
            return Self::invalid("path", "does not decode");
        }
        if let Some(error) = error.downcast_ref::<ParseRequestPayloadError>() {
            return Self::invalid("body", plain(&error.reason));
        }
        if let Some(error) = error.downcast_ref::<ContentTypeError>() {
            return Self::unsupported(error.to_string());
        }
        if matches!(
            error.downcast_ref::<ReadBodyError>(),
            Some(ReadBodyError::Io(_))
        ) {
            return Self::invalid("body", "broke off");
        }
        Self::of_status(error.status(), &error)
    }
}

impl ApiError {
    /// For what has no better word: the status decides, the words are ours.
    fn of_status(status: StatusCode, error: &poem::Error) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(status, "PAYLOAD_TOO_LARGE", "the body is too large")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Self::unsupported("the body is of a kind that is not taken here")
            }
            StatusCode::UNAUTHORIZED => Self::unauthorized(),
            StatusCode::NOT_FOUND => {
                Self::new(status, "NOT_FOUND", "there is nothing at this path")
            }
            status if status.is_client_error() => {
                tracing::debug!(%error, "refused");
                Self {
                    status,
                    ..Self::invalid("request", "does not read as what is expected here")
                }
            }
            _ => {
                tracing::error!(%error, "request failed");
                Self::internal()
            }
        }
    }
}

/// `poem-openapi`'s reason without its type names: `failed to parse "t": reason (occurred while parsing "u")`.
fn plain(reason: &str) -> &str {
    let reason = reason
        .split_once("\": ")
        .map_or(reason, |(_, reason)| reason);
    reason.split(" (occurred").next().unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_s_reason_is_told_without_type_names() {
        let reason = "failed to parse \"uint32\": invalid digit (occurred while parsing \"optional_uint32\")";
        assert_eq!(plain(reason), "invalid digit");
        assert_eq!(plain("is missing"), "is missing");
    }
}
