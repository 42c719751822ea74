//! What an uploaded file is: decided from its name, its declared type and its first bytes.

/// How many of a file's first bytes [`DocumentKind::detect`] looks at.
///
/// PDF readers accept the header anywhere in the first 1,024 bytes (ISO 32000-1, annex H, note 13).
pub const SNIFF_BYTES: usize = 1024;

/// The kinds of file that become documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// `application/pdf`
    Pdf,
    /// `text/plain`
    PlainText,
    /// `text/markdown`
    Markdown,
}

/// Why a file is not taken: the ingress answers 415.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// Neither the name nor the declared type is one of ours.
    #[error("only PDF, plain text and Markdown files are accepted")]
    Unsupported,
    /// It is called a PDF and does not start like one.
    #[error("the file is called a PDF but is not one")]
    NotAPdf,
    /// It is called a text and has bytes that no text has, or is a PDF.
    #[error("the file is called a text but is not one")]
    NotText,
}

impl DocumentKind {
    /// Decides the kind of a file from its name, falling back to the declared media type, and checks that its first
    /// [`SNIFF_BYTES`] agree.
    ///
    /// # Errors
    ///
    /// [`DetectError`]: the kind is not accepted, or the bytes belie the name. An empty file is its name's kind:
    /// the extraction says that it is empty.
    pub fn detect(
        filename: &str,
        declared_media_type: Option<&str>,
        first_bytes: &[u8],
    ) -> Result<Self, DetectError> {
        let first_bytes = &first_bytes[..first_bytes.len().min(SNIFF_BYTES)];
        let kind = match extension(filename) {
            Some(extension) => Self::from_extension(&extension),
            None => declared_media_type.and_then(Self::from_media_type),
        };
        match kind.ok_or(DetectError::Unsupported)? {
            kind if first_bytes.is_empty() => Ok(kind),
            Self::Pdf if has_pdf_header(first_bytes) => Ok(Self::Pdf),
            Self::Pdf => Err(DetectError::NotAPdf),
            _ if first_bytes.starts_with(b"%PDF-") || !looks_like_text(first_bytes) => {
                Err(DetectError::NotText)
            }
            kind => Ok(kind),
        }
    }

    /// Its media type, as files of this kind are stored and served.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::PlainText => "text/plain",
            Self::Markdown => "text/markdown",
        }
    }

    /// The kind of a media type; parameters such as `charset` are ignored.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/pdf" | "application/x-pdf" => Some(Self::Pdf),
            "text/plain" => Some(Self::PlainText),
            "text/markdown" | "text/x-markdown" => Some(Self::Markdown),
            _ => None,
        }
    }

    fn from_extension(extension: &str) -> Option<Self> {
        match extension {
            "pdf" => Some(Self::Pdf),
            "txt" | "text" => Some(Self::PlainText),
            "md" | "markdown" => Some(Self::Markdown),
            _ => None,
        }
    }
}

/// Whether a PDF header stands in the first [`SNIFF_BYTES`].
pub fn has_pdf_header(first_bytes: &[u8]) -> bool {
    let first_bytes = &first_bytes[..first_bytes.len().min(SNIFF_BYTES)];
    first_bytes.windows(5).any(|window| window == b"%PDF-")
}

/// Decodes a text file: UTF-8 with or without a byte order mark, UTF-16 with one, else Windows-1252.
///
/// `None` where the bytes are not text in any of them.
pub fn decode_text(bytes: &[u8]) -> Option<String> {
    if !looks_like_text(&bytes[..bytes.len().min(SNIFF_BYTES)]) {
        return None;
    }
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        [0xFF, 0xFE, rest @ ..] => Some(decode_utf16(rest, u16::from_le_bytes)),
        [0xFE, 0xFF, rest @ ..] => Some(decode_utf16(rest, u16::from_be_bytes)),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Some(text.to_owned()),
            Err(_) => decode_windows_1252(bytes),
        },
    }
}

fn extension(filename: &str) -> Option<String> {
    let name = filename.rsplit(['/', '\\']).next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_ascii_lowercase())
}

