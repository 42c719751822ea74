//! Letters without what people leave out when they type.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Lower case without accents; ligatures opened; one apostrophe, one hyphen, one space; invisible characters gone.
///
/// The number of characters may change: positions in the folded text are not positions in the original.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    // Compatibility decomposition opens ﬁ and ½, narrows wide letters and turns the French thin spaces into spaces.
    for c in text.nfkd() {
        match c {
            'a'..='z' | '0'..='9' | ' ' => folded.push(c),
            'A'..='Z' => folded.push(c.to_ascii_lowercase()),
            'œ' | 'Œ' => folded.push_str("oe"),
            'æ' | 'Æ' => folded.push_str("ae"),
            'ß' | 'ẞ' => folded.push_str("ss"),
            'ø' | 'Ø' => folded.push('o'),
            'ł' | 'Ł' => folded.push('l'),
            'đ' | 'Đ' | 'ð' | 'Ð' => folded.push('d'),
            'ı' => folded.push('i'),
            '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' | '\u{02bc}' | '`' | '´' => {
                folded.push('\'');
            }
            '\u{2010}'..='\u{2015}' | '\u{2212}' => folded.push('-'),
            // Soft hyphen, zero-width characters, byte-order mark.
            '\u{00ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => {}
            c if is_combining_mark(c) => {}
            c => folded.extend(c.to_lowercase()),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_what_keyboards_and_typesetters_differ_in() {
        assert_eq!(
            fold("Élève Œuvre ﬁn « d’État »"),
            "eleve oeuvre fin « d'etat »"
        );
        assert_eq!(
            fold("co\u{ad}opération 10\u{202f}000 A–B"),
            "cooperation 10 000 a-b"
        );
    }

    #[test]
    fn folding_twice_changes_nothing() {
        let once = fold("İstanbul ǅ ½ Straße");
        assert_eq!(fold(&once), once);
    }
}
