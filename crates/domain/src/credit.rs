//! Prepaid credit: accounts that are paid into before calls are made, and the book of all that happens to them.
//!
//! The book is kept by double entry and only ever grows. Each entry takes an amount from one place and gives it to
//! another, so that what it posts sums to nothing, and so does the whole book. What was booked is never changed: it is
//! taken back by another entry.
//!
//! An account binds calls as one more hard budget for life ([`AccountRecord::limit`]): what calls hold back and settle is
//! reckoned there, in memory, call by call. What they have settled comes into this book in sums, each the difference
//! between what the store's total says and what was booked before ([`AccountRecord::spend`]): booking it again books
//! nothing.

use serde::{Deserialize, Serialize};

use crate::{
    budget::BudgetSubject,
    clock::Timestamp,
    id::{BudgetId, CreditAccountId, CreditEntryId},
    money::PicoUsd,
};

/// Where money of an account can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Outside, with whoever pays: less than nothing by what was paid in and not paid back.
    Cash,
    /// There to be spent.
    Available,
    /// Set aside by hand.
    Held,
    /// Spent by calls.
    Usage,
    /// Taken out of what was set aside.
    Captured,
    /// Given or taken by an operator's correction.
    Adjustments,
}

impl Place {
    /// All of them, in the order of [`Balances`].
    pub const ALL: [Self; 6] =
        [Self::Cash, Self::Available, Self::Held, Self::Usage, Self::Captured, Self::Adjustments];

    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cash => "cash",
            Self::Available => "available",
            Self::Held => "held",
            Self::Usage => "usage",
            Self::Captured => "captured",
            Self::Adjustments => "adjustments",
        }
    }

    /// The reverse of [`Place::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.as_str() == text)
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Paid in.
    TopUp,
    /// Settled by calls.
    Spend,
    /// Set aside.
    Hold,
    /// Given back of what was set aside.
    Release,
    /// Taken of what was set aside.
    Capture,
    /// Paid back.
    Refund,
    /// Given by an operator.
    AdjustUp,
    /// Taken by an operator, such as for a payment that was charged back.
    AdjustDown,
}

impl EntryKind {
    const ALL: [Self; 8] = [
        Self::TopUp,
        Self::Spend,
        Self::Hold,
        Self::Release,
        Self::Capture,
        Self::Refund,
        Self::AdjustUp,
        Self::AdjustDown,
    ];

    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Spend => "spend",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Capture => "capture",
            Self::Refund => "refund",
            Self::AdjustUp => "adjust_up",
            Self::AdjustDown => "adjust_down",
        }
    }

    /// The reverse of [`EntryKind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// From where to where it moves money.
    #[must_use]
    pub const fn way(self) -> (Place, Place) {
        match self {
            Self::TopUp => (Place::Cash, Place::Available),
            Self::Spend => (Place::Available, Place::Usage),
            Self::Hold => (Place::Available, Place::Held),
            Self::Release => (Place::Held, Place::Available),
            Self::Capture => (Place::Held, Place::Captured),
            Self::Refund => (Place::Available, Place::Cash),
            Self::AdjustUp => (Place::Adjustments, Place::Available),
            Self::AdjustDown => (Place::Available, Place::Adjustments),
        }
    }
}

/// One side of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// Where.
    pub place: Place,
    /// What comes there, in pico-dollars; less than nothing: what goes.
    pub amount: i128,
}

/// An entry in the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: CreditEntryId,
    /// The account.
    pub account: CreditAccountId,
    /// Its number in the account, from 1, without gaps.
    pub number: i64,
    /// What it is.
    pub kind: EntryKind,
    /// How much, more than nothing.
    pub amount: PicoUsd,
    /// When it was booked.
    pub at: Timestamp,
    /// What it stands for outside, such as a payment's id: booked once.
    pub reference: Option<String>,
    /// The entry that set aside what this one gives back or takes.
    pub hold: Option<CreditEntryId>,
    /// An operator's words.
    pub note: String,
}

impl Entry {
    /// Both sides.
    #[must_use]
    pub fn postings(&self) -> [Posting; 2] {
        let (from, to) = self.kind.way();
        let amount = i128::from(self.amount.as_pico());
        [Posting { place: from, amount: -amount }, Posting { place: to, amount }]
    }
}

/// What is in each place of an account, in pico-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balances([i128; Place::ALL.len()]);

impl Balances {
    /// From what is in each place, in the order of [`Place::ALL`].
    #[must_use]
    pub const fn new(amounts: [i128; Place::ALL.len()]) -> Self {
        Self(amounts)
    }

