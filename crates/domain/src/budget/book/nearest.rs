//! Which ceiling a caller is nearest to.

use std::sync::Arc;

use super::{Book, Holds};
use crate::{budget::BudgetRecord, clock::Timestamp};

/// A hard budget, and how much of it is spent.
#[derive(Debug, Clone)]
pub struct Nearest {
    /// The budget.
    pub record: Arc<BudgetRecord>,
    /// The end of the call's period; `None`: never.
    pub resets_at: Option<Timestamp>,
    /// What is settled, in per cent of the limit, without what is beyond a whole number: 100 is all of it.
    pub percent: u8,
}

impl Book {
    /// Of the hard budgets that a call counts against, the one of which the largest part is spent.
    #[must_use]
    pub fn nearest(&self, holds: &Holds) -> Option<Nearest> {
        let spent = holds.0.iter().filter(|hold| hold.record.hard).filter_map(|hold| {
            let entry = self.entries.get(&hold.record.id)?;
            let settled = entry.accounts.get(&hold.window).map_or(0, |account| account.settled);
            let limit = i128::from(entry.record.limit.as_pico()).max(1);
            let percent = u8::try_from((settled.max(0) * 100 / limit).min(100)).unwrap_or(100);
            Some((percent, hold))
        });
        // Of equals the one that was asked first.
        let (percent, hold) = spent.reduce(|most, other| if other.0 > most.0 { other } else { most })?;
        let resets_at = hold.record.calendar.window_at(hold.window).end;
        Some(Nearest { record: Arc::clone(&hold.record), resets_at, percent })
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        budget::{Ask, BudgetMode, BudgetRecord, BudgetSubject, Calendar, Period},
        id::BudgetId,
        ledger::sample,
        money::PicoUsd,
    };

    use super::*;

    fn budget(id: &str, period: Period, limit: i128, hard: bool) -> BudgetRecord {
        BudgetRecord {
            id: BudgetId::parse(id).unwrap(),
            subject: BudgetSubject::All,
            calendar: Calendar::new(period, "UTC").unwrap(),
            limit: PicoUsd::new(limit).unwrap(),
            hard,
            mode: BudgetMode::Strict,
            created_at: Timestamp::from_secs(0),
            dropped_at: None,
            credit: None,
            version: 1,
        }
    }

    #[test]
    fn the_hard_budget_of_which_most_is_spent_is_the_nearest() {
        let now = Timestamp::from_secs(86_400 + 10);
        let mut book = Book::default();
        let party = sample::row(1).party;
        let ask = Ask::at_most(PicoUsd::new(1).unwrap());
        drop(book.put(budget("bdg_soft", Period::Life, 1_000, false), now, 999));
        let holds = book.reserve(&party, None, ask, now).unwrap();
        assert!(book.nearest(&holds).is_none());
        book.release(holds);
        drop(book.put(budget("bdg_day", Period::Day, 1_000, true), now, 759));
        drop(book.put(budget("bdg_month", Period::Month, 10_000, true), now, 7_499));
        let holds = book.reserve(&party, None, ask, now).unwrap();
        let nearest = book.nearest(&holds).unwrap();
        assert_eq!((nearest.record.id.as_str(), nearest.percent), ("bdg_day", 75));
        assert_eq!(nearest.resets_at, Some(Timestamp::from_secs(2 * 86_400)));
        book.release(holds);
    }
}
