//! Reports that look at every call: what was saved, and how fast and how well calls were answered.

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, MICROS_PER_DAY, Timestamp},
    id::{KeyId, WorkspaceId},
    ledger::LedgerRow,
    performance::{Heading, PerformanceBook, PerformanceReport, StageTime},
    ports::{LedgerStore, RowScan, SavedBefore, SavedQuery},
    price::Prices,
    savings::{SavedDay, Savings, SavingsBook},
};

use crate::ServiceError;

/// Days that a report covers unless told.
const USUAL_DAYS: i64 = 30;
/// The most calls that one report looks at.
const MOST_ROWS: u64 = 20_000_000;
const MICROS_PER_MINUTE: i64 = 60 * 1_000_000;
/// Calls that are read at a time.
const PAGE: u32 = 2_000;
/// How often a report is begun again because rows went while it was read: they go once a day.
const TRIES: u32 = 4;

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
    /// Of an earlier time the report tells nothing.
    pub kept_from: Option<Timestamp>,
    /// Before this UTC midnight, days are only known whole: one counts if it begins in the report's time.
    pub whole_days_until: Option<Timestamp>,
}

/// What was read for a report.
struct Read {
    covered: Covered,
    /// How often rows had gone at the end.
    runs: i64,
}

fn midnight(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY))
}

/// The first UTC day that begins at a moment or after it.
fn first_begun(at: Timestamp) -> i64 {
    at.utc_day() + i64::from(midnight(at.utc_day()) < at)
}

fn date(at: Timestamp) -> String {
    at.to_rfc3339().chars().take_while(|c| *c != 'T').collect()
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
            Self::Day => date(row.at),
        }
    }

    /// The group of calls whose rows are gone.
    fn of_day(self, day: &SavedDay) -> String {
        match self {
            Self::Key => day.key.to_string(),
            Self::Model => day.model.clone(),
            Self::Workspace => day.workspace.to_string(),
            Self::Owner => day.owner.to_string(),
            Self::Credential => String::new(),
            Self::Day => date(midnight(day.day)),
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
        for _ in 0..TRIES {
            let mut book = SavingsBook::default();
            let (from, until) = self.span(extent);
            let gone = self.gone(extent, (from, until)).await?;
            gone.days.iter().for_each(|day| book.add_day(day, &by.of_day(day)));
            let read = self.read(extent, |row| book.add(row, &by.of(row), prices)).await?;
            // Rows that went in between count twice or not at all.
            if read.runs == gone.runs {
                let known_from = |day: i64| Some(midnight(day)).filter(|known| *known > from);
                let covered = Covered {
                    kept_from: known_from(gone.saved_from),
                    whole_days_until: known_from(gone.first_day).filter(|_| gone.first_day > gone.saved_from),
                    ..read.covered
                };
                return Ok((covered, book.finish()));
            }
        }
        Err(ServiceError::conflict("report", "rows of the ledger went while it was made: ask again"))
    }

    /// What is known of the report's calls whose rows are gone.
    async fn gone(
        &self,
        extent: &Extent,
        (from, until): (Timestamp, Timestamp),
    ) -> Result<SavedBefore, ServiceError> {
        let query = SavedQuery {
            days: (first_begun(from), first_begun(until)),
            key: extent.key.clone(),
            workspace: extent.workspace.clone(),
        };
        Ok(self.ledger.saved_before(&query).await?)
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
        Ok(self.read(extent, &mut take).await?.covered)
    }

    fn span(&self, extent: &Extent) -> (Timestamp, Timestamp) {
        let until = extent.until.unwrap_or_else(|| self.clock.now().plus_micros(1));
        (extent.from.unwrap_or_else(|| until.plus_micros(-USUAL_DAYS * MICROS_PER_DAY)), until)
    }

    async fn read(
        &self,
        extent: &Extent,
        mut take: impl FnMut(&LedgerRow) + Send,
    ) -> Result<Read, ServiceError> {
        let (from, until) = self.span(extent);
        let scan = RowScan {
            from,
            until,
            key: extent.key.clone(),
            workspace: extent.workspace.clone(),
            limit: PAGE,
        };
        let mut covered = Covered { from, until, kept_from: None, whole_days_until: None };
        let (mut after, mut seen) = (None, 0_u64);
        loop {
            let page = self.ledger.rows_in(&scan, after).await?;
            page.rows.iter().for_each(&mut take);
            let first = midnight(page.first_day);
            covered.kept_from = Some(first).filter(|first| *first > from);
            seen += page.rows.len() as u64;
            if page.next.is_none() {
                return Ok(Read { covered, runs: page.runs });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_is_known_whole_counts_where_it_begins() {
        let noon = midnight(5).plus_micros(MICROS_PER_DAY / 2);
        // From the fifth day's midnight on it is in; from its noon on it is not; until its noon it is, until its midnight not.
        assert_eq!((first_begun(midnight(5)), first_begun(noon)), (5, 6));
        assert_eq!(first_begun(midnight(5).plus_micros(-1)), 5);
        assert_eq!((date(midnight(0)), date(noon)), ("1970-01-01".to_owned(), "1970-01-06".to_owned()));
    }
}