fn looks_like_text(first_bytes: &[u8]) -> bool {
    match first_bytes {
        [0xFF, 0xFE, rest @ ..] => !decode_utf16(rest, u16::from_le_bytes).contains('\0'),
        [0xFE, 0xFF, rest @ ..] => !decode_utf16(rest, u16::from_be_bytes).contains('\0'),
        _ => match std::str::from_utf8(first_bytes) {
            Ok(text) => !text.contains('\0'),
            // No `error_len`: the last character goes on after the bytes at hand.
            Err(error) if error.error_len().is_none() => !first_bytes.contains(&0),
            Err(_) => decode_windows_1252(first_bytes).is_some(),
        },
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units)
        .map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Refuses bytes that Windows-1252 leaves undefined and control characters: binary files are full of them.
fn decode_windows_1252(bytes: &[u8]) -> Option<String> {
    bytes
        .iter()
        .map(|&byte| match byte {
            b'\t' | b'\n' | b'\r' | 0x0C | 0x20..=0x7E | 0xA0..=0xFF => Some(char::from(byte)),
            0x80..=0x9F => Some(WINDOWS_1252[usize::from(byte - 0x80)]).filter(|c| *c != '\0'),
            _ => None,
        })
        .collect()
}

/// The characters of 0x80 to 0x9F; `\0` where undefined. Source: <https://encoding.spec.whatwg.org/#windows-1252>.
#[rustfmt::skip]
const WINDOWS_1252: [char; 32] = [
    '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0',
    '\0', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
];

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    #[test]
    fn the_extension_decides_and_the_bytes_must_agree() {
        assert_eq!(
            DocumentKind::detect("a.PDF", None, b"%PDF-1.7\n"),
            Ok(DocumentKind::Pdf)
        );
        assert_eq!(
            DocumentKind::detect("a.txt", Some("application/pdf"), b"hello"),
            Ok(DocumentKind::PlainText)
        );
        assert_eq!(
            DocumentKind::detect("dir.d/a.md", None, b"# Title"),
            Ok(DocumentKind::Markdown)
        );
        assert_eq!(
            DocumentKind::detect("a.pdf", None, b"<html>"),
            Err(DetectError::NotAPdf)
        );
        assert_eq!(
            DocumentKind::detect("a.pdf", Some("application/pdf"), PNG),
            Err(DetectError::NotAPdf)
        );
        assert_eq!(
            DocumentKind::detect("a.txt", None, PNG),
            Err(DetectError::NotText)
        );
        assert_eq!(
            DocumentKind::detect("a.md", None, b"%PDF-1.4"),
            Err(DetectError::NotText)
        );
        assert_eq!(
            DocumentKind::detect("a.docx", Some("text/plain"), b"hello"),
            Err(DetectError::Unsupported)
        );
    }

    #[test]
    fn without_an_extension_the_declared_type_decides() {
        assert_eq!(
            DocumentKind::detect("notes", Some("text/plain; charset=utf-8"), b"x"),
            Ok(DocumentKind::PlainText)
        );
        assert_eq!(
            DocumentKind::detect("notes", None, b"x"),
            Err(DetectError::Unsupported)
        );
        assert_eq!(
            DocumentKind::detect(".pdf", None, b"%PDF-1.4"),
            Err(DetectError::Unsupported)
        );
    }

    #[test]
    fn a_pdf_header_may_come_late_but_not_after_1024_bytes() {
        let at = |offset: usize| [vec![b'\n'; offset], b"%PDF-1.4".to_vec()].concat();
        assert_eq!(
            DocumentKind::detect("a.pdf", None, &at(1019)),
            Ok(DocumentKind::Pdf)
        );
        assert_eq!(
            DocumentKind::detect("a.pdf", None, &at(1020)),
            Err(DetectError::NotAPdf)
        );
    }

    #[test]
    fn a_character_cut_at_the_end_of_the_first_bytes_is_no_reason_to_refuse() {
        let bytes = [vec![b'a'; SNIFF_BYTES - 1], "é".as_bytes().to_vec()].concat();
        assert_eq!(
            DocumentKind::detect("a.txt", None, &bytes),
            Ok(DocumentKind::PlainText)
        );
        assert_eq!(
            decode_text(&bytes).map(|text| text.ends_with('é')),
            Some(true)
        );
    }

    #[test]
    fn text_is_decoded_from_every_accepted_encoding() {
        let utf16: Vec<u8> = "\u{FEFF}Été 😀"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(decode_text(&utf16).as_deref(), Some("Été 😀"));
        assert_eq!(
            decode_text("\u{FEFF}Été".as_bytes()).as_deref(),
            Some("Été")
        );
        assert_eq!(
            decode_text(b"\xC9t\xE9 \x80 \x9C").as_deref(),
            Some("Été € œ")
        );
        assert_eq!(decode_text(b"\xC9t\xE9 \x01"), None);
        assert_eq!(
            decode_text(b"\xFF\xFE\x00\xD8").as_deref(),
            Some("\u{FFFD}")
        );
    }
}
