//! Hash chains: making the next record, and finding the first one that is not what was written.
//!
//! Leaves and links have different first bytes, so that neither can be passed off as the other (RFC 6962, section
//! 2.1). An edited record fails at its leaf or head, a missing or reordered one at its number, and whatever is re-made
//! to fit fails at the head of the next record, in the end at a signed checkpoint.

use aws_lc_rs::digest::{self, SHA256};

use crate::{
    audit::{AuditEvent, AuditRecord, DataRecord, Digest, canonical},
    clock::Timestamp,
    id::NodeId,
    ledger::{Group, LedgerRow},
};

const LEAF: u8 = 0x00;
const LINK: u8 = 0x01;

/// SHA-256 over several stretches of bytes.
pub(crate) fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = Digest::EMPTY;
    out.0.copy_from_slice(context.finish().as_ref());
    out
}

/// `SHA-256(0x00 ‖ canonical)`.
#[must_use]
pub fn leaf(canonical: &[u8]) -> Digest {
    sha256(&[&[LEAF], canonical])
}

/// `SHA-256(0x01 ‖ previous ‖ number ‖ leaf)`, the number as eight bytes, big-endian.
#[must_use]
pub fn link(previous: Digest, number: i64, leaf: Digest) -> Digest {
    sha256(&[&[LINK], &previous.0, &number.to_be_bytes(), &leaf.0])
}

/// The leaf of a group commit: the hash over the leaves of its rows, in their order.
#[must_use]
pub fn group_leaf(rows: &[LedgerRow]) -> Digest {
    let mut all = Vec::with_capacity(rows.len() * 32);
    for row in rows {
        all.extend_from_slice(&leaf(&canonical::row_bytes(row)).0);
    }
    leaf(&all)
}

impl AuditRecord {
    /// The record that follows on a chain of `length` records with this head.
    #[must_use]
    pub fn append(length: i64, previous: Digest, event: AuditEvent) -> Self {
        let leaf = leaf(&canonical::event_bytes(&event));
        let number = length.saturating_add(1);
        Self { number, leaf, head: link(previous, number, leaf), event }
    }
}

impl DataRecord {
    /// The record of a group commit of these rows, as number `number` after the head `previous`.
    #[must_use]
    pub fn append(chain: NodeId, number: i64, at: Timestamp, previous: Digest, rows: &[LedgerRow]) -> Self {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let mut record = Self { chain, number, at, rows: count, leaf: group_leaf(rows), head: Digest::EMPTY };
        record.head = record.link(previous);
        record
    }

    fn link(&self, previous: Digest) -> Digest {
        link(previous, self.number, leaf(&canonical::data_bytes(self)))
    }
}

impl Group {
    /// The record that this group's commit adds to its chain.
    #[must_use]
    pub fn record(&self) -> DataRecord {
        DataRecord::append(self.chain.clone(), self.number, self.at, self.previous, &self.rows)
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The record that should stand here is not there; the next one found has this number.
    #[error("missing: number {found} stands where it should be")]
    Missing {
        /// The number found in its place.
        found: i64,
    },
    /// A record stands here that belongs before, or stands twice.
    #[error("out of order: number {found} stands where it should be")]
    OutOfOrder {
        /// The number found in its place.
        found: i64,
    },
    /// The record belongs to another chain.
    #[error("moved here from another chain")]
    OtherChain,
    /// The event or a ledger row of the group is not what was written.
    #[error("edited: its content does not match its hash")]
    Edited,
    /// The group has more or fewer ledger rows than were written.
    #[error("{found} ledger rows instead of {expected}")]
    RowCount {
        /// As written.
        expected: i64,
        /// As found.
        found: i64,
    },
    /// The record, or one before it, was replaced: the chain does not lead from the last head to this one.
    #[error("replaced: the chain does not lead from the record before it to this one")]
    Broken,
}

/// The first bad record of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {number} is {kind}")]
pub struct ChainFault {
    /// The number that the record has or should have.
    pub number: i64,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What there is to check a group commit's leaf with.
#[derive(Debug, Clone, Copy)]
pub enum RowsAtHand<'a> {
    /// Its rows, in their order.
    All(&'a [LedgerRow]),
    /// Retention took them, as the control chain says: the leaf stands for them.
    Retired,
}

/// Follows one chain record by record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainVerifier {
    length: i64,
    head: Digest,
}

impl ChainVerifier {
    /// From the chain's beginning.
    #[must_use]
    pub const fn new() -> Self {
        Self { length: 0, head: Digest::EMPTY }
    }

    /// From a point that is already proven.
    #[must_use]
    pub const fn resume(length: i64, head: Digest) -> Self {
        Self { length, head }
    }

    /// How many records were found good.
    #[must_use]
    pub const fn length(&self) -> i64 {
        self.length
    }

    /// The head after them.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Checks the next record of the control chain. After a fault the verifier stands where it stood.
    ///
    /// # Errors
    /// [`ChainFault`] when the record is not the one that was written.
    pub fn control(&mut self, record: &AuditRecord) -> Result<(), ChainFault> {
        let number = self.expect(record.number)?;
        let fault = |kind| Err(ChainFault { number, kind });
        if leaf(&canonical::event_bytes(&record.event)) != record.leaf {
            return fault(FaultKind::Edited);
        }
        self.advance(number, link(self.head, number, record.leaf), record.head)
    }

    /// Checks the next record of the data chain `chain`. After a fault the verifier stands where it stood.
    ///
    /// # Errors
    /// [`ChainFault`] when the record or its rows are not what was written.
    pub fn data(
        &mut self,
        chain: &NodeId,
        record: &DataRecord,
        rows: RowsAtHand<'_>,
    ) -> Result<(), ChainFault> {
        let number = self.expect(record.number)?;
        let fault = |kind| Err(ChainFault { number, kind });
        if record.chain != *chain {
            return fault(FaultKind::OtherChain);
        }
        if let RowsAtHand::All(rows) = rows {
            let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            if found != record.rows {
                return fault(FaultKind::RowCount { expected: record.rows, found });
            }
            if group_leaf(rows) != record.leaf {
                return fault(FaultKind::Edited);
            }
        }
        self.advance(number, record.link(self.head), record.head)
    }

    fn expect(&self, found: i64) -> Result<i64, ChainFault> {
        let number = self.length.saturating_add(1);
        let kind = match found.cmp(&number) {
            std::cmp::Ordering::Equal => return Ok(number),
            std::cmp::Ordering::Greater => FaultKind::Missing { found },
            std::cmp::Ordering::Less => FaultKind::OutOfOrder { found },
        };
        Err(ChainFault { number, kind })
    }

    fn advance(&mut self, number: i64, computed: Digest, found: Digest) -> Result<(), ChainFault> {
        if computed != found {
            return Err(ChainFault { number, kind: FaultKind::Broken });
        }
        *self = Self { length: number, head: found };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
