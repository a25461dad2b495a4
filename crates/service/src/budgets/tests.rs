use claviger_domain::{
    clock::Timestamp,
    id::{OwnerId, WorkspaceId},
    ledger::Group,
    money::PICO_PER_USD,
    notice::{Notice, NoticeRecord},
    ports::notices::NoticeFilter,
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

#[tokio::test]
async fn what_is_not_there_yet_is_refused_rather_than_pretended() {
    let house = House::new().await;
    let expected = BudgetWish { mode: BudgetMode::Expected, ..wish(usd(10)) };
    let error = house.services.budgets.set(expected, None, &Caller::system()).await.unwrap_err();
    assert!(matches!(error, ServiceError::Invalid { field: "mode", .. }), "{error}");
}
