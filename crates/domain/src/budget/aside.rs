//! What is taken out of one budget other than by calls, such as a refund of prepaid credit: it is held back until the lower
//! limit is in force, so that no call gets it before.

use super::{Book, Charge};
use crate::{clock::Timestamp, id::BudgetId, money::PicoUsd};

/// An amount that no call gets. It must be given back to the book: by [`Book::end_aside`].
#[derive(Debug)]
#[must_use = "what is set aside stays so until it is given back"]
pub struct Aside {
    charge: Charge,
    held: i128,
}

/// There is not as much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotLeft {
    /// The budget and its period; `None`: there is no such budget.
    pub charge: Option<Charge>,
    /// What is left, in pico-dollars; on one of several nodes, of its block.
    pub left: i128,
}

impl Book {
    /// Sets an amount aside from one budget alone.
    ///
    /// # Errors
    /// [`NotLeft`]; on one of several nodes, what lacks is then asked for.
    pub fn set_aside(&mut self, id: &BudgetId, amount: PicoUsd, now: Timestamp) -> Result<Aside, NotLeft> {
        let shares = self.shares;
        let Some(entry) = self.entries.get_mut(id) else { return Err(NotLeft { charge: None, left: 0 }) };
        entry.roll(now);
        entry.used_at = now;
        let charge = Charge { budget: id.clone(), window: entry.window.start };
        let limit = i128::from(entry.record.limit.as_pico());
        let account = entry.accounts.entry(charge.window).or_default();
        let left = match shares {
            true => account.block.unspent() - account.reserved,
            false => limit - account.settled - account.reserved,
        };
        let held = i128::from(amount.as_pico());
        if held <= left {
            account.reserved += held;
            return Ok(Aside { charge, held });
        }
        if shares {
            let lacks = self.wanted.entry(charge.clone()).or_default();
            *lacks = (*lacks).max(held - left);
        }
        Err(NotLeft { charge: Some(charge), left })
    }

    /// The limit says by now what was taken. On one of several nodes the amount leaves this node's block in the same moment:
    /// the block was given under the limit before.
    pub fn end_aside(&mut self, aside: Aside) {
        let shares = self.shares;
        let Aside { charge, held } = aside;
        let Some(entry) = self.entries.get_mut(&charge.budget) else { return };
        let Some(account) = entry.accounts.get_mut(&charge.window) else { return };
        account.reserved -= held;
        if shares {
            account.block.leased -= held;
            account.block.returning += held;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budget::{
            Ask, BudgetMode, BudgetRecord, BudgetSubject, Calendar, Period,
            blocks::{Answer, Ground},
        },
        id::{KeyId, OwnerId, WorkspaceId},
        ledger::Party,
        token::KeyClass,
    };

    fn record(limit: i128) -> BudgetRecord {
        BudgetRecord {
            id: BudgetId::parse("bdg_a").unwrap(),
            subject: BudgetSubject::All,
            calendar: Calendar::new(Period::Life, "UTC").unwrap(),
            limit: PicoUsd::new(limit).unwrap(),
            hard: true,
            mode: BudgetMode::Strict,
            created_at: Timestamp::from_secs(0),
            dropped_at: None,
            credit: None,
            version: 1,
        }
    }

    fn call(book: &mut Book, amount: i64) -> bool {
        let party = Party {
            key: KeyId::parse("key_a").unwrap(),
            workspace: WorkspaceId::parse("ws_a").unwrap(),
            owner: OwnerId::parse("own_a").unwrap(),
            class: KeyClass::Live,
        };
        let ask = Ask::at_most(PicoUsd::saturating(i128::from(amount)));
        book.reserve(&party, None, ask, Timestamp::from_secs(9)).map(|holds| book.release(holds)).is_ok()
    }

    fn pico(amount: i128) -> PicoUsd {
        PicoUsd::saturating(amount)
    }

    #[test]
    fn what_is_set_aside_no_call_gets_before_and_after_the_limit_is_lower() {
        let (now, mut book) = (Timestamp::from_secs(9), Book::default());
        book.put(record(100), now, 0);
        let id = record(1).id;
        let aside = book.set_aside(&id, pico(70), now).unwrap();
        assert_eq!(book.set_aside(&id, pico(31), now).unwrap_err().left, 30);
        assert!(call(&mut book, 30) && !call(&mut book, 31));
        book.put(record(30), now, 0);
        book.end_aside(aside);
        assert!(call(&mut book, 30) && !call(&mut book, 31));
    }

    #[test]
    fn on_one_of_several_nodes_it_leaves_the_block_with_the_limit() {
        let (now, mut book) = (Timestamp::from_secs(9), Book::shared());
        book.put(record(100), now, 0);
        let id = record(1).id;
        let short = book.set_aside(&id, pico(70), now).unwrap_err();
        let charge = short.charge.unwrap();
        assert_eq!((short.left, book.take_wanted()), (0, vec![(charge.clone(), 70)]));
        let wish = book.wish(&charge, 70, now).unwrap();
        let answer = Answer { ground: Ground::default(), delta: 90 };
        book.answered(&charge, &wish, &answer);
        let aside = book.set_aside(&id, pico(70), now).unwrap();
        assert!(call(&mut book, 20) && !call(&mut book, 21));
        book.end_aside(aside);
        assert!(call(&mut book, 20) && !call(&mut book, 21), "what was taken is not given to calls");
        assert_eq!(book.wish(&charge, 0, now).unwrap().gives, 70);
    }
}
