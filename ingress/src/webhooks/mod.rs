//! What channels send: verified, queued, answered.

pub mod manychat;
