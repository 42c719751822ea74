//! Short texts as people type them.

use crate::error::ApiError;

/// The longest name of a person.
pub(crate) const LONGEST_NAME: usize = 120;

/// What somebody is called.
pub(crate) fn person_name(name: &str) -> Result<String, ApiError> {
    line("name", name, LONGEST_NAME)
}

/// One line: trimmed, not empty, at most `longest` characters, no control characters.
pub(crate) fn line(field: &str, text: &str, longest: usize) -> Result<String, ApiError> {
    checked(field, text, longest, |_| false)
}

/// The same of several lines.
pub(crate) fn lines(field: &str, text: &str, longest: usize) -> Result<String, ApiError> {
    checked(field, text, longest, |c| matches!(c, '\n' | '\r' | '\t'))
}

fn checked(
    field: &str,
    text: &str,
    longest: usize,
    allowed: fn(char) -> bool,
) -> Result<String, ApiError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ApiError::invalid(field, "must not be empty"));
    }
    if text.chars().count() > longest {
        return Err(ApiError::invalid(
            field,
            format!("must have at most {longest} characters"),
        ));
    }
    if text.chars().any(|c| c.is_control() && !allowed(c)) {
        return Err(ApiError::invalid(field, "must not have control characters"));
    }
    Ok(text.to_owned())
}

/// An address on the web, by https.
pub(crate) fn web_address(field: &'static str, text: &str) -> Result<String, ApiError> {
    let text = line(field, text, 2_000)?;
    match url::Url::parse(&text) {
        Ok(url) if url.scheme() == "https" && url.has_host() => Ok(url.into()),
        _ => Err(ApiError::invalid(
            field,
            "must be an address that begins with https://",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_trimmed_and_has_no_control_characters() {
        assert_eq!(line("name", "  Café  ", 4).unwrap(), "Café");
        for wrong in ["", " ", "Cafés", "a\nb", "a\0b", "a\u{7f}"] {
            assert!(line("name", wrong, 4).is_err(), "{wrong:?}");
        }
        assert_eq!(lines("text", "a\nb", 4).unwrap(), "a\nb");
        assert!(lines("text", "a\0b", 4).is_err());
    }
}
