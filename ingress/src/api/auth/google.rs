//! Signing in on Google's page.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::session::{self, Means, Tokens};
use crate::api::Tag;
use crate::auth::{Origin, Public};
use crate::context::Context;
use crate::error::ApiError;
use crate::open_id::{self, Callback, SignedInWithGoogle};

/// Off to another page.
#[derive(ApiResponse)]
enum Elsewhere {
    /// Go there.
    #[oai(status = 302)]
    Found(
        /// Where.
        #[oai(header = "Location")]
        String,
        /// What the browser keeps meanwhile.
        #[oai(header = "Set-Cookie")]
        String,
    ),
}

/// Back from it.
#[derive(ApiResponse)]
enum Back {
    /// Signed in.
    #[oai(status = 200)]
    SignedIn(
        Json<GoogleSignInResponse>,
        /// Ends the attempt.
        #[oai(header = "Set-Cookie")]
        String,
    ),
}

/// Who signed in, and the tokens of their session.
#[derive(Object)]
#[oai(rename = "GoogleSignIn")]
struct GoogleSignInResponse {
    #[oai(flatten)]
    tokens: Tokens,
    /// The path given to `GET /auth/google`. Null: none.
    return_to: Option<String>,
}

/// The operations of signing in with Google.
pub(super) struct Google;

#[OpenApi(prefix_path = "/auth/google", tag = "Tag::Authentication")]
impl Google {
    /// Begin to sign in with Google: to be opened in a browser.
    #[oai(path = "/", method = "get", operation_id = "begin_google_sign_in")]
    async fn begin(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        /// Where to go once signed in: a path on this origin.
        #[oai(validator(max_length = 512))]
        return_to: Query<Option<String>>,
    ) -> Result<Elsewhere, ApiError> {
        let (page, cookie) = open_id::begin_with_google(&context, return_to.0).await?;
        Ok(Elsewhere::Found(page, cookie))
    }

    /// End a sign-in with Google: where Google sends the browser back to.
    #[oai(
        path = "/callback",
        method = "get",
        operation_id = "end_google_sign_in"
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the parameters OAuth has"
    )]
    async fn end(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: &Request,
        /// Becomes tokens.
        #[oai(validator(max_length = 2048))]
        code: Query<Option<String>>,
        /// Which attempt it belongs to.
        #[oai(validator(max_length = 512))]
        state: Query<Option<String>>,
        /// Who says so.
        #[oai(validator(max_length = 512))]
        iss: Query<Option<String>>,
        /// Why there is no code.
        #[oai(validator(max_length = 128))]
        error: Query<Option<String>>,
    ) -> Result<Back, ApiError> {
        let callback = Callback {
            code: code.0,
            state: state.0,
            iss: iss.0,
            error: error.0,
        };
        let (finished, cookie) =
            open_id::finish_with_google(&context, request.headers(), &callback, &origin).await;
        match finished {
            Ok(SignedInWithGoogle { user, return_to }) => {
                let tokens = session::begin(&context, &user, Means::Google, &origin).await?;
                let body = GoogleSignInResponse { tokens, return_to };
                Ok(Back::SignedIn(Json(body), cookie))
            }
            Err(error) => Err(error.with_cookie(cookie)),
        }
    }
}
