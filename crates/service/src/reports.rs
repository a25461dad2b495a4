//! Reports that look at every call: what was saved, and how fast and how well calls were answered.

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, MICROS_PER_DAY, Timestamp},
    id::{KeyId, WorkspaceId},
    ledger::LedgerRow,
    performance::{Heading, PerformanceBook, PerformanceReport, StageTime},
    ports::{LedgerStore, RowScan},
    price::Prices,
    savings::{Savings, SavingsBook},
};

use crate::ServiceError;

/// Days that a report covers unless told.
const USUAL_DAYS: i64 = 30;
/// The most calls that one report looks at.
const MOST_ROWS: u64 = 20_000_000;
const MICROS_PER_MINUTE: i64 = 60 * 1_000_000;
/// Calls that are read at a time.
const PAGE: u32 = 2_000;

/// Which calls a report is about.
#[derive(Debug, Clone, Default)]
pub struct Extent {
    /// From this moment on; `None`: the last thirty days.
    pub from: Option<Timestamp>,
    /// Before this moment; `None`: up to now.
    pub until: Option<Timestamp>,
    /// Only of this key.
    pub key: Option<KeyId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered {
    /// From here on.
    pub from: Timestamp,
    /// Before this.
    pub until: Timestamp,
    /// Single calls are only known from here on: of an earlier time the report tells nothing.
    pub kept_from: Option<Timestamp>,
}

/// What the rows of a report stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsBy {
    /// Keys.
    Key,
    /// Models.
    Model,
    /// Workspaces.
    Workspace,
    /// Owners of keys.
    Owner,
    /// Sealed credentials.
    Credential,
    /// UTC days.
    Day,
}

impl RowsBy {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Model => "model",
            Self::Workspace => "workspace",
            Self::Owner => "owner",
            Self::Credential => "credential",
            Self::Day => "day",
        }
    }

    /// The group of a call; empty: it has none.
    fn of(self, row: &LedgerRow) -> String {
        match self {
            Self::Key => row.party.key.to_string(),
            Self::Model => row.model.clone(),
            Self::Workspace => row.party.workspace.to_string(),
            Self::Owner => row.party.owner.to_string(),
            Self::Credential => row.route.credential.as_ref().map(ToString::to_string).unwrap_or_default(),
            Self::Day => row.at.to_rfc3339().chars().take_while(|c| *c != 'T').collect(),
        }
    }
}

/// Reports over single calls. Cheap to clone.
#[derive(Clone)]
pub struct Reports {
    ledger: Arc<dyn LedgerStore>,
    clock: Arc<dyn Clock>,
}

impl Reports {
    pub(crate) fn new(ledger: Arc<dyn LedgerStore>, clock: Arc<dyn Clock>) -> Self {
        Self { ledger, clock }
    }

    /// What prompt caching, batches and the response cache saved.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for more calls than one report looks at, [`ServiceError::Unavailable`].
    pub async fn savings(
        &self,
        extent: &Extent,
        by: RowsBy,
        prices: &dyn Prices,
    ) -> Result<(Covered, Savings), ServiceError> {
        let mut book = SavingsBook::default();
        let covered = self.each(extent, |row| book.add(row, &by.of(row), prices)).await?;
        Ok((covered, book.finish()))
    }

    /// How fast and how well calls were answered.
    ///
    /// # Errors
    /// As [`Reports::savings`].
    pub async fn performance(
        &self,
        extent: &Extent,
        by: RowsBy,
        stages: Vec<StageTime>,
    ) -> Result<PerformanceReport, ServiceError> {
        let mut book = PerformanceBook::default();
        let covered = self.each(extent, |row| book.add(row, &by.of(row))).await?;
        let minutes = covered.until.micros_since(covered.from) / MICROS_PER_MINUTE;
        let heading = Heading {
            from: covered.from.to_rfc3339(),
            until: covered.until.to_rfc3339(),
            kept_from: covered.kept_from.map(Timestamp::to_rfc3339),
            by: by.as_str(),
            minutes: u64::try_from(minutes).unwrap_or(0).max(1),
        };
        Ok(book.finish(heading, stages))
    }

    /// Hands over every call that the report is about.
    pub(crate) async fn each(
        &self,
        extent: &Extent,
        mut take: impl FnMut(&LedgerRow) + Send,
    ) -> Result<Covered, ServiceError> {
        let until = extent.until.unwrap_or_else(|| self.clock.now().plus_micros(1));
        let from = extent.from.unwrap_or_else(|| until.plus_micros(-USUAL_DAYS * MICROS_PER_DAY));
        let scan = RowScan {
            from,
            until,
            key: extent.key.clone(),
            workspace: extent.workspace.clone(),
            limit: PAGE,
        };
        let mut covered = Covered { from, until, kept_from: None };
        let (mut after, mut seen) = (None, 0_u64);
        loop {
            let page = self.ledger.rows_in(&scan, after).await?;
            page.rows.iter().for_each(&mut take);
            let first = Timestamp::from_micros(page.first_day.saturating_mul(MICROS_PER_DAY));
            covered.kept_from = Some(first).filter(|first| *first > from);
            seen += page.rows.len() as u64;
            if page.next.is_none() {
                return Ok(covered);
            }
            if seen >= MOST_ROWS {
                let why =
                    format!("more than {MOST_ROWS} calls: ask for a shorter time, one key or one workspace");
                return Err(ServiceError::invalid("since", why));
            }
            after = page.next;
        }
    }
}
