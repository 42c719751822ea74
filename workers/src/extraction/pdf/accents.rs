//! Accents drawn beside their letter, as old LaTeX does: `´e` for `é`.

/// The combining form of an accent that stands by itself.
pub(super) fn combining(c: char) -> Option<char> {
    Some(match c {
        '`' => '\u{300}',
        '´' => '\u{301}',
        '^' | 'ˆ' => '\u{302}',
        '~' | '˜' => '\u{303}',
        '¯' => '\u{304}',
        '˘' => '\u{306}',
        '˙' => '\u{307}',
        '¨' => '\u{308}',
        '˚' => '\u{30A}',
        '˝' => '\u{30B}',
        'ˇ' => '\u{30C}',
        '¸' => '\u{327}',
        '˛' => '\u{328}',
        _ => return None,
    })
}

/// The letter an accent goes on: those drawn without their dot get it back.
pub(super) fn base(text: &str) -> &str {
    match text {
        "ı" => "i",
        "ȷ" => "j",
        text => text,
    }
}
