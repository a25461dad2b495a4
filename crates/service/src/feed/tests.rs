use super::*;

fn page(head: i64, seqs: &[i64]) -> FeedPage {
    let entry = |seq: &i64| FeedEntry { seq: *seq, kind: FeedKind::Key, id: String::new() };
    FeedPage { head, store_time: Timestamp::default(), entries: seqs.iter().map(entry).collect() }
}

#[test]
fn a_page_with_a_gap_is_noticed() {
    assert!(is_gapless(4, &page(4, &[])));
    assert!(is_gapless(4, &page(9, &[5, 5, 6, 7, 7])));
    assert!(!is_gapless(4, &page(6, &[6])), "the first is missing");
    assert!(!is_gapless(4, &page(7, &[5, 7])), "one in the middle is missing");
    assert!(!is_gapless(4, &page(6, &[])), "all are missing");
    assert!(!is_gapless(4, &page(2, &[])), "the store was rolled back");
}

#[tokio::test]
async fn a_gap_in_the_feed_reloads_everything() {
    use crate::{Caller, fake::House, keys::NewKey, lock::lock};
    let mut house = House::new().await;
    let new = NewKey { name: "k".to_owned(), ..NewKey::default() };
    let (key, token, _) = house.services.keys.create(new, &Caller::system()).await.unwrap();
    house.services.grants.verify(&token).await.unwrap();
    house.poll().await;
    {
        let mut state = lock(&house.store.state);
        let key = state.keys.iter_mut().find(|k| k.id == key.id).unwrap();
        key.state = claviger_domain::key::KeyState::Suspended;
        state.seq += 3;
        let head = state.seq;
        state.feed.push(FeedEntry { seq: head, kind: FeedKind::Owner, id: "own_x".to_owned() });
    }
    house.poll().await;
    assert!(house.services.grants.verify(&token).await.is_err());
    assert_eq!(house.background.jobs.feed.seq, lock(&house.store.state).seq);
}

#[tokio::test]
async fn a_clock_that_is_off_warns_at_one_second_and_is_not_ready_at_five() {
    use crate::{fake::House, health::PartState};
    let mut house = House::new().await;
    let of_clock = |house: &House| {
        let parts = house.services.health.parts();
        parts.into_iter().find(|p| p.name == "clock").unwrap().state
    };
    for (ahead_us, state) in [
        (0, PartState::Ok),
        (999_999, PartState::Ok),
        (1_000_000, PartState::Warning),
        (-1_000_000, PartState::Warning),
        (4_999_999, PartState::Warning),
        (5_000_000, PartState::Failing),
        (-6_000_000, PartState::Failing),
    ] {
        house.services.health.note_clock_offset(ahead_us);
        assert_eq!(of_clock(&house), state, "{ahead_us}");
        assert_eq!(house.services.health.is_ready(), state != PartState::Failing);
    }
    house.poll().await;
    assert_eq!(of_clock(&house), PartState::Ok, "each poll measures anew");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_named_by_the_health_and_followed_again_when_it_does() {
    use crate::{fake::House, health::PartState};
    let house = House::new().await;
    let (health, stop) = (house.services.health.clone(), CancellationToken::new());
    let running = house.deps.tracker.spawn(house.background.jobs.feed.run(stop.clone()));
    let of_store = || health.parts().into_iter().find(|p| p.name == "store").unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(of_store().state, PartState::Ok);
    house.store.set_down(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(of_store().state, PartState::Failing);
    assert!(of_store().detail.contains("down"), "{}", of_store().detail);
    house.store.set_down(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(health.is_ready());
    stop.cancel();
    running.await.unwrap();
}
