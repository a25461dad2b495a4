//! What can go wrong in a use case, in the caller's words.

use claviger_domain::{
    clock::EntropyError,
    policy::{Rule, Violation},
    ports::{SealError, StoreError},
};

/// A use case could not be carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// There is no such thing.
    #[error("no {what} `{id}`")]
    NotFound {
        /// `key`, `workspace`, `owner`, `upstream`, `credential`.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// The thing is not in a state that allows this, was changed meanwhile, or a name is taken.
    #[error("{what}: {why}")]
    Conflict {
        /// `key`, `workspace name` …
        what: &'static str,
        /// What collided.
        why: String,
    },
    /// It was there and is no more.
    #[error("{what}: {why}")]
    Gone {
        /// `delivery` …
        what: &'static str,
        /// What became of it.
        why: String,
    },
    /// The caller spoke of a version that the row does not have any more.
    #[error("{what}: it has version {version} now")]
    Stale {
        /// `key`, `operator` …
        what: &'static str,
        /// The version that it has.
        version: i64,
    },
    /// A field of the request cannot be accepted.
    #[error("{field}: {why}")]
    Invalid {
        /// The field, as callers name it.
        field: &'static str,
        /// What is wrong with it and what would be right. Never holds a secret.
        why: String,
    },
    /// The workspace's policy stands against it.
    #[error("{why}")]
    Policy {
        /// Which rule.
        rule: Rule,
        /// The field of the request that would have to be different.
        field: &'static str,
        /// What the policy demands, and what to do.
        why: String,
    },
    /// Whoever asks has not proved who they are.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Whoever asks may not.
    #[error("{0}")]
    Forbidden(String),
    /// A fresh second factor is needed for this action.
    #[error("{why}")]
    SecondFactor {
        /// What is missing, or why the code does not count.
        why: String,
    },
    /// Too many proofs failed.
    #[error("too many failed proofs: try again in {retry_after_secs} s")]
    LockedOut {
        /// When one may try again.
        retry_after_secs: u64,
    },
    /// A store, disk or other part that is needed does not answer now; trying later is right.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The store holds something that cannot be read, or was written by a newer release.
    #[error(transparent)]
    Broken(StoreError),
    /// A sealed value could not be made or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl ServiceError {
    /// Nobody is known by what was brought.
    pub(crate) const fn unauthenticated(why: &'static str) -> Self {
        Self::Unauthenticated(why)
    }

    /// They may not.
    pub(crate) fn forbidden(why: impl std::fmt::Display) -> Self {
        Self::Forbidden(why.to_string())
    }

    /// A field that cannot be accepted.
    pub(crate) fn invalid(field: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Invalid { field, why: why.to_string() }
    }

    /// Nothing of that kind has this id or name.
    pub(crate) fn not_found(what: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// The state of the thing does not allow this.
    pub(crate) fn conflict(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Conflict { what, why: why.to_string() }
    }
}

impl From<Violation> for ServiceError {
    fn from(violation: Violation) -> Self {
        let field = match violation {
            Violation::MaxKeys { .. } => "owner",
            Violation::RequireIp => "allow_ip",
            Violation::RequireMfa => "totp",
            Violation::Require(_) => "require",
            Violation::HandOver(_) => "wrapped",
            Violation::ForbidCache => "cache",
        };
        Self::Policy { rule: violation.rule(), field, why: violation.to_string() }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { what } => {
                Self::conflict(what, "changed or taken by someone else meanwhile")
            }
            StoreError::OverCap { has, allowed } => Violation::MaxKeys { has, allowed }.into(),
            StoreError::Unavailable(why) => Self::Unavailable(why),
            StoreError::Refused { .. } => Self::invalid("value", error),
            StoreError::Corrupt { .. } | StoreError::NewerSchema { .. } => Self::Broken(error),
        }
    }
}
