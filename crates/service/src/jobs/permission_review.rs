//! The permission review: once a quarter, each key that was not reviewed for that long is put up for it.

use async_trait::async_trait;
use claviger_domain::schedule::Schedule;

use crate::{
    ServiceError,
    reviews::Reviews,
    scheduler::{Job, Turn},
};

/// Opens reviews.
pub(crate) struct PermissionReview {
    pub(crate) schedule: Schedule,
    pub(crate) reviews: Reviews,
}

#[async_trait]
impl Job for PermissionReview {
    fn name(&self) -> &'static str {
        "permission_review"
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    async fn run(&self, turn: &Turn) -> Result<String, ServiceError> {
        let opened = self.reviews.open_due(&turn.hold(), turn.now).await?;
        Ok(format!("{opened} reviews opened"))
    }
}
