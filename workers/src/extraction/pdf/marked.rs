//! Marked content: what the file itself says about stretches of its text.

use hayro_syntax::content::Instruction;
use hayro_syntax::object::dict::keys;
use hayro_syntax::object::{Dict, Name, Object, String as PdfString};
use hayro_syntax::page::Resources;

/// The properties that a `BDC` instruction gives, written out or named.
pub(super) fn marked_content(
    instruction: &Instruction<'_, '_>,
    resources: &Resources<'_>,
) -> Option<Properties> {
    match instruction.operands().nth(1)? {
        Object::Dict(dict) => Some(Properties::read(dict)),
        Object::Name(name) => resources
            .properties
            .get::<Dict<'_>>(name)
            .map(|dict| Properties::read(&dict)),
        _ => None,
    }
}

/// What a marked content's properties say about its text.
pub(super) struct Properties {
    /// The text it stands for, in place of its glyphs.
    pub(super) actual_text: Option<String>,
    /// A header, footer or page number.
    pub(super) pagination: bool,
}

impl Properties {
    fn read(dict: &Dict<'_>) -> Self {
        Self {
            actual_text: dict
                .get::<PdfString<'_>>(b"ActualText")
                .map(|text| text_string(text.as_bytes())),
            pagination: dict
                .get::<Name<'_>>(keys::TYPE)
                .is_some_and(|name| name.as_ref() == b"Pagination"),
        }
    }
}

/// A text string of the document's structure: UTF-16 or UTF-8 by its byte order mark, else close to Latin-1.
fn text_string(bytes: &[u8]) -> String {
    match bytes {
        [0xFE, 0xFF, rest @ ..] => {
            let units = rest
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).filter_map(Result::ok).collect()
        }
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        bytes => bytes.iter().copied().map(char::from).collect(),
    }
}
