use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

fn pico(amount: i64) -> PicoUsd {
    PicoUsd::saturating(i128::from(amount))
}

fn account(name: &str) -> AccountRecord {
    AccountRecord {
        id: CreditAccountId::parse(&format!("acct_{name}")).unwrap(),
        subject: BudgetSubject::All,
        budget: BudgetId::parse(&format!("bdg_{name}")).unwrap(),
        opened_at: Timestamp::from_secs(0),
        balances: Balances::default(),
        entries: 0,
    }
}

fn with(number: u64) -> Particulars {
    Particulars {
        id: CreditEntryId::parse(&format!("ent_{number}")).unwrap(),
        at: Timestamp::from_secs(1),
        reference: None,
        note: String::new(),
    }
}

fn booked(account: &AccountRecord, order: &Order) -> AccountRecord {
    account.book(order, account.limit() - account.balances.of(Place::Usage), with(1)).unwrap().0
}

#[test]
fn each_kind_moves_money_between_two_places_and_is_read_back() {
    for kind in EntryKind::ALL {
        let (from, to) = kind.way();
        assert_ne!(from, to);
        assert_eq!(EntryKind::parse(kind.as_str()), Some(kind));
        assert_eq!([from, to].map(|place| Place::parse(place.as_str())), [Some(from), Some(to)]);
    }
}

#[test]
fn what_calls_hold_back_is_neither_paid_back_nor_set_aside() {
    let paid = booked(&account("a"), &Order::TopUp(pico(100)));
    assert_eq!(paid.limit(), 100);
    for order in [Order::Refund(pico(31)), Order::Hold(pico(31))] {
        assert_eq!(paid.book(&order, 30, with(2)).unwrap_err(), Refused::Short { needed: 31, left: 30 });
    }
    assert_eq!(paid.book(&Order::Refund(pico(30)), 30, with(2)).unwrap().0.limit(), 70);
    assert_eq!(paid.book(&Order::TopUp(pico(0)), 0, with(2)).unwrap_err(), Refused::NotPositive);
    assert_eq!(paid.book(&Order::AdjustUp(pico(-1)), 0, with(2)).unwrap_err(), Refused::NotPositive);
}

#[test]
fn an_account_holds_no_more_than_one_amount_can_say() {
    let full = booked(&account("a"), &Order::TopUp(PicoUsd::MAX));
    assert_eq!(full.book(&Order::TopUp(pico(1)), 0, with(2)).unwrap_err(), Refused::TooLarge);
}

#[test]
fn what_was_taken_beyond_all_is_a_debt_that_payments_make_up_for() {
    let paid = booked(&account("a"), &Order::TopUp(pico(100)));
    let spent = paid.spend(90, with(2)).unwrap().0;
    let charged_back = booked(&spent, &Order::AdjustDown(pico(100)));
    assert_eq!(charged_back.balances.of(Place::Available), -90);
    assert_eq!(charged_back.limit(), 0);
    assert_eq!(booked(&charged_back, &Order::TopUp(pico(95))).balances.of(Place::Available), 5);
}

#[test]
fn spending_is_booked_as_a_difference_and_never_taken_back() {
    let paid = booked(&account("a"), &Order::TopUp(pico(100)));
    let (spent, entry) = paid.spend(40, with(2)).unwrap();
    assert_eq!((entry.kind, entry.amount, spent.limit()), (EntryKind::Spend, pico(40), 100));
    assert!(spent.spend(40, with(3)).is_none());
    assert!(spent.spend(25, with(3)).is_none());
    let huge = i128::from(PicoUsd::MAX.as_pico()) + 7;
    let (most, _) = paid.spend(huge, with(2)).unwrap();
    assert_eq!(most.spend(huge, with(3)).unwrap().1.amount, pico(7));
}

