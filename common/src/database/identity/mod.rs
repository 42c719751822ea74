//! Who signs in: users, their sessions and memberships.

pub mod memberships;
pub mod refresh_tokens;
pub mod sessions;
pub mod users;
