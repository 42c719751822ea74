//! What the two processes say to each other.
//!
//! To the child: the [`Request`], as JSON in its only environment variable, and the document as its standard input.
//! From the child: one frame, of a magic word, the payload's length and the [`Response`] as JSON.

use std::io;

use common::domain::chunking::PageText;
use common::domain::document_kind::DocumentKind;
use serde::{Deserialize, Serialize};

use super::Refusal;

/// The environment variable that carries the [`Request`].
pub(super) const REQUEST_VARIABLE: &str = "RELAIS_EXTRACTION";

/// What every frame begins with: anything else on standard output is not an answer.
const MAGIC: [u8; 8] = *b"RELAIS1\n";

/// What an extraction may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The size of the file.
    pub file_bytes: u64,
    /// The number of its pages.
    pub pages: usize,
    /// The text that comes out, over all pages.
    pub text_bytes: usize,
    /// The child's writable memory beside the file itself, its stacks included.
    pub memory_bytes: u64,
    /// The child's CPU time.
    pub cpu_seconds: u64,
    /// The time by the clock until the parent kills the child.
    pub wall_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 20 * 1024 * 1024,
            pages: 200,
            text_bytes: 20 * 1024 * 1024,
            // Measured: honest documents stay under 64 MB. What a bomb wants has no bound.
            memory_bytes: 256 * 1024 * 1024,
            // Measured: 200 pages of text take under a second, an unoptimised build ten times that.
            cpu_seconds: 20,
            wall_seconds: 120,
        }
    }
}

/// What the child is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) kind: DocumentKind,
    pub(super) limits: Limits,
}

/// The text of a document, and how well it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtractedDocument {
    /// Every page, in order; a page without text is there, empty. A text file is one page.
    pub pages: Vec<PageText>,
    /// How many pages the document has.
    pub page_count: usize,
    /// The numbers of the pages without text.
    pub empty_pages: Vec<u32>,
    /// Lines left out because they repeat from page to page: headers, footers, page numbers.
    pub dropped_lines: usize,
    /// Glyphs the file gives no meaning for, left out.
    pub unmapped_glyphs: usize,
}

/// What the child answers.
pub(super) type Response = Result<ExtractedDocument, Refusal>;

/// Writes `response` as a frame.
pub(super) fn write_frame(response: &Response, out: &mut impl io::Write) -> io::Result<()> {
    let payload = serde_json::to_vec(response)?;
    out.write_all(&MAGIC)?;
    out.write_all(&(payload.len() as u64).to_le_bytes())?;
    out.write_all(&payload)?;
    out.flush()
}

/// Reads a frame; `None` where the bytes are not exactly one.
pub(super) fn read_frame(bytes: &[u8]) -> Option<Response> {
    let (length, payload) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*length) == payload.len() as u64).then_some(())?;
    serde_json::from_slice(payload).ok()
}

/// How long a frame may be: JSON escapes double at worst what our text consists of.
pub(super) fn max_frame_bytes(limits: &Limits) -> u64 {
    2 * limits.text_bytes as u64 + 1024 * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_a_cut_one_does_not() {
        let response: Response = Ok(ExtractedDocument {
            page_count: 3,
            ..ExtractedDocument::default()
        });
        let mut frame = Vec::new();
        write_frame(&response, &mut frame).unwrap();
        assert_eq!(read_frame(&frame), Some(response));
        assert_eq!(read_frame(&frame[..frame.len() - 1]), None);
        assert_eq!(read_frame(b"thread 'main' panicked"), None);
    }
}
