//! THE way in which a key ends, whoever or whatever ends it: the key and its children, what was wrapped and not opened,
//! the notice, and what the audit record and the certificate need, for one transaction.

use std::sync::Arc;

use claviger_domain::{
    audit::AuditEvent,
    clock::Timestamp,
    key::{
        KeyRecord, Revocation,
        transition::{KeyVerb, decide},
    },
    notice::{About, Notice},
    ports::{Applied, Change, Store},
    wrapping::WrappingRecord,
};

use crate::{ServiceError, dependants, grants::Grants, notices::Notices};

/// What endings are made with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endings {
    store: Arc<dyn Store>,
    notices: Notices,
    grants: Grants,
}

/// A key that ends, and what must be written with it.
pub(crate) struct Ending {
    key: KeyRecord,
    children: Vec<KeyRecord>,
    changes: Vec<Change>,
}

impl Endings {
    pub(crate) const fn new(store: Arc<dyn Store>, notices: Notices, grants: Grants) -> Self {
        Self { store, notices, grants }
    }

    /// All that ends with a key that was just decided to be revoked. `affected`: what is known to use it, in words.
    pub(crate) async fn of(
        &self,
        key: KeyRecord,
        revocation: Revocation,
        affected: &[String],
        now: Timestamp,
    ) -> Result<Ending, ServiceError> {
        let Revocation { reason, immediate, .. } = revocation;
        let verb = KeyVerb::Revoke { reason, immediate };
        let living = self.store.living_children(&key.id, now).await?;
        let children: Vec<KeyRecord> =
            living.iter().filter_map(|child| decide(child, &verb, now).ok()).collect();
        let rows = std::iter::once(&key).chain(&children);
        let mut changes: Vec<Change> = rows.map(|row| Change::UpdateKey(Box::new(row.clone()))).collect();
        // Children have no certificate but where somebody revokes one by itself.
        changes.extend(key.parent.as_ref().map(|_| Change::Certify(key.id.clone())));
        if let Some(wrapping) = self.store.wrapping_of(&key.id).await?
            && !wrapping.sealed.is_empty()
        {
            let emptied = WrappingRecord { sealed: Vec::new(), ..wrapping };
            changes.push(Change::UpdateWrapping(Box::new(emptied)));
        }
        let mut who: Vec<String> = children.iter().map(|c| format!("child key {}", c.id)).collect();
        who.extend(affected.iter().cloned());
        let notice = Notice::Revocation { name: key.name.clone(), reason, immediate, affected: who };
        changes.push(self.notices.raise(About::key(&key), notice)?);
        Ok(Ending { key, children, changes })
    }

    /// It was written. This node refuses from here on; immediate revocations have cut what was in flight when this
    /// returns.
    pub(crate) fn written(&self, ending: Ending, applied: &Applied) -> (KeyRecord, Vec<KeyRecord>) {
        let Ending { mut key, mut children, .. } = ending;
        for one in std::iter::once(&mut key).chain(&mut children) {
            one.version += 1;
            self.grants.key_changed(one, applied.seq);
        }
        (key, children)
    }
}

impl Ending {
    /// What must be written, in this order.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The audit record of the end, with the children that end with it.
    pub(crate) fn noted(&self, event: AuditEvent) -> AuditEvent {
        let ids: Vec<&str> = self.children.iter().map(|child| child.id.as_str()).collect();
        if ids.is_empty() { event } else { event.with(dependants::CHILDREN, ids) }
    }
}
