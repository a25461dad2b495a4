use claviger_domain::{
    clock::Timestamp,
    estimate::{Content, Terms},
    id::{OwnerId, WorkspaceId},
    ledger::Group,
    money::PICO_PER_USD,
    notice::{Notice, NoticeRecord},
    ports::{budgets::BudgetStore, notices::NoticeFilter},
    token::KeyClass,
};

use super::*;
use crate::{
    Settings,
    fake::{House, intent, row},
};

fn party() -> Party {
    Party {
        key: KeyId::parse("key_0123456789").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        owner: OwnerId::parse("own_a").unwrap(),
        class: KeyClass::Live,
    }
}

fn usd(dollars: i64) -> PicoUsd {
    PicoUsd::saturating(i128::from(dollars * PICO_PER_USD))
}

fn wish(limit: PicoUsd) -> BudgetWish {
    BudgetWish {
        subject: BudgetSubject::All,
        period: Period::Month,
        zone: None,
        limit,
        hard: true,
        mode: BudgetMode::Strict,
    }
}

fn hold(house: &House, amount: i64) -> Result<Option<Held>, Box<OverBudget>> {
    house.services.budgets.reserve(&party(), None, Ask::at_most(usd(amount)), house.clock.now())
}

/// The first group of a node's chain.
fn group(house: &House) -> Group {
    Group {
        chain: house.services.recorder.chain().clone(),
        number: 1,
        at: Timestamp::from_secs(1),
        previous: claviger_domain::audit::Digest::EMPTY,
        intents: Vec::new(),
        rows: Vec::new(),
        released: Vec::new(),
        resources: Vec::new(),
    }
}

#[tokio::test]
async fn without_a_budget_nothing_is_held_back() {
    let house = House::new().await;
    assert!(hold(&house, 1_000_000).unwrap().is_none());
}

#[tokio::test]
async fn what_was_dropped_is_given_back_and_what_was_settled_is_not() {
    let house = House::new().await;
    let budgets = &house.services.budgets;
    budgets.set(wish(usd(10)), None, &Caller::system()).await.unwrap();
    let held = hold(&house, 10).unwrap().unwrap();
    assert!(held.binds() && hold(&house, 1).is_err());
    drop(held);
    hold(&house, 10).unwrap().unwrap().settle(usd(4));
    let standing = &budgets.standings(None)[0];
    assert_eq!((standing.reserved, standing.left), (0, i128::from(usd(6).as_pico())));
    assert_eq!(hold(&house, 7).unwrap_err().left, i128::from(usd(6).as_pico()));
}

#[tokio::test]
async fn a_start_knows_what_was_spent_and_what_is_still_held_for_batches() {
    let house = House::new().await;
    let budgets = &house.services.budgets;
    budgets.set(wish(usd(10)), None, &Caller::system()).await.unwrap();
    let held = hold(&house, 3).unwrap().unwrap();
    let charges = held.charges().to_vec();
    let kept = held.keep_for("msgbatch_1", usd(3));
    assert_eq!(kept.charges, charges);
    let mut done = row(&intent(1));
    done.cost = usd(2);
    done.charges = charges;
    let group = Group {
        rows: vec![done],
        resources: vec![claviger_domain::tenancy::Resource {
            id: "msgbatch_1".to_owned(),
            kind: claviger_domain::tenancy::ResourceKind::Batch,
            workspace: party().workspace,
            key: party().key,
            upstream: claviger_domain::id::UpstreamId::parse("up_1").unwrap(),
            credential: claviger_domain::id::CredentialId::parse("cred_1").unwrap(),
            created_at: Timestamp::from_secs(1),
            held: Some(kept),
        }],
        ..group(&house)
    };
    house.deps.ledger.commit_group(&group).await.unwrap();

    let again = House::on(Arc::clone(&house.store), Settings::default(), 8).await;
    let standing = &again.services.budgets.standings(None)[0];
    let figures = [standing.settled, standing.reserved].map(|pico| pico / i128::from(PICO_PER_USD));
    assert_eq!(figures, [2, 3]);
    again.services.budgets.batch_done("msgbatch_1", i128::from(usd(1).as_pico()));
    let standing = &again.services.budgets.standings(None)[0];
    let figures = [standing.settled, standing.reserved].map(|pico| pico / i128::from(PICO_PER_USD));
    assert_eq!(figures, [3, 0]);
}

#[tokio::test]
async fn a_changed_limit_holds_at_once_and_another_zone_begins_a_new_budget() {
    let house = House::new().await;
    let budgets = &house.services.budgets;
    let first = budgets.set(wish(usd(10)), None, &Caller::system()).await.unwrap();
    hold(&house, 5).unwrap().unwrap().settle(usd(5));
    let changed = budgets.set(wish(usd(6)), Some(1), &Caller::system()).await.unwrap();
    assert_eq!((changed.record.id.clone(), changed.record.version), (first.record.id.clone(), 2));
    assert!(hold(&house, 2).is_err());
    let stale = budgets.set(wish(usd(7)), Some(1), &Caller::system()).await.unwrap_err();
    assert_eq!(stale, ServiceError::Stale { what: "budget", version: 2 });
    let moved = BudgetWish { zone: Some("Asia/Shanghai".to_owned()), ..wish(usd(6)) };
    let moved = budgets.set(moved, None, &Caller::system()).await.unwrap();
    assert_ne!(moved.record.id, first.record.id);
    assert_eq!(budgets.standings(None).len(), 1);
    let bad = BudgetWish { zone: Some("Mars".to_owned()), ..wish(usd(6)) };
    assert!(matches!(
        budgets.set(bad, None, &Caller::system()).await,
        Err(ServiceError::Invalid { field: "tz", .. })
    ));
    budgets.remove(&BudgetSubject::All, Period::Month, None, &Caller::system()).await.unwrap();
    assert!(hold(&house, 1_000).unwrap().is_none());
}

