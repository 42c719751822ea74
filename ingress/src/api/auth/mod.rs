//! Signing up, signing in, and staying so.

mod codes;
mod email;
mod google;
mod oauth;
mod password;
mod proofs;
mod refresh;
pub(crate) mod session;
mod sessions;
mod sign_in;

use poem_openapi::OpenApi;

/// All of them.
pub(super) fn operations() -> impl OpenApi {
    (
        sign_in::SignIn,
        oauth::OAuth,
        sessions::Sessions,
        email::Email,
        password::Passwords,
        codes::Codes,
        google::Google,
    )
}
