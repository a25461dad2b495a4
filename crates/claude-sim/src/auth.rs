//! Who calls: the key in either header, and the workspace it belongs to.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::KeyRing;
use crate::error::ApiError;
use crate::request::NEW_VERSION;

/// The key that the request carries: `x-api-key`, else a bearer token.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
    let api_key = headers.get("x-api-key").and_then(|value| value.to_str().ok());
    let bearer = || {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    api_key.or_else(bearer).filter(|key| !key.is_empty())
}

/// Name of the workspace that the key opens.
///
/// # Errors
/// 401 without a key, or with one that is not in the ring.
pub(crate) fn workspace_of<'a>(ring: &'a KeyRing, key: Option<&'a str>) -> Result<&'a str, ApiError> {
    let key = key.ok_or_else(|| ApiError::unauthenticated("x-api-key header is required"))?;
    match ring {
        KeyRing::Any => Ok(key),
        KeyRing::Only(keys) => match keys.get(key) {
            Some(workspace) => Ok(workspace),
            None if key.starts_with("sk-ant-oat") => {
                Err(ApiError::unauthenticated("Invalid authentication credentials"))
            }
            None => Err(ApiError::unauthenticated("invalid x-api-key")),
        },
    }
}

/// Checks `anthropic-version` and `anthropic-beta`; answers the version.
///
/// # Errors
/// 400 when the version is missing or unknown, or a beta does not look like one.
pub(crate) fn version(headers: &HeaderMap) -> Result<&str, ApiError> {
    let version = headers.get("anthropic-version").and_then(|value| value.to_str().ok());
    let version = version.ok_or_else(|| ApiError::invalid("anthropic-version: header is required"))?;
    if !matches!(version, "2023-01-01" | "2023-06-01" | NEW_VERSION) {
        return Err(ApiError::invalid(format!("anthropic-version: \"{version}\" is not a valid version")));
    }
    for beta in betas(headers) {
        if !looks_dated(beta) {
            return Err(ApiError::invalid(format!(
                "Unexpected value(s) `{beta}` for the `anthropic-beta` header. Please consult our documentation at \
                 docs.claude.com or try again without the header."
            )));
        }
    }
    Ok(version)
}

/// Every value of every `anthropic-beta` header.
pub(crate) fn betas(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all("anthropic-beta").into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|beta| !beta.is_empty())
}

/// `name-2026-10-21` or `name-20261021`.
fn looks_dated(beta: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = beta.rsplitn(4, '-');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(day), Some(month), Some(year), Some(name)) if digits(day) && day.len() == 2 => {
            digits(month) && digits(year) && year.len() == 4 && !name.is_empty()
        }
        (Some(date), Some(_), _, _) => digits(date) && date.len() == 8,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_either_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(presented(&headers), None);
        headers.insert("authorization", "Bearer k1".parse().expect("value"));
        assert_eq!(presented(&headers), Some("k1"));
        headers.insert("x-api-key", "k2".parse().expect("value"));
        assert_eq!(presented(&headers), Some("k2"));
    }

    #[test]
    fn betas_carry_a_date() {
        for good in ["claude-code-20250219", "effort-2025-11-24", "thinking-token-count-2026-05-13"] {
            assert!(looks_dated(good), "{good}");
        }
        for bad in ["x", "2025-11-24", "made-up", "-20250219x"] {
            assert!(!looks_dated(bad), "{bad}");
        }
    }
}
