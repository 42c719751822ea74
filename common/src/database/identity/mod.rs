//! Who signs in: users, their sessions and memberships.

pub mod invitations;
pub mod memberships;
pub mod sessions;
pub mod users;
