//! Signing up, signing in, and staying so.

mod id_token;
mod refresh;
pub(crate) mod session;
mod sign_in;
mod user;

pub(super) use sign_in::SignIn;
