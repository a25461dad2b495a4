//! Notices: raised with the change that they speak of, listed, and called back from the dead.

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, Entropy},
    id::NoticeId,
    notice::{About, Notice, NoticeRecord},
    ports::{Change, Store},
};

use crate::ServiceError;

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
}
