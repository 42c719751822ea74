//! Types that cannot be wrong and rules without I/O. Depends on nothing else in this crate.

pub mod business;
pub mod business_hours;
pub mod channel;
pub mod chunking;
pub mod document_kind;
pub mod email;
pub mod ids;
pub mod language;
pub mod outbound_url;
pub mod phone;
pub mod roles;
pub mod splitting;
pub mod text;

pub use business::{Currency, DeliveryPolicy, Industry, Stage};
pub use channel::Channel;
pub use email::EmailAddress;
pub use ids::*;
pub use language::Language;
pub use phone::PhoneNumber;
pub use roles::{MemberRole, Permission, Role};
