//! The fake store's reviews.

use async_trait::async_trait;
use claviger_domain::{
    ports::{
        Change, StoreError,
        reviews::{ReviewFilter, ReviewStore},
    },
    review::ReviewRecord,
};

use super::{FakeStore, conflict};
use crate::lock::lock;

/// Writes what is of its kind; gives back what is not.
pub(super) fn write(reviews: &mut Vec<ReviewRecord>, change: Change) -> Result<Option<Change>, StoreError> {
    match change {
        Change::InsertReview(review) => {
            if reviews.iter().any(|r| r.key == review.key && r.decision.is_none()) {
                return Err(conflict("review of the key"));
            }
            reviews.push(*review);
        }
        Change::UpdateReview(mut review) => {
            let place = reviews.iter_mut().find(|r| r.id == review.id && r.version == review.version);
            review.version += 1;
            *place.ok_or(conflict("review"))? = *review;
        }
        other => return Ok(Some(other)),
    }
    Ok(None)
}

#[async_trait]
impl ReviewStore for FakeStore {
    async fn reviews(&self, filter: &ReviewFilter) -> Result<Vec<ReviewRecord>, StoreError> {
        self.up()?;
        let wanted = |r: &&ReviewRecord| {
            filter.key.as_ref().is_none_or(|key| *key == r.key) && !(filter.open && r.decision.is_some())
        };
        let state = lock(&self.state);
        Ok(state.reviews.iter().rev().filter(wanted).take(filter.limit as usize).cloned().collect())
    }
}
