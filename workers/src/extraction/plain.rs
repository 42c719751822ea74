//! Plain text and Markdown: one page.

use common::domain::chunking::PageText;
use common::domain::document_kind::decode_text;

use super::clean::clean;
use super::{ExtractedDocument, Limits, Refusal};

pub(super) fn extract(bytes: &[u8], limits: &Limits) -> Result<ExtractedDocument, Refusal> {
    let text = decode_text(bytes).ok_or(Refusal::NotText)?;
    let text = clean(&text.replace("\r\n", "\n").replace('\r', "\n"));
    if text.trim().is_empty() {
        return Err(Refusal::Empty);
    }
    // Decoding may grow a text threefold.
    if text.len() > limits.text_bytes {
        return Err(Refusal::TooLarge {
            limit_megabytes: limits.text_bytes as u64 / (1024 * 1024),
        });
    }
    Ok(ExtractedDocument {
        pages: vec![PageText::new(1, text)],
        page_count: 1,
        ..ExtractedDocument::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_clean_page() {
        let document = extract(b"One\r\ntwo\rthree \xE9t\xE9", &Limits::default()).unwrap();
        assert_eq!(document.pages, [PageText::new(1, "One\ntwo\nthree été")]);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(extract(b" \n\t", &Limits::default()), Err(Refusal::Empty));
        assert_eq!(
            extract(b"\x89PNG\r\n\x1a\n\0\0\0", &Limits::default()),
            Err(Refusal::NotText)
        );
    }
}
