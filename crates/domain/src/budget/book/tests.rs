use super::*;
use crate::{
    budget::{Calendar, Period},
    id::{OwnerId, WorkspaceId},
    token::KeyClass,
};
use proptest::prelude::*;

const DAY: i64 = 86_400;

fn party(key: &str) -> Party {
    Party {
        key: KeyId::parse(&format!("key_{key}")).unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        owner: OwnerId::parse("own_a").unwrap(),
        class: KeyClass::Live,
    }
}

fn record(id: &str, subject: BudgetSubject, limit: i64) -> BudgetRecord {
    BudgetRecord {
        id: BudgetId::parse(id).unwrap(),
        subject,
        calendar: Calendar::new(Period::Day, "UTC").unwrap(),
        limit: PicoUsd::saturating(i128::from(limit)),
        hard: true,
        mode: BudgetMode::Strict,
        created_at: Timestamp::from_secs(0),
        dropped_at: None,
        credit: None,
        version: 1,
    }
}

fn pico(amount: i64) -> PicoUsd {
    PicoUsd::saturating(i128::from(amount))
}

fn worst(amount: i64) -> Ask {
    Ask::at_most(pico(amount))
}

fn id(text: &str) -> BudgetId {
    BudgetId::parse(text).unwrap()
}

fn figures(book: &mut Book, budget: &str, at: i64) -> (i128, i128, i128) {
    let standing = book.standing(&id(budget), Timestamp::from_secs(at)).unwrap();
    (standing.settled, standing.reserved, standing.left)
}

#[test]
fn a_call_holds_back_from_all_its_budgets_or_from_none() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(10);
    book.put(record("bdg_all", BudgetSubject::All, 100), now, 0);
    book.put(record("bdg_key", BudgetSubject::Key(party("a").key), 40), now, 0);
    let over = book.reserve(&party("a"), None, worst(50), now).unwrap_err();
    assert_eq!((over.record.id.as_str(), over.needed, over.left), ("bdg_key", 50, 40));
    assert_eq!(figures(&mut book, "bdg_all", 10), (0, 0, 100));

    let holds = book.reserve(&party("a"), None, worst(40), now).unwrap();
    assert!(holds.bind());
    assert_eq!(figures(&mut book, "bdg_all", 10), (0, 40, 60));
    let settled = book.settle(holds, pico(15));
    assert_eq!(settled.beyond_worst, 0);
    assert_eq!(figures(&mut book, "bdg_key", 10), (15, 0, 25));
    assert_eq!(figures(&mut book, "bdg_all", 10), (15, 0, 85));
}

#[test]
fn a_child_counts_against_its_parents_budget() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(10);
    book.put(record("bdg_key", BudgetSubject::Key(party("a").key), 40), now, 0);
    assert!(book.reserve(&party("child"), None, worst(50), now).unwrap().is_empty());
    let over = book.reserve(&party("child"), Some(&party("a").key), worst(50), now).unwrap_err();
    assert_eq!(over.record.id.as_str(), "bdg_key");
}

#[test]
fn a_call_belongs_to_the_period_in_which_it_was_made() {
    let mut book = Book::default();
    book.put(record("bdg_all", BudgetSubject::All, 100), Timestamp::from_secs(DAY - 1), 0);
    let holds = book.reserve(&party("a"), None, worst(90), Timestamp::from_secs(DAY - 1)).unwrap();
    assert_eq!(figures(&mut book, "bdg_all", DAY), (0, 0, 100));
    drop(book.settle(holds, pico(80)));
    assert_eq!(figures(&mut book, "bdg_all", DAY), (0, 0, 100));
}

#[test]
fn a_clock_that_is_set_back_gives_no_money_back() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(3 * DAY);
    book.put(record("bdg_all", BudgetSubject::All, 100), now, 0);
    let holds = book.reserve(&party("a"), None, worst(100), now).unwrap();
    drop(book.settle(holds, pico(100)));
    let earlier = Timestamp::from_secs(2 * DAY);
    assert!(book.reserve(&party("a"), None, worst(1), earlier).is_err());
}

