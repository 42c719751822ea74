//! Signing in as OAuth 2 clients do: the Authorize button of the documentation is one.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::session::Tokens;
use super::sign_in::{by_password, refreshed};
use crate::api::Tag;
use crate::auth::{Origin, Public};
use crate::body::FormBody;
use crate::context::Context;
use crate::error::ApiError;

/// RFC 6749's request for a token. What else clients send is left aside.
#[derive(Object, Deserialize)]
struct TokenRequest {
    /// `password` or `refresh_token`
    grant_type: String,
    /// With `password`: the e-mail address.
    username: Option<String>,
    /// With `password`.
    password: Option<String>,
    /// With `refresh_token`.
    refresh_token: Option<String>,
}

/// The operation.
pub(super) struct OAuth;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl OAuth {
    /// Get tokens as OAuth 2 does: the grants `password` and `refresh_token`.
    #[oai(path = "/token", method = "post", operation_id = "get_token")]
    async fn token(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: FormBody<TokenRequest>,
    ) -> Result<Json<Tokens>, ApiError> {
        let missing = |field: &str| ApiError::invalid(field, "is missing");
        let request = request.0;
        let tokens = match request.grant_type.as_str() {
            "password" => {
                let username = request.username.ok_or_else(|| missing("username"))?;
                let password = request.password.ok_or_else(|| missing("password"))?;
                by_password(&context, &username, password, "username", &origin).await?
            }
            "refresh_token" => {
                let token = request.refresh_token;
                let token = token.ok_or_else(|| missing("refresh_token"))?;
                refreshed(&context, token, &origin).await?
            }
            _ => {
                let reason = "must be `password` or `refresh_token`";
                return Err(ApiError::invalid("grant_type", reason));
            }
        };
        Ok(Json(tokens))
    }
}