#[tokio::test]
async fn a_share_that_is_reached_is_told_once() {
    let house = House::new().await;
    let budgets = &house.services.budgets;
    budgets.set(wish(usd(10)), None, &Caller::system()).await.unwrap();
    hold(&house, 6).unwrap().unwrap().settle(usd(6));
    hold(&house, 1).unwrap().unwrap().settle(usd(1));
    let told: Vec<u8> = budgets.take_crossed().iter().map(|crossed| crossed.percent).collect();
    assert_eq!(told, [50]);
    assert!(budgets.take_crossed().is_empty());
}

/// The notices of budgets, oldest first: whose, and the share.
async fn told(house: &House) -> Vec<(String, u8)> {
    house.services.budgets.tell_crossed(&house.services.notices).await.unwrap();
    let all = house.services.notices.list(&NoticeFilter::default()).await.unwrap();
    let budget = |(record, _): &(NoticeRecord, _)| {
        let Notice::Budget { whose, percent, .. } = &record.notice else { return None };
        Some((whose.clone(), *percent))
    };
    let mut told: Vec<_> = all.iter().filter_map(budget).collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_share_is_told_once_a_period_however_often_a_node_starts() {
    let house = House::new().await;
    house.services.budgets.set(wish(usd(10)), None, &Caller::system()).await.unwrap();
    let held = hold(&house, 8).unwrap().unwrap();
    let mut done = row(&intent(1));
    (done.cost, done.charges) = (usd(8), held.charges().to_vec());
    let group = Group { rows: vec![done], ..group(&house) };
    house.deps.ledger.commit_group(&group).await.unwrap();
    held.settle(usd(8));
    let whose = "the whole installation".to_owned();
    let expected = [(whose.clone(), 50), (whose.clone(), 75)];
    assert_eq!(told(&house).await, expected);

    // The next start finds them reached again and says nothing new.
    let again = House::on(Arc::clone(&house.store), Settings::default(), 8).await;
    assert_eq!(told(&again).await, expected);

    // Under another ceiling the same share is another amount.
    again.services.budgets.set(wish(usd(16)), None, &Caller::system()).await.unwrap();
    assert_eq!(told(&again).await, [(whose.clone(), 50), (whose.clone(), 50), (whose, 75)]);
}

/// Calls of 4,000 bytes that take 1,000 tokens and answer with 200.
fn teach(house: &House, calls: usize) {
    for _ in 0..calls {
        house.services.budgets.learn(&party().key, "claude-opus-5-5", |known| {
            known.learn_input(&CONTENT, 1_000, 5_000_000_000, &terms());
            known.learn_output(200 * 25_000_000, &terms());
        });
    }
}

const CONTENT: Content = Content { units: [4_000, 0, 0, 0, 0, 0] };

fn terms() -> Terms {
    Terms { input_pico: 5_000_000, output_pico: 25_000_000, max_output: 8_192, worst: usd(1) }
}

fn likely(house: &House, model: &str) -> PicoUsd {
    house.services.budgets.ask(&party().key, model, &CONTENT, &terms()).likely
}

#[tokio::test]
async fn what_was_learned_is_known_at_the_next_start() {
    let house = House::new().await;
    assert_eq!(likely(&house, "claude-opus-5-5"), usd(1));
    teach(&house, 20);
    let known = likely(&house, "claude-opus-5-5");
    assert!(known.as_pico() < 14_000_000_000, "{known}");
    assert_eq!(likely(&house, "claude-haiku-5"), usd(1));
    house.services.budgets.keep_learned().await.unwrap();
    let again = House::on(Arc::clone(&house.store), Settings::default(), 8).await;
    assert_eq!(likely(&again, "claude-opus-5-5"), known);
}

#[tokio::test]
async fn what_could_not_be_kept_is_kept_the_next_time() {
    let house = House::new().await;
    teach(&house, 20);
    house.store.set_down(true);
    assert!(house.services.budgets.keep_learned().await.is_err());
    house.store.set_down(false);
    house.services.budgets.keep_learned().await.unwrap();
    assert_eq!(house.store.learned(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_budget_in_expected_mode_holds_back_what_is_likely() {
    let house = House::new().await;
    let budgets = &house.services.budgets;
    assert!(!budgets.expects(&party(), None));
    let expected = BudgetWish { mode: BudgetMode::Expected, ..wish(usd(10)) };
    assert!(!budgets.would_loosen(&expected).await.unwrap());
    budgets.set(wish(usd(10)), None, &Caller::system()).await.unwrap();
    assert!(budgets.would_loosen(&expected).await.unwrap(), "it can be passed then");
    budgets.set(expected, None, &Caller::system()).await.unwrap();
    assert!(budgets.expects(&party(), None));
    let ask = Ask { least: usd(1), likely: usd(4), worst: usd(9) };
    let mut held = budgets.reserve(&party(), None, ask, house.clock.now()).unwrap().unwrap();
    let standing = &budgets.standings(None)[0];
    assert_eq!((standing.reserved, standing.overshoot_bound), (i128::from(usd(4).as_pico()), 0));
    assert_eq!(held.room(), Some(i128::from(usd(4).as_pico())));
    held.stretch(usd(5), usd(1)).unwrap();
    assert_eq!(held.room(), Some(i128::from(usd(6).as_pico())));
    let other = budgets.reserve(&party(), None, ask, house.clock.now()).unwrap().unwrap();
    assert!(held.stretch(usd(7), usd(1)).is_err());
    assert_eq!(budgets.standings(None)[0].overshoot_bound, i128::from(usd(8).as_pico()));
    drop(other);
    held.settle(usd(9));
}
