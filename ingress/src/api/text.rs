//! Short texts as people type them.

use crate::error::ApiError;

/// The longest name of a person.
pub(crate) const LONGEST_NAME: usize = 120;

/// What somebody is called.
pub(crate) fn person_name(name: &str) -> Result<String, ApiError> {
    line("name", name, LONGEST_NAME)
}

/// One line: trimmed, not empty, at most `longest` characters, no control characters.
pub(crate) fn line(field: &'static str, text: &str, longest: usize) -> Result<String, ApiError> {
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
    if text.chars().any(char::is_control) {
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
