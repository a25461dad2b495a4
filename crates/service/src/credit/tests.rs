use claviger_domain::{
    budget::Ask,
    id::{KeyId, NodeId, OwnerId, WorkspaceId},
    ledger::{Group, Party},
    money::PICO_PER_USD,
    token::KeyClass,
};

use super::*;
use crate::{
    Settings,
    budgets::Held,
    fake::{House, intent, row},
};

fn usd(dollars: i64) -> PicoUsd {
    PicoUsd::saturating(i128::from(dollars * PICO_PER_USD))
}

fn party() -> Party {
    Party {
        key: KeyId::parse("key_0123456789").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        owner: OwnerId::parse("own_a").unwrap(),
        class: KeyClass::Live,
    }
}

fn call(house: &House, amount: i64) -> Result<Held, String> {
    let ask = Ask::at_most(usd(amount));
    let held = house.services.budgets.reserve(&party(), None, ask, house.clock.now());
    held.map(|held| held.expect("an account binds it")).map_err(|over| over.left.to_string())
}

async fn open(house: &House) -> CreditAccountId {
    let subject = BudgetSubject::Owner(party().owner);
    house.services.credit.open(subject, &Caller::system()).await.unwrap().record.id
}

fn words(reference: &str) -> Words {
    let reference = (!reference.is_empty()).then(|| reference.to_owned());
    Words { reference, note: String::new() }
}

async fn book(house: &House, id: &CreditAccountId, wish: CreditWish) -> Result<Booked, ServiceError> {
    house.services.credit.book(id, &wish, &words(""), &Caller::system()).await
}

/// A call that the ledger keeps, of so many dollars.
async fn settle(house: &House, number: i64, dollars: i64) {
    let held = call(house, dollars).unwrap();
    let mut done = row(&intent(u64::try_from(number).unwrap()));
    (done.cost, done.charges) = (usd(dollars), held.charges().to_vec());
    let chain: NodeId = house.services.recorder.chain().clone();
    let previous = {
        let state = lock(&house.store.state);
        state
            .data
            .iter()
            .rfind(|r| r.chain == chain)
            .map_or(claviger_domain::audit::Digest::EMPTY, |r| r.head)
    };
    let group = Group {
        chain,
        number,
        at: house.clock.now(),
        previous,
        intents: Vec::new(),
        rows: vec![done],
        released: Vec::new(),
        resources: Vec::new(),
    };
    house.deps.ledger.commit_group(&group).await.unwrap();
    held.settle(usd(dollars));
}

#[tokio::test]
async fn a_subject_with_an_account_spends_only_what_was_paid_in() {
    let house = House::new().await;
    let id = open(&house).await;
    assert_eq!(call(&house, 1).unwrap_err(), "0");
    let paid = book(&house, &id, CreditWish::TopUp(usd(10))).await.unwrap();
    assert_eq!(paid.account.standing.unwrap().left, i128::from(usd(10).as_pico()));
    let first = call(&house, 6).unwrap();
    assert!(first.binds() && call(&house, 5).is_err());
    let second = call(&house, 4).unwrap();
    first.settle(usd(6));
    drop(second);
    assert_eq!(call(&house, 5).unwrap_err(), usd(4).to_string());
    let again = house.services.credit.open(BudgetSubject::Owner(party().owner), &Caller::system()).await;
    assert!(matches!(again, Err(ServiceError::Conflict { .. })));
}

#[tokio::test]
async fn a_refund_and_a_call_never_get_the_same_money() {
    let house = House::new().await;
    let id = open(&house).await;
    book(&house, &id, CreditWish::TopUp(usd(10))).await.unwrap();
    let held = call(&house, 7).unwrap();
    for wish in [CreditWish::Refund(usd(4)), CreditWish::Hold(usd(4))] {
        let refused = book(&house, &id, wish).await.unwrap_err();
        assert_eq!(refused.to_string(), "credit account: $4 is needed, and $3 is left");
    }
    let back = book(&house, &id, CreditWish::Refund(usd(3))).await.unwrap();
    let standing = back.account.standing.unwrap();
    assert_eq!((standing.left, standing.reserved), (0, i128::from(usd(7).as_pico())));
    held.settle(usd(2));
    assert_eq!(call(&house, 6).unwrap_err(), usd(5).to_string());
}

