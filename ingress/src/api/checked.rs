//! What people type, held against limits before it goes any further.

use poem_openapi::types::MaybeUndefined;

use crate::error::ApiError;

/// One line of 1 to `longest` characters, without the space around it.
pub(crate) fn line(field: &str, value: &str, longest: usize) -> Result<String, ApiError> {
    checked(field, value, longest, |_| false)
}

/// The same of several lines.
pub(crate) fn text(field: &str, value: &str, longest: usize) -> Result<String, ApiError> {
    checked(field, value, longest, |c| matches!(c, '\n' | '\r' | '\t'))
}

fn checked(
    field: &str,
    value: &str,
    longest: usize,
    allowed: fn(char) -> bool,
) -> Result<String, ApiError> {
    let value = value.trim();
    if value.is_empty() {
        return Err(ApiError::invalid(field, "must not be empty"));
    }
    if value.chars().count() > longest {
        let reason = format!("at most {longest} characters");
        return Err(ApiError::invalid(field, reason));
    }
    if value.chars().any(|c| c.is_control() && !allowed(c)) {
        return Err(ApiError::invalid(field, "has control characters"));
    }
    Ok(value.to_owned())
}

/// What a change says of a field that cannot be cleared; `None`: nothing.
pub(crate) fn uncleared<T>(field: &str, value: MaybeUndefined<T>) -> Result<Option<T>, ApiError> {
    match value {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Null => Err(ApiError::invalid(field, "cannot be cleared")),
        MaybeUndefined::Value(value) => Ok(Some(value)),
    }
}

/// Changes a field that can be, as a change says; whether it says anything of it.
pub(crate) fn change<T, U>(
    field: &mut Option<U>,
    value: MaybeUndefined<T>,
    check: impl FnOnce(T) -> Result<U, ApiError>,
) -> Result<bool, ApiError> {
    *field = match value {
        MaybeUndefined::Undefined => return Ok(false),
        MaybeUndefined::Null => None,
        MaybeUndefined::Value(value) => Some(check(value)?),
    };
    Ok(true)
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
        assert_eq!(text("text", "a\nb", 4).unwrap(), "a\nb");
        assert!(text("text", "a\0b", 4).is_err());
    }
}
