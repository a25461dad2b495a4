//! Refusals before authentication: counted, and recorded once per reason, subject and ten seconds.

use std::sync::Arc;

use claviger_domain::{clock::Timestamp, token::PublicId};
use ipnet::IpNet;

/// Whom a refusal is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalSubject {
    /// A key that was named.
    Key(PublicId),
    /// An address block (`domain::address::counting_block`).
    Block(IpNet),
}

/// Counters of refusals.
#[derive(Clone)]
pub struct Refusals(Arc<Inner>);

struct Inner {}

impl Refusals {
    /// Counts one refusal. Never waits and never writes.
    pub fn count(&self, reason: &'static str, subject: RefusalSubject, now: Timestamp) {
        let _ = (reason, subject, now, &self.0);
    }
}
