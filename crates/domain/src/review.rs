//! The review of what a key may do (row K6): what it did not use is shown, and its owner confirms it or lets it go.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{MICROS_PER_DAY, Timestamp},
    id::{KeyId, ReviewId, WorkspaceId},
    key::KeyRecord,
    permission::{Endpoint, ModelGlob, Permissions, Scopes},
};

/// How far back use counts, in days.
pub const USE_DAYS: i64 = 90;
/// How long after a decision, or after it was made, a key is reviewed again, in days.
pub const EVERY_DAYS: i64 = 90;
/// More models than this a key is not narrowed to.
const MOST_MODELS: usize = 256;

/// What a key used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Used {
    /// Models that were billed, or asked for.
    pub models: Vec<String>,
    /// Endpoints that were read and written.
    pub accesses: Scopes,
}

/// What a key may do and did not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// Use counts from here on.
    pub since: Timestamp,
    /// Models that it used.
    pub used_models: Vec<String>,
    /// Patterns of models that matched none of them; `*` when it may use every model.
    pub unused_models: Vec<String>,
    /// Endpoints that it used neither way.
    pub unused_endpoints: Vec<Endpoint>,
    /// Scopes that it did not use.
    pub unused_scopes: Vec<String>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It needs what it has.
    Confirmed,
    /// What it did not use is taken away.
    Shrunk,
}

impl Verdict {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Shrunk => "shrunk",
        }
    }
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
}

/// A review as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewRecord {
    /// `rev_…`.
    pub id: ReviewId,
    /// The key.
    pub key: KeyId,
    /// Where it belongs.
    pub workspace: WorkspaceId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What was found then.
    pub findings: Findings,
    /// What was decided; `None`: it waits.
    pub decision: Option<Decision>,
    /// Row version, for optimistic locking.
    pub version: i64,
}

/// Why a key cannot be narrowed to what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShrinkError {
    /// It used nothing.
    #[error("the key was not used at all: revoke it instead")]
    Unused,
    /// It used everything that it may use.
    #[error("the key uses everything that it may: there is nothing to take away")]
    Nothing,
}

/// From when on use counts: whole days.
#[must_use]
pub fn since(now: Timestamp) -> Timestamp {
    Timestamp::from_micros((now.utc_day() - USE_DAYS).saturating_mul(MICROS_PER_DAY))
}

/// Whether a key is due for review: neither made nor reviewed for a while.
#[must_use]
pub fn is_due(key: &KeyRecord, last: Option<&ReviewRecord>, now: Timestamp) -> bool {
    let reviewed = match last {
        Some(ReviewRecord { decision: None, .. }) => return false,
        Some(ReviewRecord { decision: Some(decision), .. }) => decision.at,
        None => key.created_at,
    };
    key.parent.is_none() && reviewed.max(key.created_at).plus_micros(EVERY_DAYS * MICROS_PER_DAY) <= now
}

/// Holds what a key may do against what it did.
#[must_use]
pub fn find(permissions: &Permissions, used: &Used, since: Timestamp) -> Findings {
    let matched = |glob: &&ModelGlob| used.models.iter().any(|model| glob.matches(model));
    let unused_models = if permissions.models.is_empty() {
        vec!["*".to_owned()]
    } else {
        let unused = permissions.models.iter().filter(|glob| !matched(glob));
        unused.map(|glob| glob.as_str().to_owned()).collect()
    };
    let unused_endpoints = endpoints(permissions).filter(|e| !used.accesses.touches(*e)).collect();
    let unused_scopes = permissions.scopes.without(used.accesses).words();
    Findings { since, used_models: used.models.clone(), unused_models, unused_endpoints, unused_scopes }
}

/// What a key keeps that is narrowed to what it used. A pattern that matched stays as it is; who may use every model
/// keeps those by name that it used.
///
/// # Errors
/// [`ShrinkError`].
pub fn shrink(permissions: &Permissions, used: &Used) -> Result<Permissions, ShrinkError> {
    let kept: Vec<Endpoint> = endpoints(permissions).filter(|e| used.accesses.touches(*e)).collect();
    if kept.is_empty() {
        return Err(ShrinkError::Unused);
    }
    let shrunk = Permissions {
        models: models(permissions, used),
        endpoints: if kept.len() == Endpoint::ALL.len() { Vec::new() } else { kept },
        scopes: permissions.scopes.within(used.accesses),
    };
    if shrunk == *permissions { Err(ShrinkError::Nothing) } else { Ok(shrunk) }
}

fn endpoints(permissions: &Permissions) -> impl Iterator<Item = Endpoint> {
    Endpoint::ALL
        .into_iter()
        .filter(|e| permissions.endpoints.is_empty() || permissions.endpoints.contains(e))
}

fn models(permissions: &Permissions, used: &Used) -> Vec<ModelGlob> {
    let is_named = used.models.len() <= MOST_MODELS;
    if permissions.models.is_empty() && is_named {
        return used.models.iter().filter_map(|model| ModelGlob::parse(model).ok()).collect();
    }
    let matched = |glob: &&ModelGlob| used.models.iter().any(|model| glob.matches(model));
    let kept: Vec<ModelGlob> = permissions.models.iter().filter(matched).cloned().collect();
    // An empty list would be every model.
    if kept.is_empty() { permissions.models.clone() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::Access;

    fn used() -> Used {
        Used {
            models: vec!["claude-haiku-4-5".to_owned()],
            accesses: Scopes::default().with(Endpoint::Messages, Access::Write),
        }
    }

    #[test]
    fn what_was_not_used_is_found() {
        let permissions = Permissions {
            models: ["claude-haiku-*", "claude-opus-*"].map(|g| ModelGlob::parse(g).unwrap()).to_vec(),
            endpoints: vec![Endpoint::Messages, Endpoint::Files],
            scopes: Scopes::parse(&["messages:write", "files:read"]).unwrap(),
        };
        let found = find(&permissions, &used(), Timestamp::from_secs(0));
        assert_eq!(found.unused_models, ["claude-opus-*"]);
        assert_eq!(found.unused_endpoints, [Endpoint::Files]);
        assert_eq!(found.unused_scopes, ["files:read"]);
        let shrunk = shrink(&permissions, &used()).unwrap();
        assert_eq!(shrunk.models, [ModelGlob::parse("claude-haiku-*").unwrap()]);
        assert_eq!(shrunk.endpoints, [Endpoint::Messages]);
        assert_eq!(shrunk.scopes.words(), ["messages:write"]);
        assert_eq!(shrink(&shrunk, &used()), Err(ShrinkError::Nothing));
    }

    #[test]
    fn who_may_everything_is_narrowed_to_what_was_used() {
        let shrunk = shrink(&Permissions::default(), &used()).unwrap();
        assert_eq!(shrunk.models, [ModelGlob::parse("claude-haiku-4-5").unwrap()]);
        assert!(shrunk.allows(Endpoint::Messages, Access::Write));
        assert!(!shrunk.allows(Endpoint::Messages, Access::Read) && !shrunk.allows_model("claude-opus-5"));
    }

    #[test]
    fn a_key_that_was_not_used_is_not_opened_wide_by_narrowing() {
        assert_eq!(shrink(&Permissions::default(), &Used::default()), Err(ShrinkError::Unused));
        let looked = Used { models: Vec::new(), ..used() };
        let some = Permissions { models: vec![ModelGlob::parse("a").unwrap()], ..Permissions::default() };
        assert_eq!(shrink(&some, &looked).unwrap().models, some.models);
    }
}
