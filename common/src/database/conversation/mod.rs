//! Contacts, chats, messages and deliveries as the workers write them: receiving, turns, deliveries.
//!
//! Whatever changes a chat locks its row first, so what happens in one chat happens one after the other.

pub mod deliveries;
pub mod receive;
pub mod turns;
