//! Tokens: what calls in flight may take is held, so that calls at once cannot pass a limit together.

use std::sync::atomic::AtomicU64;

use claviger_domain::limit::LimitSubject;

use super::*;

fn otpm(n: u64) -> LimitsPatch {
    LimitsPatch { rpm: Some(None), rpd: Some(None), otpm: Some(Some(n)), ..LimitsPatch::default() }
}

const fn ask(input: u64, output: u64) -> Tokens {
    Tokens { input, output }
}

fn held(live: &LiveGrant) -> Tokens {
    live.runtime.subject().state().tokens.held()
}

/// gateways.md, 3.21 to 3.23: others judged each call by what was counted before, and passed a limit many times over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_are_not_passed_by_concurrent_bursts() {
    let (house, live) = with_limits(otpm(1_000)).await;
    let (admission, now) = (house.services.admission.clone(), house.clock.now());
    let (taken, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (admission, live) = (admission.clone(), Arc::clone(&live));
            let (taken, refused) = (Arc::clone(&taken), Arc::clone(&refused));
            std::thread::spawn(move || {
                for round in 0..200_u64 {
                    let mut admitted = admission.admit(&live, Bucket::Work, now).unwrap();
                    if admitted.hold(ask(10, 100), now).is_err() {
                        refused.fetch_add(1, Ordering::SeqCst);
                        admitted.refused();
                        continue;
                    }
                    std::thread::yield_now();
                    // Every third call is cut off and takes nothing.
                    if round % 3 == 0 {
                        drop(admitted);
                        continue;
                    }
                    taken.fetch_add(100, Ordering::SeqCst);
                    admitted.settle(ask(10, 100), now);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(taken.load(Ordering::SeqCst), 1_000, "to the last token, and not one more");
    assert!(refused.load(Ordering::SeqCst) > 0);
    assert_eq!((held(&live), live.runtime.in_flight()), (Tokens::default(), 0));
    assert_eq!(live.runtime.uses(), 8 * 200 - refused.load(Ordering::SeqCst), "refusals take nothing");
}

/// gateways.md, 3.5: reservations leaked, and callers were refused with something left.
#[tokio::test]
async fn what_was_held_is_given_back_however_a_call_ends() {
    let (house, live) = with_limits(otpm(1_000)).await;
    let (admission, now) = (&house.services.admission, house.clock.now());
    let begin = || {
        let mut admitted = admission.admit(&live, Bucket::Work, now).unwrap();
        admitted.hold(ask(50, 1_000), now).unwrap();
        admitted
    };
    drop(begin());
    begin().unsent();
    begin().refused();
    begin().settle(ask(1, 0), now);
    let mut told = begin();
    told.learn_input(7, now);
    assert_eq!(held(&live), ask(0, 1_000), "the input is known");
    drop(told);
    assert_eq!(held(&live), Tokens::default());
    assert!(admission.admit(&live, Bucket::Work, now).unwrap().hold(ask(1, 1_000), now).is_ok());
}

/// gateways.md, 3.11: the rest did not fall before a call had ended.
#[tokio::test]
async fn what_is_left_falls_when_a_call_begins_and_is_exact_when_it_ends() {
    let limits = LimitsPatch { itpm: Some(Some(500)), tpm: Some(Some(2_000)), ..otpm(1_000) };
    let (house, live) = with_limits(limits).await;
    let (admission, now) = (&house.services.admission, house.clock.now());
    let mut first = admission.admit(&live, Bucket::Work, now).unwrap();
    first.hold(ask(100, 300), now).unwrap();
    let left = |rooms: &Headrooms| {
        [rooms.input_tokens, rooms.output_tokens, rooms.tokens].map(|room| room.unwrap().remaining)
    };
    assert_eq!(left(&first.headrooms), [400, 700, 1_600]);
    first.settle(ask(80, 20), now);
    let mut second = admission.admit(&live, Bucket::Work, now).unwrap();
    second.hold(ask(1, 1), now).unwrap();
    assert_eq!(left(&second.headrooms), [419, 979, 1_898]);
}

/// gateways.md, 3.25: what was left went wrong when more was asked for than there was. And 3.15: a limit that no call
/// can ever meet.
#[tokio::test]
async fn a_call_that_may_take_more_than_there_is_runs_by_itself() {
    let (house, live) = with_limits(otpm(1_000)).await;
    let (admission, now) = (&house.services.admission, house.clock.now());
    let mut great = admission.admit(&live, Bucket::Work, now).unwrap();
    great.hold(ask(1, 64_000), now).unwrap();
    assert_eq!(great.headrooms.output_tokens.unwrap().remaining, 0);
    let mut other = admission.admit(&live, Bucket::Work, now).unwrap();
    let refused = other.hold(ask(1, 1), now).unwrap_err();
    assert_eq!(refused.headroom.kind, LimitKind::OutputTokensPerMinute);
    other.refused();
    great.settle(ask(1, 400), now);
    let left = live.counters(now).into_iter().find(|c| c.headroom.kind == LimitKind::OutputTokensPerMinute);
    assert_eq!(left.unwrap().headroom.remaining, 600);
}

#[tokio::test]
async fn tokens_of_all_keys_of_a_workspace_count_together() {
    let house = House::new().await;
    let services = &house.services;
    let caller = Caller::system();
    let workspace = services.tenants.workspaces().await.unwrap().remove(0);
    let change = (None, otpm(100));
    services.tenants.update_workspace(workspace.id.as_str(), change, None, &caller).await.unwrap();
    let mut lives = Vec::new();
    for name in ["a", "b"] {
        let new = NewKey { name: name.to_owned(), ..NewKey::default() };
        let (_, token, _) = services.keys.create(new, &caller).await.unwrap();
        lives.push(services.grants.verify(&token).await.unwrap());
    }
    let now = house.clock.now();
    let mut first = services.admission.admit(&lives[0], Bucket::Work, now).unwrap();
    first.hold(ask(1, 60), now).unwrap();
    let mut second = services.admission.admit(&lives[1], Bucket::Work, now).unwrap();
    let refused = second.hold(ask(1, 60), now).unwrap_err().headroom;
    assert_eq!((refused.subject, refused.remaining), (LimitSubject::Workspace, 40));
    assert_eq!(held(&lives[1]), Tokens::default(), "nothing is held where one limit refuses");
}
