//! Characters as the rest of the system takes them: composed, without controls (`PostgreSQL` refuses NUL), without
//! ligatures, and with plain spaces.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Cleans `text`; line feeds and tabs stay.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => cleaned.push(c),
            // No-break, thin and the other typographic spaces.
            '\u{A0}'
            | '\u{2000}'..='\u{200A}'
            | '\u{202F}'
            | '\u{205F}'
            | '\u{3000}'
            | '\u{1680}' => cleaned.push(' '),
            '\u{FB00}' => cleaned.push_str("ff"),
            '\u{FB01}' => cleaned.push_str("fi"),
            '\u{FB02}' => cleaned.push_str("fl"),
            '\u{FB03}' => cleaned.push_str("ffi"),
            '\u{FB04}' => cleaned.push_str("ffl"),
            '\u{FB05}' | '\u{FB06}' => cleaned.push_str("st"),
            '\u{2028}' | '\u{2029}' => cleaned.push('\n'),
            c if is_invisible(c) => {}
            c => cleaned.push(c),
        }
    }
    match is_nfc_quick(cleaned.chars()) {
        IsNormalized::Yes => cleaned,
        _ => cleaned.nfc().collect(),
    }
}

/// Controls, zero-width characters, directional marks, tags and non-characters. Joiners stay: Persian, Indic scripts
/// and emoji are spelt with them.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
        || u32::from(c) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_or_stored_goes_and_the_rest_stays() {
        assert_eq!(clean("a\0b\u{200B}c\u{7}\u{FEFF}\u{FFFF}\u{E0041}"), "abc");
        assert_eq!(clean("eﬃcace, ﬁn, ﬂot"), "efficace, fin, flot");
        assert_eq!(
            clean("« Qui\u{202F}? »\u{A0}: 1\u{2009}000"),
            "« Qui ? » : 1 000"
        );
        assert_eq!(clean("e\u{301}te\u{301}"), "été");
        assert_eq!(
            clean("line\n\tnext 👩\u{200D}🔬 Straße"),
            "line\n\tnext 👩\u{200D}🔬 Straße"
        );
    }
}
