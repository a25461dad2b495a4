//! Follows a log line by line and stops at the first that is not what was written.
//!
//! The control chain is the root of trust among the chains: it says which data chains there are, how long the closed
//! ones are, which groups' rows retention took, and whose signature checkpoints bear. So a chain that was removed whole
//! is noticed as well as an edited row.

use std::collections::{BTreeMap, BTreeSet};

use claviger_domain::{
    audit::{
        AuditRecord, DataRecord, Digest,
        chain::{ChainVerifier, RowsAtHand},
        checkpoint::{Against, CONTROL_CHAIN, Checkpoint, CheckpointHead, PublicKey, root_of},
    },
    id::NodeId,
    ledger::LedgerRow,
};

use super::{BadRecord, CHAIN_CLOSE, CHAIN_OPEN, Line, RETIRE, Verdict};
use crate::bootstrap::AUDIT_SIGNING_KEY;

/// What bad records of checkpoints are filed under.
const CHECKPOINT: &str = "checkpoint";

/// The state of a verification.
#[derive(Default)]
pub(super) struct Follower {
    records: u64,
    control: ChainVerifier,
    data: BTreeMap<String, ChainVerifier>,
    /// The chain whose records are being read.
    current: Option<NodeId>,
    said: Said,
    newest: Option<Checkpoint>,
    against: Vec<(Checkpoint, Against)>,
}

/// What the control chain says.
#[derive(Default)]
struct Said {
    /// Chains, and the number of the record that opened each.
    opened: BTreeMap<String, i64>,
    closed: BTreeMap<String, Closing>,
    /// Groups up to this one have no rows any more.
    retired: BTreeMap<String, i64>,
    signing_keys: BTreeSet<String>,
}

struct Closing {
    by: i64,
    length: i64,
    head: String,
}

impl Said {
    fn hear(&mut self, record: &AuditRecord) {
        let event = &record.event;
        let text = |name: &str| event.details.get(name).and_then(|v| v.as_str()).map(str::to_owned);
        match event.action.as_str() {
            CHAIN_OPEN => {
                self.opened.insert(event.target.clone(), record.number);
            }
            CHAIN_CLOSE => {
                let length = event.details.get("length").and_then(serde_json::Value::as_i64).unwrap_or(-1);
                let head = text("head").unwrap_or_default();
                self.closed.insert(event.target.clone(), Closing { by: record.number, length, head });
            }
            RETIRE => {
                let chains = event.details.get("retired").and_then(|v| v.as_object());
                for (chain, number) in chains.into_iter().flatten() {
                    let number = number.as_i64().unwrap_or(0);
                    let last = self.retired.entry(chain.clone()).or_insert(number);
                    *last = (*last).max(number);
                }
            }
            "secret.create" if event.target == AUDIT_SIGNING_KEY => {
                self.signing_keys.extend(text("public_key"));
            }
            _ => {}
        }
    }
}

impl Follower {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Also holds the log against a checkpoint that was kept elsewhere. It is trusted, and with it its key.
    pub(super) fn hold_against(&mut self, kept: &Checkpoint) -> Result<(), BadRecord> {
        verify_signature(kept)?;
        self.against.push((kept.clone(), Against::new(kept)));
        Ok(())
    }

    /// Follows one line.
    pub(super) fn line(&mut self, line: &Line) -> Result<(), BadRecord> {
        match line {
            Line::Checkpoint(checkpoint) => {
                verify_signature(checkpoint)?;
                self.against.push((checkpoint.clone(), Against::new(checkpoint)));
                self.newest = Some(checkpoint.clone());
                Ok(())
            }
            Line::Control(record) => self.control(record),
            Line::Fault(bad) => Err(bad.clone()),
            Line::Data { record, rows } => self.data(record, rows),
        }
    }

    fn control(&mut self, record: &AuditRecord) -> Result<(), BadRecord> {
        let fault = |number, why: String| BadRecord { chain: CONTROL_CHAIN.to_owned(), number, why };
        self.control.control(record).map_err(|f| fault(f.number, f.kind.to_string()))?;
        self.said.hear(record);
        self.found(CONTROL_CHAIN, record.number, record.head)
    }