#[test]
fn a_check_finds_what_was_changed_behind_the_book() {
    let (paid, first) = account("a").book(&Order::TopUp(pico(100)), 0, with(1)).unwrap();
    let (spent, second) = paid.spend(40, with(2)).unwrap();
    let faults = |entries: &[&Entry], account: &AccountRecord| {
        let mut check = Check::default();
        entries.iter().for_each(|entry| check.add(entry));
        check.end(account)
    };
    assert!(faults(&[&first, &second], &spent).is_empty());
    assert!(faults(&[&first], &spent).contains(&Fault::Gap { expected: 2 }));
    assert!(faults(&[&second], &spent).contains(&Fault::Gap { expected: 1 }));
    let more = Entry { amount: pico(41), ..second.clone() };
    let expected = Fault::Balance { place: "available", stored: 60, booked: 59 };
    assert!(faults(&[&first, &more], &spent).contains(&expected));
    let none = Entry { amount: pico(-40), ..second };
    assert!(faults(&[&first, &none], &spent).contains(&Fault::Unbalanced { number: 2 }));
    let mut forged = spent;
    forged.balances.0[0] += 1;
    assert!(faults(&[&first], &forged).contains(&Fault::Sum { sum: 1 }));
}

/// What somebody does.
#[derive(Debug, Clone)]
enum Step {
    TopUp(i64),
    Refund(i64),
    Hold(i64),
    Release(usize, Option<i64>),
    Capture(usize, Option<i64>),
    Adjust(i64),
    /// A call holds back the first and then costs the second.
    Call(i64, i64),
    /// What calls have settled is booked.
    Book,
}

/// When a step is interrupted.
#[derive(Debug, Clone, Copy)]
enum Crash {
    Never,
    /// Before it is written. It is done again.
    Before,
    /// After it is written, before the answer. It is done again, with the same reference.
    After,
}

fn step() -> impl Strategy<Value = Step> {
    let amount = -2_i64..400;
    let part = prop::option::of(-1_i64..200);
    prop_oneof![
        4 => amount.clone().prop_map(Step::TopUp),
        2 => amount.clone().prop_map(Step::Refund),
        2 => amount.clone().prop_map(Step::Hold),
        2 => (0_usize..4, part.clone()).prop_map(|(n, part)| Step::Release(n, part)),
        2 => (0_usize..4, part).prop_map(|(n, part)| Step::Capture(n, part)),
        1 => (-300_i64..300).prop_map(Step::Adjust),
        6 => (0_i64..150, 0_i64..150).prop_map(|(held, cost)| Step::Call(held, cost.min(held))),
        3 => Just(Step::Book),
    ]
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![6 => Just(Crash::Never), 1 => Just(Crash::Before), 1 => Just(Crash::After)]
}

/// What a store and a ledger keep, and beside it, reckoned by itself, what a customer would write down.
#[derive(Default)]
struct World {
    accounts: BTreeMap<usize, AccountRecord>,
    entries: Vec<Entry>,
    settled: BTreeMap<usize, i128>,
    references: HashMap<String, Entry>,
    /// Paid in, paid back, set aside and not given back, taken, corrected.
    expected: BTreeMap<usize, [i128; 5]>,
    made: u64,
}

impl World {
    fn account(&mut self, n: usize) -> AccountRecord {
        self.accounts.entry(n).or_insert_with(|| account(["a", "b"][n])).clone()
    }

    fn free(&mut self, n: usize) -> i128 {
        self.account(n).limit() - self.settled.get(&n).copied().unwrap_or_default()
    }

    fn hold(&self, n: usize, which: usize) -> Option<OpenHold> {
        let account = &self.accounts.get(&n)?.id;
        let holds: Vec<&Entry> =
            self.entries.iter().filter(|e| e.account == *account && e.kind == EntryKind::Hold).collect();
        let hold = holds.get(which % holds.len().max(1))?;
        let taken = self.entries.iter().filter(|e| e.hold.as_ref() == Some(&hold.id));
        let taken: i128 = taken.map(|e| i128::from(e.amount.as_pico())).sum();
        Some(OpenHold { id: hold.id.clone(), left: i128::from(hold.amount.as_pico()) - taken })
    }

    /// What one attempt does. The transaction of a store is one push.
    fn attempt(&mut self, n: usize, order: &Order, reference: &str, crash: Crash) -> Result<(), Refused> {
        if self.references.contains_key(reference) {
            return Ok(());
        }
        self.made += 1;
        let (before, free) = (self.account(n), self.free(n));
        let particulars = Particulars { reference: Some(reference.to_owned()), ..with(self.made) };
        let (after, entry) = before.book(order, free, particulars)?;
        if matches!(crash, Crash::Before) {
            return Ok(());
        }
        self.keep(n, after, entry.clone());
        self.references.insert(reference.to_owned(), entry.clone());
        let amount = i128::from(entry.amount.as_pico());
        let [paid, back, aside, taken, corrected] = self.expected.entry(n).or_default();
        match order {
            Order::TopUp(_) => *paid += amount,
            Order::Refund(_) => *back += amount,
            Order::Hold(_) => *aside += amount,
            Order::Release(..) => *aside -= amount,
            Order::Capture(..) => {
                *aside -= amount;
                *taken += amount;
            }
            Order::AdjustUp(_) => *corrected += amount,
            Order::AdjustDown(_) => *corrected -= amount,
        }
        Ok(())
    }

