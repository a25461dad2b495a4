//! Notices: raised with the change that they speak of, listed, and called back from the dead.

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, Entropy},
    id::{NoticeId, ReportId},
    notice::{
        About, Notice, NoticeRecord,
        delivery::{DeliveryRecord, DeliveryState},
    },
    ports::{
        Change, Store,
        notices::{NoticeFilter, ReportRecord},
    },
};

use crate::{Caller, ServiceError};

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;

/// What people are told. Cheap to clone.
#[derive(Clone)]
pub struct Notices {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Notices {
    pub(crate) const fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, clock, entropy }
    }

    /// The change that raises a notice. It goes into the same [`Store::apply`] as the change that it speaks of, so
    /// that neither happens without the other; delivery follows later and never holds anything up. A notice that was
    /// raised before is left out by the store.
    ///
    /// # Errors
    /// [`ServiceError::Entropy`].
    pub fn raise(&self, about: About, notice: Notice) -> Result<Change, ServiceError> {
        let id = NoticeId::generate(self.entropy.as_ref())?;
        Ok(Change::RaiseNotice(Box::new(NoticeRecord::new(id, about, notice, self.clock.now()))))
    }

    /// Notices with how their deliveries went, newest first; a limit of 0 means 100, at most 1,000 are given.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(
        &self,
        filter: &NoticeFilter,
    ) -> Result<Vec<(NoticeRecord, Vec<DeliveryRecord>)>, ServiceError> {
        let limit = if filter.limit == 0 { DEFAULT_PAGE } else { filter.limit.min(MAX_PAGE) };
        let notices = self.store.notices(&NoticeFilter { limit, ..filter.clone() }).await?;
        let mut listed = Vec::with_capacity(notices.len());
        for notice in notices {
            let deliveries = self.store.deliveries(&notice.id).await?;
            listed.push((notice, deliveries));
        }
        Ok(listed)
    }

    /// Tries the dead deliveries of a notice once more; how they stand.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Conflict`] when none is dead.
    pub async fn retry(
        &self,
        id: &NoticeId,
        caller: &Caller,
    ) -> Result<(NoticeRecord, Vec<DeliveryRecord>), ServiceError> {
        let notice = self.store.notice(id).await?.ok_or_else(|| ServiceError::not_found("notice", id))?;
        let now = self.clock.now();
        let dead = |d: &&DeliveryRecord| d.state == DeliveryState::Dead;
        let deliveries = self.store.deliveries(id).await?;
        let again: Vec<Change> =
            deliveries.iter().filter(dead).map(|d| Change::UpdateDelivery(d.again(now))).collect();
        if again.is_empty() {
            return Err(ServiceError::conflict("notice", "none of its deliveries is dead"));
        }
        let event = caller.event(now, "notice.retry", id.as_str()).with("deliveries", again.len());
        self.store.apply(again, event).await?;
        Ok((notice, self.store.deliveries(id).await?))
    }

    /// A report that was kept; `None`: the newest.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn report(&self, id: Option<&ReportId>) -> Result<ReportRecord, ServiceError> {
        let missing = || ServiceError::not_found("report", id.map_or("weekly", ReportId::as_str));
        self.store.report(id).await?.ok_or_else(missing)
    }
}
