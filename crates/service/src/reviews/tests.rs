use claviger_domain::{
    clock::MICROS_PER_DAY,
    permission::{Access, Endpoint},
};

use super::*;
use crate::{fake::House, keys::NewKey, lock::lock};

async fn key(house: &House, name: &str) -> KeyRecord {
    let new = NewKey { name: name.to_owned(), ..NewKey::default() };
    house.services.keys.create(new, &Caller::system()).await.unwrap().0
}

/// What the fake ledger says of every key.
fn used(house: &House, key: &KeyRecord) {
    lock(&house.store.state).used.insert(key.id.clone(), (1, 0, 1));
}

fn hold() -> Change {
    Change::EndOperatorTokens(
        claviger_domain::id::OperatorId::parse("op_nobody").unwrap(),
        Timestamp::from_secs(0),
    )
}

#[tokio::test]
async fn a_quarter_after_its_birth_a_key_is_put_up_for_review_once() {
    let house = House::new().await;
    let made = key(&house, "app").await;
    let reviews = &house.services.reviews;
    let now = made.created_at.plus_micros(89 * MICROS_PER_DAY);
    assert_eq!(reviews.open_due(&hold(), now).await.unwrap(), 0);
    // It expires after 90 days; one that never does is still there.
    lock(&house.store.state).keys[0].expires_at = None;
    let now = made.created_at.plus_micros(90 * MICROS_PER_DAY);
    assert_eq!(reviews.open_due(&hold(), now).await.unwrap(), 1);
    assert_eq!(reviews.open_due(&hold(), now).await.unwrap(), 0);
    let open = reviews.show(&made.id).await.unwrap().last.unwrap();
    assert_eq!((open.decision, open.findings.unused_models), (None, vec!["*".to_owned()]));
    let decided = reviews.decide(&made.id, Verdict::Confirmed, &Caller::system()).await.unwrap();
    assert_eq!(decided.last.map(|r| (r.id, r.version)), Some((open.id, 2)));
}

#[tokio::test]
async fn what_was_not_used_is_taken_away_and_said_in_the_audit_log() {
    let house = House::new().await;
    let made = key(&house, "app").await;
    used(&house, &made);
    let reviews = &house.services.reviews;
    let decided = reviews.decide(&made.id, Verdict::Shrunk, &Caller::system()).await.unwrap();
    let permissions = &decided.key.policy.permissions;
    assert_eq!(permissions.endpoints, [Endpoint::Messages]);
    assert!(permissions.allows(Endpoint::Messages, Access::Write));
    assert_eq!(decided.key.version, 2);
    {
        let state = lock(&house.store.state);
        let event = &state.audit.last().unwrap().event;
        assert_eq!((event.action.as_str(), event.key.as_str()), ("review.decide", made.id.as_str()));
        assert_ne!(event.details["before"], event.details["after"]);
    }
    let again = reviews.decide(&made.id, Verdict::Shrunk, &Caller::system()).await.unwrap_err();
    assert!(again.to_string().contains("nothing to take away"), "{again}");
}

#[tokio::test]
async fn a_key_that_was_not_used_is_not_narrowed_but_may_be_confirmed() {
    let house = House::new().await;
    let made = key(&house, "app").await;
    let reviews = &house.services.reviews;
    let refused = reviews.decide(&made.id, Verdict::Shrunk, &Caller::system()).await.unwrap_err();
    assert!(refused.to_string().contains("not used at all"), "{refused}");
    assert!(lock(&house.store.state).reviews.is_empty());
    let confirmed = reviews.decide(&made.id, Verdict::Confirmed, &Caller::system()).await.unwrap();
    assert_eq!(confirmed.key.version, 1);
}
