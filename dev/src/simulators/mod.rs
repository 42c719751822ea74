//! Outside services as they behave on the wire, for development and tests.

pub mod manychat;
pub mod openai;
pub mod openid;
pub mod twilio;
