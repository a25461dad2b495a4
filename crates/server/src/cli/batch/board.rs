//! What is answered and what is left, while a run goes on.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use claviger_domain::money::usd_text;
use serde_json::{Value, json};

use super::{
    input::{Input, Item},
    journal::{Answers, Place, Source},
    record::{Ended, Known},
};

/// The answer of one request.
#[derive(Debug, Clone, Copy)]
struct Slot {
    ended: Ended,
    place: Place,
}

/// An answer for each request of the input, or none yet, and what they add up to.
pub struct Board {
    slots: RefCell<Vec<Option<Slot>>>,
    by_id: HashMap<String, usize>,
    succeeded: Cell<usize>,
    failed: Cell<usize>,
    /// Answered before this run.
    pub before: usize,
    /// What the answers cost, in pico-dollars.
    cost: Cell<i128>,
    /// Calls that were sent in this run.
    pub calls: Cell<u64>,
}

/// An answer that is there belongs to another request.
#[derive(Debug, thiserror::Error)]
#[error(
    "line {line}: `{custom_id}` was answered for another request: give that one another `custom_id`, name another \
     file with -o, or ask everything anew with --start-over"
)]
pub struct OtherRequest {
    line: u64,
    custom_id: String,
}

impl Board {
    /// The board of an input, with the answers of earlier runs; `again`: what did not succeed is to be asked again.
    ///
    /// # Errors
    /// [`OtherRequest`].
    pub fn of(input: &Input, journal: &Answers, output: &Answers, again: bool) -> Result<Self, OtherRequest> {
        let by_id = input.items.iter().enumerate().map(|(index, item)| (item.custom_id.clone(), index));
        let mut board = Self {
            slots: RefCell::new(vec![None; input.items.len()]),
            by_id: by_id.collect(),
            succeeded: Cell::new(0),
            failed: Cell::new(0),
            before: 0,
            cost: Cell::new(0),
            calls: Cell::new(0),
        };
        for (index, item) in input.items.iter().enumerate() {
            let Some((known, place)) = journal.get(&item.custom_id).or_else(|| output.get(&item.custom_id))
            else {
                continue;
            };
            board.take(index, item, (known, *place), again)?;
        }
        board.before = board.done();
        Ok(board)
    }

    fn take(
        &self,
        index: usize,
        item: &Item,
        (known, place): (&Known, Place),
        again: bool,
    ) -> Result<(), OtherRequest> {
        if known.request != item.fingerprint.hex() {
            return Err(OtherRequest { line: item.line, custom_id: item.custom_id.clone() });
        }
        if known.ended == Ended::Succeeded || !again {
            self.set(index, known.ended, known.cost, place);
        }
        Ok(())
    }

    /// A request was answered. A second answer changes nothing.
    pub fn set(&self, index: usize, ended: Ended, cost: i128, place: Place) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot @ None) = slots.get_mut(index) else { return };
        *slot = Some(Slot { ended, place });
        let count = if ended == Ended::Succeeded { &self.succeeded } else { &self.failed };
        count.update(|count| count + 1);
        self.cost.update(|sum| sum + cost);
    }

    /// Which requests are not answered, in their order.
    pub fn left(&self) -> Vec<usize> {
        let slots = self.slots.borrow();
        slots.iter().enumerate().filter(|(_, slot)| slot.is_none()).map(|(index, _)| index).collect()
    }

    /// Where the answers stand, in the order of the requests; `None` while one is missing.
    pub fn places(&self) -> Option<Vec<Place>> {
        self.slots.borrow().iter().map(|slot| slot.map(|slot| slot.place)).collect()
    }

    /// The same of those that are answered.
    pub fn answered(&self) -> Vec<Place> {
        self.slots.borrow().iter().flatten().map(|slot| slot.place).collect()
    }

    /// Whether nothing was answered that is not in the output already.
    pub fn is_unchanged(&self) -> bool {
        self.slots.borrow().iter().flatten().all(|slot| slot.place.source == Source::Output)
    }

    /// The request of this `custom_id`, if it is not answered.
    pub fn unanswered(&self, custom_id: &str) -> Option<usize> {
        let index = *self.by_id.get(custom_id)?;
        self.slots.borrow().get(index)?.is_none().then_some(index)
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.by_id.len()
    }

    /// How many are answered.
    pub fn done(&self) -> usize {
        self.succeeded.get() + self.failed.get()
    }

    /// How many did not succeed.
    pub fn failed(&self) -> usize {
        self.failed.get()
    }

    /// What the answers cost, in pico-dollars.
    pub fn cost(&self) -> i128 {
        self.cost.get()
    }

    /// All of it, for programs.
    pub fn summary(&self) -> Value {
        let count = |ended: Ended| self.slots.borrow().iter().flatten().filter(|s| s.ended == ended).count();
        json!({
            "requests": self.total(),
            "answered_before": self.before,
            "succeeded": count(Ended::Succeeded),
            "errored": count(Ended::Errored),
            "canceled": count(Ended::Canceled),
            "expired": count(Ended::Expired),
            "left": self.total() - self.done(),
            "attempts": self.calls.get(),
            "cost_pusd": self.cost().to_string(),
            "cost_usd": usd_text(self.cost()),
        })
    }
}