    /// What is in a place.
    #[must_use]
    pub fn of(&self, place: Place) -> i128 {
        Place::ALL.into_iter().zip(self.0).find(|(p, _)| *p == place).map_or(0, |(_, amount)| amount)
    }

    /// The sum of all places: nothing.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.0.iter().sum()
    }

    /// After an entry.
    #[must_use]
    pub fn after(mut self, entry: &Entry) -> Self {
        for Posting { place, amount } in entry.postings() {
            for (p, balance) in Place::ALL.into_iter().zip(&mut self.0) {
                *balance += if p == place { amount } else { 0 };
            }
        }
        self
    }
}

/// What was set aside by an entry, and not given back or taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenHold {
    /// The entry.
    pub id: CreditEntryId,
    /// What is left of it, in pico-dollars.
    pub left: i128,
}

/// What an operator or a payment does to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Pays in.
    TopUp(PicoUsd),
    /// Pays back.
    Refund(PicoUsd),
    /// Sets aside.
    Hold(PicoUsd),
    /// Gives back; `None`: all that is left of the hold.
    Release(OpenHold, Option<PicoUsd>),
    /// Takes of what was set aside; `None`: all that is left of the hold.
    Capture(OpenHold, Option<PicoUsd>),
    /// Gives.
    AdjustUp(PicoUsd),
    /// Takes, also what is not there: later payments make up for it.
    AdjustDown(PicoUsd),
}

impl Order {
    /// What it takes from what calls may spend, as far as it must be there.
    #[must_use]
    pub fn takes(&self) -> Option<PicoUsd> {
        match self {
            Self::Refund(amount) | Self::Hold(amount) => Some(*amount),
            Self::TopUp(_)
            | Self::Release(..)
            | Self::Capture(..)
            | Self::AdjustUp(_)
            | Self::AdjustDown(_) => None,
        }
    }

    fn parts(&self) -> (EntryKind, Option<PicoUsd>, Option<&OpenHold>) {
        match self {
            Self::TopUp(amount) => (EntryKind::TopUp, Some(*amount), None),
            Self::Refund(amount) => (EntryKind::Refund, Some(*amount), None),
            Self::Hold(amount) => (EntryKind::Hold, Some(*amount), None),
            Self::Release(hold, amount) => (EntryKind::Release, *amount, Some(hold)),
            Self::Capture(hold, amount) => (EntryKind::Capture, *amount, Some(hold)),
            Self::AdjustUp(amount) => (EntryKind::AdjustUp, Some(*amount), None),
            Self::AdjustDown(amount) => (EntryKind::AdjustDown, Some(*amount), None),
        }
    }
}

/// What an entry has beside what it moves.
#[derive(Debug, Clone)]
pub struct Particulars {
    /// Its id.
    pub id: CreditEntryId,
    /// When.
    pub at: Timestamp,
    /// What it stands for outside.
    pub reference: Option<String>,
    /// An operator's words.
    pub note: String,
}

/// Why nothing was booked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing, or less.
    #[error("an amount is more than nothing")]
    NotPositive,
    /// All that was ever paid in must be one amount.
    #[error("the account would come to more than 9 million dollars in all")]
    TooLarge,
    /// It is not there.
    #[error("${} is needed, and ${} is left", crate::money::usd_text(*.needed), crate::money::usd_text((*.left).max(0)))]
    Short {
        /// What it takes, in pico-dollars.
        needed: i128,
        /// What is left for calls and this.
        left: i128,
    },
    /// Not as much was set aside.
    #[error("${} of this hold is left", crate::money::usd_text(*.left))]
    HoldShort {
        /// What is left of the hold, in pico-dollars.
        left: i128,
    },
}

/// The longest that a reference may be.
pub const MAX_REFERENCE: usize = 200;
/// The longest that a note may be.
pub const MAX_NOTE: usize = 500;

/// Whether the text can be a reference: 1 to [`MAX_REFERENCE`] printable ASCII characters without spaces.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    (1..=MAX_REFERENCE).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// An account as it is kept. A subject has at most one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its id.
    pub id: CreditAccountId,
    /// Whose calls it pays for.
    pub subject: BudgetSubject,
    /// The budget that holds calls to it.
    pub budget: BudgetId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What its entries come to.
    pub balances: Balances,
    /// How many entries it has.
    pub entries: i64,
}

impl AccountRecord {
    /// What calls may come to in all, in pico-dollars: what was paid in, less what was paid back, set aside or taken.
    #[must_use]
    pub fn limit(&self) -> i128 {
        self.balances.of(Place::Available) + self.balances.of(Place::Usage)
    }

