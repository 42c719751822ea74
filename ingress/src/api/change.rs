//! Changes: what is absent stays, null clears.

use poem_openapi::types::MaybeUndefined;

use crate::error::ApiError;

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