#[test]
fn a_soft_budget_refuses_nobody_and_tells_each_share_once() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(10);
    book.put(BudgetRecord { hard: false, ..record("bdg_all", BudgetSubject::All, 100) }, now, 0);
    let mut told = Vec::new();
    for _ in 0..5 {
        let holds = book.reserve(&party("a"), None, worst(1_000), now).unwrap();
        assert!(!holds.bind());
        told.push(book.settle(holds, pico(31)).crossed.iter().map(|c| c.percent).collect::<Vec<_>>());
    }
    assert_eq!(told, [vec![], vec![50], vec![75, 90], vec![95, 100], vec![]]);
}

#[test]
fn what_was_spent_before_a_budget_was_made_counts_and_is_not_told() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(10);
    book.put(record("bdg_all", BudgetSubject::All, 100), now, 92);
    let holds = book.reserve(&party("a"), None, worst(8), now).unwrap();
    let told: Vec<_> = book.settle(holds, pico(8)).crossed.iter().map(|c| c.percent).collect();
    assert_eq!(told, [95, 100]);
}

fn expected(limit: i64) -> BudgetRecord {
    BudgetRecord { mode: BudgetMode::Expected, ..record("bdg_all", BudgetSubject::All, limit) }
}

fn ask(least: i64, likely: i64, worst: i64) -> Ask {
    Ask { least: pico(least), likely: pico(likely), worst: pico(worst) }
}

fn bound(book: &mut Book) -> i128 {
    book.standing(&id("bdg_all"), Timestamp::from_secs(10)).unwrap().overshoot_bound
}

#[test]
fn expected_mode_prints_by_how_much_calls_in_flight_can_pass_the_limit() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(10);
    book.put(expected(100), now, 0);
    let first = book.reserve(&party("a"), None, ask(20, 50, 70), now).unwrap();
    assert_eq!(bound(&mut book), 0);
    let second = book.reserve(&party("a"), None, ask(20, 50, 70), now).unwrap();
    assert!(book.reserve(&party("a"), None, ask(1, 50, 70), now).is_err());
    assert_eq!(bound(&mut book), 40);
    drop(book.settle(first, pico(70)));
    assert_eq!(bound(&mut book), 40);
    drop(book.settle(second, pico(70)));
    let standing = book.standing(&id("bdg_all"), now).unwrap();
    assert_eq!((standing.settled, standing.left, standing.overshoot_bound), (140, 0, 40));
}

#[test]
fn expected_mode_takes_a_call_while_its_least_is_left_and_holds_no_more_than_that() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(10);
    book.put(expected(100), now, 70);
    let over = book.reserve(&party("a"), None, ask(31, 50, 90), now).unwrap_err();
    assert_eq!((over.needed, over.left), (31, 30));
    let holds = book.reserve(&party("a"), None, ask(20, 50, 90), now).unwrap();
    assert_eq!((holds.room(), figures(&mut book, "bdg_all", 10)), (Some(30), (70, 30, 0)));
    assert_eq!(bound(&mut book), 60);
    assert!(book.reserve(&party("a"), None, ask(0, 0, 1), now).is_err(), "nothing is left");
    drop(book.reserve(&party("a"), None, ask(0, 0, 0), now).unwrap());
    drop(book.settle(holds, pico(25)));
    assert_eq!(figures(&mut book, "bdg_all", 10), (95, 0, 5));
}

#[test]
fn a_strict_budget_beside_an_expected_one_holds_the_most_back() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(10);
    book.put(expected(100), now, 0);
    book.put(record("bdg_key", BudgetSubject::Key(party("a").key), 80), now, 0);
    assert!(book.expects(&party("a"), None));
    let mut holds = book.reserve(&party("a"), None, ask(1, 10, 60), now).unwrap();
    assert_eq!(figures(&mut book, "bdg_key", 10), (0, 60, 20));
    assert_eq!(figures(&mut book, "bdg_all", 10), (0, 10, 90));
    book.stretch(&mut holds, pico(30), pico(0)).unwrap();
    assert_eq!(figures(&mut book, "bdg_key", 10), (0, 60, 20));
    assert_eq!(figures(&mut book, "bdg_all", 10), (0, 30, 70));
    book.release(holds);
    assert_eq!(figures(&mut book, "bdg_all", 10), (0, 0, 100));
}