    /// The account after an order, and the entry that makes it so. `free` is what calls have left now, in pico-dollars:
    /// what they have settled and hold back is taken off, also what is not booked here yet.
    ///
    /// # Errors
    /// [`Refused`]: nothing is booked.
    pub fn book(&self, order: &Order, free: i128, with: Particulars) -> Result<(Self, Entry), Refused> {
        let (kind, amount, hold) = order.parts();
        let amount = match (amount, hold) {
            (Some(amount), _) => amount,
            (None, Some(hold)) => PicoUsd::new(hold.left).map_err(|_| Refused::TooLarge)?,
            (None, None) => PicoUsd::ZERO,
        };
        let pico = i128::from(amount.as_pico());
        if pico <= 0 {
            return Err(match hold {
                Some(hold) if hold.left <= 0 => Refused::HoldShort { left: 0 },
                Some(_) | None => Refused::NotPositive,
            });
        }
        if let Some(hold) = hold.filter(|hold| pico > hold.left) {
            return Err(Refused::HoldShort { left: hold.left });
        }
        let left = free.min(self.balances.of(Place::Available));
        if order.takes().is_some() && pico > left {
            return Err(Refused::Short { needed: pico, left });
        }
        let (after, entry) = self.with(kind, amount, hold.map(|hold| hold.id.clone()), with);
        if PicoUsd::new(after.limit()).is_err() {
            return Err(Refused::TooLarge);
        }
        Ok((after, entry))
    }

    /// The account once all that calls have settled is booked, and the entry that books it; `None`: it is booked already.
    /// What is more than one amount can hold takes another time. What is booked is never taken back by itself.
    #[must_use]
    pub fn spend(&self, settled: i128, with: Particulars) -> Option<(Self, Entry)> {
        let more = settled - self.balances.of(Place::Usage);
        (more > 0).then(|| self.with(EntryKind::Spend, PicoUsd::saturating(more), None, with))
    }

    fn with(
        &self,
        kind: EntryKind,
        amount: PicoUsd,
        hold: Option<CreditEntryId>,
        with: Particulars,
    ) -> (Self, Entry) {
        let Particulars { id, at, reference, note } = with;
        let number = self.entries + 1;
        let entry = Entry { id, account: self.id.clone(), number, kind, amount, at, reference, hold, note };
        let balances = self.balances.after(&entry);
        (Self { balances, entries: number, ..self.clone() }, entry)
    }
}

/// What is wrong with a book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Entries are missing, or there are more than the account knows of.
    #[error("entry {expected} of the account is missing or out of its order")]
    Gap {
        /// The number that should have come.
        expected: i64,
    },
    /// An entry does not balance.
    #[error("entry {number} does not balance")]
    Unbalanced {
        /// Its number.
        number: i64,
    },
    /// What the account says is not what its entries come to.
    #[error("`{place}` is {stored}, its entries come to {booked}")]
    Balance {
        /// Where.
        place: &'static str,
        /// What the account says, in pico-dollars.
        stored: i128,
        /// What its entries come to.
        booked: i128,
    },
    /// The places of the account do not sum to nothing.
    #[error("the places of the account sum to {sum}")]
    Sum {
        /// To what, in pico-dollars.
        sum: i128,
    },
}

/// Goes through the entries of one account, in their order.
#[derive(Debug, Clone, Default)]
pub struct Check {
    balances: Balances,
    entries: i64,
    faults: Vec<Fault>,
}

/// Faults that are told of one account.
const FAULTS: usize = 20;

impl Check {
    /// The next entry.
    pub fn add(&mut self, entry: &Entry) {
        let expected = self.entries + 1;
        if entry.number != expected {
            self.fault(Fault::Gap { expected });
        }
        if entry.postings().iter().map(|p| p.amount).sum::<i128>() != 0 || entry.amount <= PicoUsd::ZERO {
            self.fault(Fault::Unbalanced { number: entry.number });
        }
        self.entries = entry.number;
        self.balances = self.balances.after(entry);
    }

    /// What is wrong, once all entries were added.
    #[must_use]
    pub fn end(mut self, account: &AccountRecord) -> Vec<Fault> {
        if self.entries != account.entries {
            self.fault(Fault::Gap { expected: self.entries.min(account.entries) + 1 });
        }
        for place in Place::ALL {
            let (stored, booked) = (account.balances.of(place), self.balances.of(place));
            if stored != booked {
                self.fault(Fault::Balance { place: place.as_str(), stored, booked });
            }
        }
        if account.balances.sum() != 0 {
            self.fault(Fault::Sum { sum: account.balances.sum() });
        }
        self.faults
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        }
    }
}

#[cfg(test)]
mod tests;
