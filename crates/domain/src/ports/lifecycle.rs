//! What the life of a key needs from the store: policies, rotations, wrapped deliveries, certificates.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    clock::Timestamp,
    id::{CertificateId, KeyId, OwnerId, RotationId, WorkspaceId},
    key::KeyRecord,
    policy::PolicyRecord,
    rotation::RotationRecord,
    token::PublicId,
    wrapping::WrappingRecord,
};

/// The rest of a transaction is written only if an owner has no more living keys in a workspace than this, those of
/// the same transaction included. Lines of successors count once, child keys not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerCap {
    /// Whose keys are counted.
    pub owner: OwnerId,
    /// In which workspace.
    pub workspace: WorkspaceId,
    /// How many there may be.
    pub max_keys: u32,
    /// Keys that expired before are not counted.
    pub now: Timestamp,
}

/// A certificate as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// `crt_…`.
    pub id: CertificateId,
    /// The key that was revoked; it has one certificate.
    pub key: KeyId,
    /// When it was signed.
    pub created_at: Timestamp,
    /// The signed JSON.
    pub body: String,
}

/// A revoked key that waits for its certificate, and where its revocation stands.
#[derive(Debug, Clone)]
pub struct UncertifiedKey {
    /// The key.
    pub key: KeyRecord,
    /// The number of its revocation in the change feed.
    pub seq: i64,
    /// The number of its record in the control chain.
    pub audit_number: i64,
}

/// Which certificates to list.
#[derive(Debug, Clone, Default)]
pub struct CertificateFilter {
    /// Only of this workspace's keys.
    pub workspace: Option<WorkspaceId>,
    /// Only before this one, the newest first.
    pub before: Option<CertificateId>,
    /// At most this many.
    pub limit: u32,
}

/// Which rotations to list.
#[derive(Debug, Clone, Default)]
pub struct RotationFilter {
    /// Only those in which this key is the old one or the successor.
    pub key: Option<KeyId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only those that have not ended.
    pub open: bool,
    /// Only after this one, in the order of their start.
    pub after: Option<RotationId>,
    /// At most this many.
    pub limit: u32,
}

/// A place in the list of living keys, which has those with an end first, by that, and then those without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifePlace {
    /// After what ends at this moment and has this id, or an id before it.
    Ends(Timestamp, String),
    /// After this id, among those without an end.
    Endless(String),
}

/// Policies, rotations, wrapped deliveries, certificates.
#[async_trait]
pub trait LifecycleStore: Send + Sync + 'static {
    /// All policies: the default, if it was set, and those of workspaces.
    async fn policies(&self) -> Result<Vec<PolicyRecord>, StoreError>;
    /// One rotation.
    async fn rotation(&self, id: &RotationId) -> Result<Option<RotationRecord>, StoreError>;
    /// Rotations, by their start.
    async fn rotations(&self, filter: &RotationFilter) -> Result<Vec<RotationRecord>, StoreError>;
    /// One wrapped delivery, by its token's public id.
    async fn wrapping(&self, id: PublicId) -> Result<Option<WrappingRecord>, StoreError>;
    /// Deliveries that have lapsed before `now` unopened and still hold their key, the oldest first.
    async fn lapsed_wrappings(&self, now: Timestamp, limit: u32) -> Result<Vec<WrappingRecord>, StoreError>;
    /// The newest wrapped delivery of a key.
    async fn wrapping_of(&self, key: &KeyId) -> Result<Option<WrappingRecord>, StoreError>;
    /// One certificate.
    async fn certificate(&self, id: &CertificateId) -> Result<Option<CertificateRecord>, StoreError>;
    /// The certificate of a key.
    async fn certificate_of(&self, key: &KeyId) -> Result<Option<CertificateRecord>, StoreError>;
    /// Certificates, the newest first.
    async fn certificates(&self, filter: &CertificateFilter) -> Result<Vec<CertificateRecord>, StoreError>;
    /// Revoked keys that have no certificate yet, the oldest revocation first.
    async fn uncertified_keys(&self, limit: u32) -> Result<Vec<UncertifiedKey>, StoreError>;
    /// Keys that are neither ended nor expired nor children, after a place of their list. A page never has both those
    /// with an end and those without; an empty one has nothing of its kind after it.
    async fn unexpired_keys(&self, after: &LifePlace, limit: u32) -> Result<Vec<KeyRecord>, StoreError>;
    /// Keys that were minted by this one and work still.
    async fn living_children(&self, parent: &KeyId, now: Timestamp) -> Result<Vec<KeyRecord>, StoreError>;
    /// Keys that were minted by this one, dead ones included.
    async fn children(&self, parent: &KeyId) -> Result<Vec<KeyRecord>, StoreError>;
    /// All keys of a line of successors, the first one first.
    async fn lineage(&self, lineage: &KeyId) -> Result<Vec<KeyRecord>, StoreError>;
}
