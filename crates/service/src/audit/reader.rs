//! Where a verification reads from: a store, live or stopped, or an export. All give the same lines in the same order.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use claviger_domain::{
    audit::{AuditRecord, DataRecord, checkpoint::Checkpoint},
    id::NodeId,
    ledger::LedgerRow,
    ports::{DataChain, DayCheck, LedgerStore, Store, StoreError},
};
use serde::{Deserialize, Serialize};

use super::BadRecord;
use crate::ServiceError;

/// Records a page.
const PAGE: u32 = 500;
/// Ledger rows that are held at a time, unless one group has more.
const ROWS_AT_ONCE: i64 = 5_000;
/// What bad totals are filed under; their number is the day since the epoch.
const TOTALS: &str = "daily totals";

/// One piece of the audit log. A log is: the newest checkpoint if there is one, the control chain, then data chain by
/// data chain, each in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// The newest checkpoint that the store keeps.
    Checkpoint(Checkpoint),
    /// A record of the control chain.
    Control(Box<AuditRecord>),
    /// What the store finds wrong with itself beside the chains: rows that no record covers, totals that are not the
    /// sum of their rows.
    Fault(BadRecord),
    /// A group commit with its ledger rows; none when retention took them.
    Data {
        /// The record.
        record: DataRecord,
        /// Its rows.
        rows: Vec<LedgerRow>,
    },
}

/// A log could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store does not answer, or was written by a newer release.
    #[error(transparent)]
    Store(StoreError),
    /// Something in it is not what was written: this is a finding, not a failure.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// An export that cannot be read from its medium.
    #[error("cannot read or write the export: {0}")]
    Io(String),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } => Self::Unreadable(error.to_string()),
            StoreError::Conflict { .. }
            | StoreError::OverCap { .. }
            | StoreError::Unavailable(_)
            | StoreError::Refused { .. }
            | StoreError::NewerSchema { .. } => Self::Store(error),
        }
    }
}

impl From<ReadError> for ServiceError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Unreadable(why) | ReadError::Io(why) => Self::Unavailable(why),
        }
    }
}

/// Gives the lines of one log.
#[async_trait]
pub trait AuditReader: Send {
    /// The next line; `None` at the end.
    async fn next(&mut self) -> Result<Option<Line>, ReadError>;
}

/// Reads from the stores. What is written meanwhile is left out without leaving a seam: the checkpoint is read first;
/// which chains there are is asked while the control chain is read, how long they are after it.
pub struct StoreReader {
    store: Arc<dyn Store>,
    ledger: Arc<dyn LedgerStore>,
    stage: Stage,
    control: i64,
    known: Vec<NodeId>,
    chains: VecDeque<DataChain>,
    buffered: VecDeque<Line>,
    /// The last record read of the chain at the front.
    position: i64,
    /// The last day whose totals were held against their rows.
    day: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Checkpoint,
    Control,
    /// The rest of the control chain: it holds the openings of all chains that are known now.
    ControlTail,
    Data,
    /// Totals come last: what they sum up is proven then.
    Totals,
    End,
}

impl StoreReader {
    /// Reads from these stores.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, ledger: Arc<dyn LedgerStore>) -> Self {
        Self {
            store,
            ledger,
            stage: Stage::Checkpoint,
            control: 0,
            known: Vec::new(),
            chains: VecDeque::new(),
            buffered: VecDeque::new(),
            position: 0,
            day: i64::MIN,
        }
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        match self.stage {
            Stage::Checkpoint => {
                self.buffered.extend(self.ledger.last_checkpoint().await?.map(Line::Checkpoint));
                self.stage = Stage::Control;
            }
            Stage::Control => {
                if !self.fill_control().await? {
                    self.known = self.ledger.chains().await?.into_iter().map(|c| c.chain).collect();
                    self.stage = Stage::ControlTail;
                }
            }
            Stage::ControlTail => {
                if !self.fill_control().await? {
                    self.chains = self.ledger.chains().await?.into();
                    self.chains.retain(|c| self.known.contains(&c.chain));
                    self.stage = Stage::Data;
                }
            }
            Stage::Data => self.fill_data().await?,
            Stage::Totals => match self.ledger.check_totals(self.day).await? {
                Some(DayCheck { day, differs }) => {
                    self.day = day;
                    self.buffered.extend(differs.map(|key| wrong_total(day, &key)));
                }
                None => self.stage = Stage::End,
            },
            Stage::End => {}
        }
        Ok(())
    }

    async fn fill_control(&mut self) -> Result<bool, ReadError> {
        let page = self.store.audit_after(self.control, PAGE).await?;
        let Some(last) = page.last() else { return Ok(false) };
        // A number that does not grow would be read for ever; the verifier finds the fault in it.
        self.control = last.number.max(self.control.saturating_add(1));
        self.buffered.extend(page.into_iter().map(Box::new).map(Line::Control));
        Ok(true)
    }

    async fn fill_data(&mut self) -> Result<(), ReadError> {
        let Some(chain) = self.chains.front() else {
            self.stage = Stage::Totals;
            return Ok(());
        };
        let mut page = self.ledger.data_after(&chain.chain, self.position, PAGE).await?;
        page.retain(|record| record.number <= chain.length);
        if page.is_empty() {
            let stray = self.ledger.stray_row(&chain.chain).await?;
            self.buffered.extend(stray.map(|row| stray_row(chain, self.position, row)));
            self.chains.pop_front();
            self.position = 0;
            return Ok(());
        }
        page.truncate(fitting(&page));
        let mut rows = loop {
            let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(()) };
            match self.ledger.rows_of(&chain.chain, first.number, last.number).await {
                // Fewer, until the unreadable one stands alone: what comes before it is good.
                Err(StoreError::Corrupt { .. }) if page.len() > 1 => page.truncate(page.len() / 2),
                read => break read?,
            }
        };
        for record in page {
            self.position = record.number.max(self.position.saturating_add(1));
            let rows = rows.remove(&record.number).unwrap_or_default();
            self.buffered.push_back(Line::Data { record, rows });
        }
        Ok(())
    }
}

/// How many of the records have rows that may be held at a time: one at least.
fn fitting(page: &[DataRecord]) -> usize {
    let mut rows = 0_i64;
    let fits = |record: &&DataRecord| {
        rows = rows.saturating_add(record.rows.max(0));
        rows <= ROWS_AT_ONCE
    };
    page.iter().take_while(fits).count().max(1)
}

fn stray_row(chain: &DataChain, length: i64, row: i64) -> Line {
    let why = format!("the ledger holds row {row} of this chain, which no record covers");
    Line::Fault(BadRecord { chain: chain.chain.to_string(), number: length + 1, why })
}

fn wrong_total(day: i64, key: &str) -> Line {
    let why = format!("the totals of {key} on day {day} since the epoch are not the sum of its ledger rows");
    Line::Fault(BadRecord { chain: TOTALS.to_owned(), number: day, why })
}

#[async_trait]
impl AuditReader for StoreReader {
    async fn next(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            if let Some(line) = self.buffered.pop_front() {
                return Ok(Some(line));
            }
            if self.stage == Stage::End {
                return Ok(None);
            }
            self.fill().await?;
        }
    }
}