    fn keep(&mut self, n: usize, after: AccountRecord, entry: Entry) {
        self.accounts.insert(n, after);
        self.entries.push(entry);
    }

    fn run(&mut self, n: usize, step: &Step, crash: Crash, reference: &str) {
        let order = match step {
            Step::TopUp(amount) => Order::TopUp(pico(*amount)),
            Step::Refund(amount) => Order::Refund(pico(*amount)),
            Step::Hold(amount) => Order::Hold(pico(*amount)),
            Step::Release(which, part) | Step::Capture(which, part) => {
                let Some(hold) = self.hold(n, *which) else { return };
                let part = part.map(pico);
                if matches!(step, Step::Release(..)) {
                    Order::Release(hold, part)
                } else {
                    Order::Capture(hold, part)
                }
            }
            Step::Adjust(amount) if *amount < 0 => Order::AdjustDown(pico(-amount)),
            Step::Adjust(amount) => Order::AdjustUp(pico(*amount)),
            Step::Call(held, cost) => {
                if i128::from(*held) <= self.free(n) {
                    *self.settled.entry(n).or_default() += i128::from(*cost);
                }
                return;
            }
            Step::Book => return self.book_spending(n, crash),
        };
        let first = self.attempt(n, &order, reference, crash);
        // Whoever got no answer asks again, and so do impatient ones.
        let again = self.attempt(n, &order, reference, Crash::Never);
        if first.is_err() {
            assert_eq!(first, again, "what was refused is refused again while nothing has changed");
        }
    }

    fn book_spending(&mut self, n: usize, crash: Crash) {
        let settled = self.settled.get(&n).copied().unwrap_or_default();
        for crash in [crash, Crash::Never] {
            self.made += 1;
            let Some((after, entry)) = self.account(n).spend(settled, with(self.made)) else { continue };
            if !matches!(crash, Crash::Before) {
                self.keep(n, after, entry);
            }
        }
        assert_eq!(self.account(n).balances.of(Place::Usage), settled, "booked once, and wholly");
    }

    fn look(&mut self) {
        let total: i128 = self.entries.iter().flat_map(Entry::postings).map(|p| p.amount).sum();
        assert_eq!(total, 0, "the book balances");
        for n in 0..2 {
            let account = self.account(n);
            let [paid, back, aside, taken, corrected] = self.expected.get(&n).copied().unwrap_or_default();
            let usage = account.balances.of(Place::Usage);
            let expected = [
                (Place::Cash, back - paid),
                (Place::Held, aside),
                (Place::Captured, taken),
                (Place::Adjustments, -corrected),
                (Place::Available, paid - back - aside - taken + corrected - usage),
            ];
            for (place, amount) in expected {
                assert_eq!(account.balances.of(place), amount, "{place:?}");
            }
            assert!(aside >= 0 && taken >= 0);
            let settled = self.settled.get(&n).copied().unwrap_or_default();
            assert!(usage <= settled, "nothing is booked that no call has settled");
            let mut check = Check::default();
            self.entries.iter().filter(|e| e.account == account.id).for_each(|e| check.add(e));
            assert!(check.end(&account).is_empty());
        }
        let booked = self.entries.iter().filter(|e| e.reference.is_some()).count();
        assert_eq!(booked, self.references.len(), "no reference twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_book_always_balances_and_nothing_is_booked_twice(
        steps in prop::collection::vec((0_usize..2, step(), crash(), 0_u8..60), 1..80),
    ) {
        let mut world = World::default();
        for (n, step, crash, reference) in steps {
            let (before, free) = (world.account(n), world.free(n));
            world.run(n, &step, crash, &format!("{reference}"));
            world.look();
            // No refund and no hold takes what is not there; only a correction, or a call's true cost, can.
            if matches!(step, Step::Refund(_) | Step::Hold(_)) && free >= 0 {
                prop_assert!(world.free(n) >= 0, "{:?} on {:?}", step, before);
            }
        }
    }
}