#[test]
fn a_stream_that_needs_more_gets_it_while_there_is_room() {
    let mut book = Book::default();
    let now = Timestamp::from_secs(10);
    book.put(expected(100), now, 0);
    let mut holds = book.reserve(&party("a"), None, ask(10, 60, 150), now).unwrap();
    assert_eq!(holds.room(), Some(60));
    book.stretch(&mut holds, pico(50), pico(5)).unwrap();
    assert_eq!(holds.room(), Some(60));
    book.stretch(&mut holds, pico(70), pico(20)).unwrap();
    assert_eq!((holds.room(), bound(&mut book)), (Some(90), 50));
    book.stretch(&mut holds, pico(95), pico(20)).unwrap();
    assert_eq!(holds.room(), Some(100));
    let over = book.stretch(&mut holds, pico(101), pico(20)).unwrap_err();
    assert_eq!((over.needed, over.left), (1, 0));
    drop(book.settle(holds, pico(101)));
    assert_eq!((figures(&mut book, "bdg_all", 10), bound(&mut book)), ((101, 0, 0), 1));
}

#[derive(Debug, Clone)]
enum Step {
    Reserve { key: u8, amount: i64 },
    Settle { which: usize, share: u8 },
    Spend { which: usize, share: u8 },
    Release { which: usize },
    Pass { secs: i64 },
    Lower { limit: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..3, 0_i64..400).prop_map(|(key, amount)| Step::Reserve { key, amount }),
        3 => (any::<usize>(), 0_u8..=100).prop_map(|(which, share)| Step::Settle { which, share }),
        1 => (any::<usize>(), 0_u8..=50).prop_map(|(which, share)| Step::Spend { which, share }),
        1 => any::<usize>().prop_map(|which| Step::Release { which }),
        1 => (-40_000_i64..90_000).prop_map(|secs| Step::Pass { secs }),
        1 => (500_i64..1_500).prop_map(|limit| Step::Lower { limit }),
    ]
}

proptest! {
    /// Settled and held back together never pass a hard strict limit by anything but the lowering of the limit itself,
    /// nothing is lost or counted twice, and nothing is left held back when all calls are over.
    #[test]
    fn no_order_of_calls_passes_a_ceiling(steps in prop::collection::vec(step(), 1..120)) {
        let mut book = Book::default();
        let mut now = 5 * DAY;
        let mut limit = 1_000_i64;
        book.put(record("bdg_all", BudgetSubject::All, limit), Timestamp::from_secs(now), 0);
        for key in ["k0", "k1"] {
            let subject = BudgetSubject::Key(party(key).key);
            book.put(record(&format!("bdg_{key}"), subject, 600), Timestamp::from_secs(now), 0);
        }
        let mut flying: Vec<(Holds, i64)> = Vec::new();
        let mut high = 0_i128;
        for step in steps {
            match step {
                Step::Reserve { key, amount } => {
                    let party = party(&format!("k{key}"));
                    if let Ok(holds) = book.reserve(&party, None, worst(amount), Timestamp::from_secs(now)) {
                        flying.push((holds, amount));
                        let standing = book.standing(&id("bdg_all"), Timestamp::from_secs(now)).unwrap();
                        prop_assert!(standing.settled + standing.reserved <= i128::from(limit));
                    }
                }
                Step::Settle { which, share } if !flying.is_empty() => {
                    let (holds, amount) = flying.swap_remove(which % flying.len());
                    let settled = book.settle(holds, pico(amount * i64::from(share) / 100));
                    prop_assert!(settled.beyond_worst <= 0);
                }
                Step::Spend { which, share } if !flying.is_empty() => {
                    let at = which % flying.len();
                    let (holds, amount) = &mut flying[at];
                    let part = *amount * i64::from(share) / 100;
                    *amount -= part;
                    drop(book.spend(holds, pico(part)));
                }
                Step::Release { which } if !flying.is_empty() => {
                    book.release(flying.swap_remove(which % flying.len()).0);
                }
                Step::Pass { secs } => now += secs,
                Step::Lower { limit: new } => {
                    limit = new;
                    book.put(record("bdg_all", BudgetSubject::All, limit), Timestamp::from_secs(now), 0);
                }
                Step::Settle { .. } | Step::Spend { .. } | Step::Release { .. } => {}
            }
            let standing = book.standing(&id("bdg_all"), Timestamp::from_secs(now)).unwrap();
            high = high.max(standing.settled + standing.reserved);
            prop_assert!(high <= 1_500);
            for key in ["bdg_k0", "bdg_k1"] {
                let standing = book.standing(&id(key), Timestamp::from_secs(now)).unwrap();
                prop_assert!(standing.settled + standing.reserved <= 600);
                prop_assert!(standing.reserved >= 0);
            }
        }
        for (holds, _) in flying {
            book.release(holds);
        }
        for budget in ["bdg_all", "bdg_k0", "bdg_k1"] {
            prop_assert_eq!(book.standing(&id(budget), Timestamp::from_secs(now)).unwrap().reserved, 0);
        }
    }
}

