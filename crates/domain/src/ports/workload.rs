//! What workload identity needs: issuers, rules and used tokens from the store, issuers' keys from where they are.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    clock::Timestamp,
    workload::{issuer::IssuerRecord, rule::TrustRecord},
};

/// One use of a token. The rest of a transaction is written only if it was not used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssertionUse {
    /// What the token is remembered by.
    pub mark: [u8; 32],
    /// It must be remembered until then.
    pub until: Timestamp,
    /// What was to be remembered until before this moment is forgotten.
    pub now: Timestamp,
}

/// Issuers and rules.
#[async_trait]
pub trait WorkloadStore: Send + Sync + 'static {
    /// All issuers, by creation.
    async fn issuers(&self) -> Result<Vec<IssuerRecord>, StoreError>;
    /// All rules, by creation.
    async fn trust_rules(&self) -> Result<Vec<TrustRecord>, StoreError>;
}

/// A document with keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedKeys {
    /// The JWK set, unread.
    pub body: Vec<u8>,
    /// How long it may be kept (`Cache-Control: max-age`), in seconds.
    pub max_age_secs: Option<u64>,
}

/// Keys could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address may not be asked.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody answered, or not in time.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// Another status than 200; redirects are not followed.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer is too long, or ended early.
    #[error("the answer is too long, or ended early")]
    Body,
}

/// Fetches issuers' keys.
#[async_trait]
pub trait KeyFetcher: Send + Sync + 'static {
    /// The document at this URL; `private_network`: also where it leads inside.
    async fn fetch(&self, url: &str, private_network: bool) -> Result<FetchedKeys, FetchError>;
}
