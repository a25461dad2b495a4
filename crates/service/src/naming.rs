//! Names that people give to things, and finding things by name or id.

use crate::ServiceError;

const MOST: usize = 64;

/// A name of a workspace, owner, upstream or credential: 1 to 64 letters, digits, spaces, `-`, `_`, `.`, `@`, `/`;
/// neither begins nor ends with a space.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), ServiceError> {
    let legal = |c: char| c.is_alphanumeric() || " -_.@/".contains(c);
    let count = name.chars().count();
    if (1..=MOST).contains(&count) && name.chars().all(legal) && name.trim() == name {
        return Ok(());
    }
    let why = "expected 1 to 64 letters, digits, spaces, `-`, `_`, `.`, `@` or `/`";
    Err(ServiceError::invalid(field, why))
}

/// The one that `wanted` means: by id, else by name.
pub(crate) fn find<T>(
    what: &'static str,
    wanted: &str,
    all: Vec<T>,
    names: impl Fn(&T) -> (&str, &str),
) -> Result<T, ServiceError> {
    let by_id = all.iter().position(|t| names(t).0 == wanted);
    let at = by_id.or_else(|| all.iter().position(|t| names(t).1 == wanted));
    at.and_then(|at| all.into_iter().nth(at)).ok_or_else(|| ServiceError::not_found(what, wanted))
}
