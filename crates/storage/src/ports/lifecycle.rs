//! Policies, rotations, wrapped deliveries, certificates.

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::{CertificateId, KeyId, RotationId},
    key::KeyRecord,
    policy::PolicyRecord,
    ports::{
        StoreError,
        lifecycle::{
            CertificateFilter, CertificateRecord, LifePlace, LifecycleStore, RotationFilter, UncertifiedKey,
        },
    },
    rotation::RotationRecord,
    token::PublicId,
    wrapping::WrappingRecord,
};

use crate::{Database, certificates, keys, policies, rotations, wrappings};

#[async_trait]
impl LifecycleStore for Database {
    async fn policies(&self) -> Result<Vec<PolicyRecord>, StoreError> {
        policies::list(&self.db).await
    }
    async fn rotation(&self, id: &RotationId) -> Result<Option<RotationRecord>, StoreError> {
        rotations::get(&self.db, id).await
    }
    async fn rotations(&self, filter: &RotationFilter) -> Result<Vec<RotationRecord>, StoreError> {
        rotations::list(&self.db, filter).await
    }
    async fn wrapping(&self, id: PublicId) -> Result<Option<WrappingRecord>, StoreError> {
        wrappings::get(&self.db, id).await
    }
    async fn lapsed_wrappings(&self, now: Timestamp, limit: u32) -> Result<Vec<WrappingRecord>, StoreError> {
        wrappings::lapsed(&self.db, now, limit).await
    }
    async fn wrapping_of(&self, key: &KeyId) -> Result<Option<WrappingRecord>, StoreError> {
        wrappings::newest_of(&self.db, key).await
    }
    async fn certificate(&self, id: &CertificateId) -> Result<Option<CertificateRecord>, StoreError> {
        certificates::get(&self.db, id).await
    }
    async fn certificate_of(&self, key: &KeyId) -> Result<Option<CertificateRecord>, StoreError> {
        certificates::of_key(&self.db, key).await
    }
    async fn certificates(&self, filter: &CertificateFilter) -> Result<Vec<CertificateRecord>, StoreError> {
        certificates::list(&self.db, filter).await
    }
    async fn uncertified_keys(&self, limit: u32) -> Result<Vec<UncertifiedKey>, StoreError> {
        keys::uncertified(&self.db, limit).await
    }
    async fn children(&self, parent: &KeyId) -> Result<Vec<KeyRecord>, StoreError> {
        keys::children(&self.db, parent).await
    }
    async fn unexpired_keys(&self, after: &LifePlace, limit: u32) -> Result<Vec<KeyRecord>, StoreError> {
        keys::unexpired(&self.db, after, limit).await
    }
    async fn living_children(&self, parent: &KeyId, now: Timestamp) -> Result<Vec<KeyRecord>, StoreError> {
        keys::living_children(&self.db, parent, now).await
    }
    async fn lineage(&self, lineage: &KeyId) -> Result<Vec<KeyRecord>, StoreError> {
        keys::lineage(&self.db, lineage).await
    }
}
