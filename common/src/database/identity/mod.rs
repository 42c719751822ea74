//! Who signs in: users, their sessions and memberships.

pub mod directory;
pub mod email_proofs;
pub mod identities;
pub mod invitation_mail;
pub mod invitations;
pub mod memberships;
pub mod phone_codes;
pub mod refresh_tokens;
pub mod sessions;
pub mod users;