#[tokio::test]
async fn a_reference_is_booked_once_and_stands_for_nothing_else() {
    let house = House::new().await;
    let (id, credit) = (open(&house).await, &house.services.credit);
    let system = Caller::system();
    let top_up = |dollars| CreditWish::TopUp(usd(dollars));
    let first = credit.book(&id, &top_up(5), &words("wire:1"), &system).await.unwrap();
    let again = credit.book(&id, &top_up(5), &words("wire:1"), &system).await.unwrap();
    assert_eq!((first.entry.id.clone(), first.replayed, again.replayed), (again.entry.id, false, true));
    assert_eq!(again.account.record.limit(), i128::from(usd(5).as_pico()));
    let other = credit.book(&id, &top_up(6), &words("wire:1"), &system).await.unwrap_err();
    assert!(matches!(other, ServiceError::Conflict { what: "reference", .. }), "{other}");
    let bad = credit.book(&id, &top_up(5), &words("wire 1"), &system).await.unwrap_err();
    assert!(matches!(bad, ServiceError::Invalid { field: "reference", .. }));
}

#[tokio::test]
async fn what_is_set_aside_is_given_back_or_taken_as_far_as_it_goes() {
    let house = House::new().await;
    let id = open(&house).await;
    book(&house, &id, CreditWish::TopUp(usd(10))).await.unwrap();
    let hold = book(&house, &id, CreditWish::Hold(usd(8))).await.unwrap().entry.id;
    assert!(call(&house, 3).is_err());
    book(&house, &id, CreditWish::Capture(hold.clone(), Some(usd(2)))).await.unwrap();
    let too_much = book(&house, &id, CreditWish::Release(hold.clone(), Some(usd(7)))).await.unwrap_err();
    assert_eq!(too_much.to_string(), "credit account: $6 of this hold is left");
    book(&house, &id, CreditWish::Release(hold.clone(), None)).await.unwrap();
    assert!(book(&house, &id, CreditWish::Release(hold, None)).await.is_err());
    assert!(call(&house, 8).is_ok() && call(&house, 9).is_err());
    let none = CreditEntryId::parse("ent_0").unwrap();
    let missing = book(&house, &id, CreditWish::Release(none, None)).await.unwrap_err();
    assert!(matches!(missing, ServiceError::NotFound { .. }));
}

#[tokio::test]
async fn spending_comes_into_the_book_once_however_often_a_node_starts() {
    let house = House::new().await;
    let id = open(&house).await;
    book(&house, &id, CreditWish::TopUp(usd(10))).await.unwrap();
    settle(&house, 1, 3).await;
    settle(&house, 2, 1).await;
    // It dies before anything of it is booked.
    let house = House::on(Arc::clone(&house.store), Settings::default(), 8).await;
    assert!(call(&house, 6).is_ok() && call(&house, 7).is_err());
    let credit = &house.services.credit;
    for _ in 0..2 {
        let entries = credit.statement(&id, 0, 99).await.unwrap();
        let spent: Vec<_> = entries.iter().filter(|e| e.kind == EntryKind::Spend).map(|e| e.amount).collect();
        assert_eq!(spent, [usd(4)]);
    }
    let proof = credit.verify().await.unwrap();
    assert!(proof.holds(), "{proof:?}");
    let one = &proof.accounts[0];
    assert_eq!([one.booked, one.settled, one.ledger.unwrap()], [i128::from(usd(4).as_pico()); 3]);
}

#[tokio::test]
async fn a_proof_finds_money_that_was_booked_and_never_spent() {
    let house = House::new().await;
    let id = open(&house).await;
    book(&house, &id, CreditWish::TopUp(usd(10))).await.unwrap();
    settle(&house, 1, 3).await;
    assert!(house.services.credit.verify().await.unwrap().holds());
    for rows in lock(&house.store.state).rows.values_mut() {
        rows.iter_mut().for_each(|row| row.cost = usd(2));
    }
    let proof = house.services.credit.verify().await.unwrap();
    assert!(!proof.holds() && proof.accounts[0].faults.len() == 1, "{proof:?}");
}

#[tokio::test]
async fn budgets_of_the_same_subject_leave_credit_alone() {
    let house = House::new().await;
    let id = open(&house).await;
    book(&house, &id, CreditWish::TopUp(usd(10))).await.unwrap();
    let wish = crate::budgets::BudgetWish {
        subject: BudgetSubject::Owner(party().owner),
        period: Period::Life,
        zone: None,
        limit: usd(100),
        hard: false,
        mode: BudgetMode::Strict,
    };
    let (budgets, system) = (&house.services.budgets, Caller::system());
    assert!(!budgets.would_loosen(&wish).await.unwrap());
    budgets.set(wish.clone(), None, &system).await.unwrap();
    assert!(call(&house, 11).is_err());
    budgets.remove(&wish.subject, Period::Life, None, &system).await.unwrap();
    assert!(budgets.remove(&wish.subject, Period::Life, None, &system).await.is_err());
    assert!(call(&house, 11).is_err());
}