/// What the test knows of a call that is under way.
struct Flying {
    holds: Holds,
    worst: i64,
    spent: i64,
}

proptest! {
    /// What is settled in the end, once all calls that were in flight have ended at whatever they can cost, is within what
    /// was printed at any moment before, as far as no call began after it; and it is never passed by more than is printed.
    #[test]
    fn what_is_printed_is_not_passed(
        limit in 0_i64..1_000,
        steps in prop::collection::vec((0_u8..6, 0_i64..300, 0_i64..300, 0_i64..300, any::<usize>()), 1..100),
    ) {
        let (mut book, now) = (Book::default(), Timestamp::from_secs(10));
        book.put(expected(limit), now, 0);
        let mut flying: Vec<Flying> = Vec::new();
        // The least of what was printed since a call began last.
        let mut printed = bound(&mut book);
        let mut began = 0;
        for (what, a, b, c, which) in steps {
            let at = which.checked_rem(flying.len());
            match (what, at) {
                (0 | 1, _) => {
                    let mut figures = [a, b, c];
                    figures.sort_unstable();
                    let before = book.standing(&id("bdg_all"), now).unwrap();
                    let call = ask(figures[0], figures[1], figures[2]);
                    match book.reserve(&party("a"), None, call, now) {
                        Ok(holds) => {
                            let after = book.standing(&id("bdg_all"), now).unwrap();
                            prop_assert!(after.settled + after.reserved <= i128::from(limit).max(before.settled + before.reserved));
                            flying.push(Flying { holds, worst: figures[2], spent: 0 });
                            began += 1;
                            printed = after.overshoot_bound;
                        }
                        Err(over) => prop_assert!(over.needed > over.left),
                    }
                }
                (2, Some(at)) => {
                    let Flying { holds, worst, spent } = flying.swap_remove(at);
                    let settled = book.settle(holds, pico(a.min(worst - spent)));
                    prop_assert!(settled.beyond_worst <= 0);
                }
                (3, Some(at)) => {
                    let call = &mut flying[at];
                    let part = a.min(call.worst - call.spent);
                    call.spent += part;
                    drop(book.spend(&mut call.holds, pico(part)));
                }
                (4, Some(at)) => {
                    let call = &mut flying[at];
                    drop(book.stretch(&mut call.holds, pico(a.min(call.worst - call.spent)), pico(b)));
                }
                (5, Some(at)) => book.release(flying.swap_remove(at).holds),
                _ => {}
            }
            let standing = book.standing(&id("bdg_all"), now).unwrap();
            prop_assert!(standing.settled - i128::from(limit) <= standing.overshoot_bound);
            prop_assert!(standing.overshoot_bound <= printed, "only a call that begins raises it");
            prop_assert!(standing.reserved >= 0);
            printed = standing.overshoot_bound;
        }
        prop_assert!(began > 0 || flying.is_empty());
        // The worst that can come: all that are in flight cost the most.
        for Flying { holds, worst, spent } in flying {
            drop(book.settle(holds, pico(worst - spent)));
        }
        let end = book.standing(&id("bdg_all"), now).unwrap();
        prop_assert!(end.settled - i128::from(limit) <= printed);
        prop_assert_eq!(end.reserved, 0);
    }
}