    fn data(&mut self, record: &DataRecord, rows: &[LedgerRow]) -> Result<(), BadRecord> {
        let chain = record.chain.as_str();
        let fault = |number, why: String| BadRecord { chain: chain.to_owned(), number, why };
        if !self.said.opened.contains_key(chain) {
            return Err(fault(record.number, "the control chain knows of no such chain".to_owned()));
        }
        if self.current.as_ref() != Some(&record.chain) {
            if self.data.contains_key(chain) {
                return Err(fault(
                    record.number,
                    "out of order: the chain was read to its end before".to_owned(),
                ));
            }
            self.current = Some(record.chain.clone());
        }
        let is_retired = self.said.retired.get(chain).is_some_and(|last| record.number <= *last);
        let at_hand = if is_retired { RowsAtHand::Retired } else { RowsAtHand::All(rows) };
        let verifier = self.data.entry(chain.to_owned()).or_default();
        verifier.data(&record.chain, record, at_hand).map_err(|f| fault(f.number, f.kind.to_string()))?;
        self.found(chain, record.number, record.head)
    }

    /// A record is good in its chain; the checkpoints must agree.
    fn found(&mut self, chain: &str, number: i64, head: Digest) -> Result<(), BadRecord> {
        self.records += 1;
        for (_, against) in &mut self.against {
            let fault = |why: String| BadRecord { chain: chain.to_owned(), number, why };
            against.observe(chain, number, head).map_err(|e| fault(e.to_string()))?;
        }
        Ok(())
    }

    /// What should come next cannot be read.
    pub(super) fn next_is_bad(&self, why: String) -> BadRecord {
        let (chain, at) = match &self.current {
            Some(chain) => (chain.to_string(), self.data.get(chain.as_str()).copied().unwrap_or_default()),
            None => (CONTROL_CHAIN.to_owned(), self.control),
        };
        BadRecord { chain, number: at.length() + 1, why }
    }

    /// All lines were read.
    pub(super) fn finish(&mut self) -> Result<(), BadRecord> {
        for (chain, closing) in &self.said.closed {
            let found = self.data.get(chain).copied().unwrap_or_default();
            if (found.length(), found.head().to_hex()) != (closing.length, closing.head.clone()) {
                let number = found.length().min(closing.length) + 1;
                let why = format!(
                    "the control chain says that this chain ended at record {} with head {}",
                    closing.length, closing.head
                );
                return Err(BadRecord { chain: chain.clone(), number, why });
            }
        }
        for (checkpoint, against) in std::mem::take(&mut self.against) {
            let fault =
                |why: String| BadRecord { chain: CHECKPOINT.to_owned(), number: checkpoint.number, why };
            against.finish().map_err(|e| fault(e.to_string()))?;
            if !self.said.signing_keys.contains(&checkpoint.public_key) {
                return Err(fault("it is signed with a key that the control chain does not name".to_owned()));
            }
        }
        Ok(())
    }

    pub(super) fn verdict(&self, bad: Option<BadRecord>) -> Verdict {
        let unproven = if bad.is_none() { self.unproven() } else { 0 };
        Verdict {
            records: self.records,
            head: root_of(&self.heads()).to_hex(),
            unproven: unproven.unsigned_abs(),
            ok: bad.is_none(),
            bad,
        }
    }

    fn heads(&self) -> Vec<CheckpointHead> {
        let head = |chain: &str, at: &ChainVerifier| CheckpointHead {
            chain: chain.to_owned(),
            length: at.length(),
            head: at.head(),
        };
        let mut heads: Vec<_> = self.data.iter().map(|(chain, at)| head(chain, at)).collect();
        heads.push(head(CONTROL_CHAIN, &self.control));
        heads.sort_by(|a, b| a.chain.cmp(&b.chain));
        heads
    }

    /// Records that neither the newest checkpoint names nor a closing that it names.
    fn unproven(&self) -> i64 {
        let signed = |chain: &str| {
            let newest = self.newest.as_ref()?;
            newest.heads.iter().find(|h| h.chain == chain).map(|h| h.length)
        };
        let control = signed(CONTROL_CHAIN).unwrap_or(0);
        let of_data = self.data.iter().map(|(chain, at)| {
            let closed = self.said.closed.get(chain).filter(|closing| closing.by <= control);
            let proven = if closed.is_some() { at.length() } else { signed(chain).unwrap_or(0) };
            (at.length() - proven).max(0)
        });
        (self.control.length() - control).max(0) + of_data.sum::<i64>()
    }
}

fn verify_signature(checkpoint: &Checkpoint) -> Result<(), BadRecord> {
    let fault = |why: String| BadRecord { chain: CHECKPOINT.to_owned(), number: checkpoint.number, why };
    let key = PublicKey::parse(&checkpoint.public_key).map_err(|e| fault(e.to_string()))?;
    checkpoint.verify(&key).map_err(|e| fault(e.to_string()))
}
