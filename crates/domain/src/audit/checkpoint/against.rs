//! Holding chains against a checkpoint that was kept outside.

use std::collections::BTreeMap;

use crate::audit::{
    Digest,
    checkpoint::{Checkpoint, CheckpointHead},
};

/// How the store differs from what was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgainstFault {
    /// The chain ends before the point that was signed: its tail was cut, or the store rolled back.
    #[error(
        "chain `{chain}` ends at record {found}, but the checkpoint was signed at {expected}: cut off or rolled back"
    )]
    Cut {
        /// The chain.
        chain: String,
        /// Its length when the checkpoint was signed.
        expected: i64,
        /// Its length now.
        found: i64,
    },
    /// The chain was rewritten: at that record it had another head.
    #[error("chain `{chain}` differs from the checkpoint at record {number}: rewritten")]
    Differs {
        /// The chain.
        chain: String,
        /// The record.
        number: i64,
    },
}

/// Told every record that was found good, it says in the end whether the store leads to all heads of a checkpoint.
#[derive(Debug, Clone)]
pub struct Against(BTreeMap<String, Open>);

/// A head that was signed and not yet reached.
#[derive(Debug, Clone, Copy)]
struct Open {
    length: i64,
    head: Digest,
    reached: i64,
}

impl Against {
    /// Holds against this checkpoint; verify its signature first.
    #[must_use]
    pub fn new(checkpoint: &Checkpoint) -> Self {
        let heads = checkpoint.heads.iter().filter(|h| h.length > 0);
        let open = |h: &CheckpointHead| Open { length: h.length, head: h.head, reached: 0 };
        Self(heads.map(|h| (h.chain.clone(), open(h))).collect())
    }

    /// A record was found good: the chain has this head after it.
    ///
    /// # Errors
    /// [`AgainstFault::Differs`] when another head was signed at this record.
    pub fn observe(&mut self, chain: &str, number: i64, head: Digest) -> Result<(), AgainstFault> {
        let Some(open) = self.0.get_mut(chain) else { return Ok(()) };
        if number < open.length {
            open.reached = number;
            return Ok(());
        }
        if (number, head) == (open.length, open.head) {
            self.0.remove(chain);
            return Ok(());
        }
        Err(AgainstFault::Differs { chain: chain.to_owned(), number })
    }

    /// All chains were read to their ends.
    ///
    /// # Errors
    /// [`AgainstFault::Cut`] names the first chain that did not reach the length that was signed.
    pub fn finish(self) -> Result<(), AgainstFault> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((chain, open)) => {
                Err(AgainstFault::Cut { chain, expected: open.length, found: open.reached })
            }
        }
    }
}
