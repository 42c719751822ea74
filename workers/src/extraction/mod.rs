//! Turns an uploaded file into pages of text, in a child process that a hostile file cannot break out of or bring down.
//!
//! [`Extractor`] is the worker's side: it starts the child with an empty environment and the document as its standard
//! input, bounds its time and output, and turns whatever becomes of it into an [`ExtractionError`].
//! [`child_main`] is the child's side: it first takes away its own means (memory, CPU time, files, processes), then
//! parses.

mod child;
mod clean;
mod error;
mod parent;
mod pdf;
mod plain;
mod protocol;

pub use child::child_main;
pub use error::{ExtractionError, Refusal};
pub use parent::Extractor;
pub use protocol::{ExtractedDocument, Limits};
