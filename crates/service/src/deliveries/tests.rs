use std::time::Duration;

use claviger_domain::{
    id::OwnerId,
    key::RevocationReason,
    notice::{
        About, Severity,
        channel::{SmtpSecurity, SmtpTarget, WebhookTarget},
        delivery::MAX_ATTEMPTS,
    },
    ports::notices::{NoticeFilter, NoticeStore},
};

use super::*;
use crate::{
    Caller,
    channels::NewChannel,
    fake::{Fate, House},
};

fn webhook() -> ChannelTarget {
    ChannelTarget::Webhook(WebhookTarget { url: "https://hooks.example/".to_owned(), allow_private: false })
}

fn mail(to_owner: bool) -> ChannelTarget {
    ChannelTarget::Smtp(SmtpTarget {
        host: "mail.example".to_owned(),
        port: 587,
        security: SmtpSecurity::Starttls,
        username: None,
        from: "claviger@example.com".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        to_owner,
    })
}

async fn add(house: &House, name: &str, target: ChannelTarget) {
    let new = NewChannel {
        name: name.to_owned(),
        target,
        secret: None,
        min_severity: Severity::Info,
        workspace: None,
    };
    house.services.channels.add(new, &Caller::system()).await.unwrap();
}

async fn raise(house: &House, about: About) {
    let notice = Notice::Revocation {
        name: "ci".to_owned(),
        reason: RevocationReason::UserRequest,
        immediate: false,
        affected: Vec::new(),
    };
    let change = house.services.notices.raise(about, notice).unwrap();
    let event = Caller::system().event(house.clock.now(), "test", "");
    house.store.apply(vec![change], event).await.unwrap();
}

async fn deliver(house: &House) {
    house.services.deliveries.tick().await.unwrap();
}

async fn states(house: &House) -> Vec<(DeliveryState, u32)> {
    let listed = house.services.notices.list(&NoticeFilter::default()).await.unwrap();
    listed.into_iter().flat_map(|(_, all)| all).map(|d| (d.state, d.attempts)).collect()
}

#[tokio::test]
async fn a_notice_goes_once_through_every_channel() {
    let house = House::new().await;
    add(&house, "hook", webhook()).await;
    add(&house, "mail", mail(false)).await;
    raise(&house, About::everyone()).await;
    deliver(&house).await;
    deliver(&house).await;
    let mut channels: Vec<String> =
        house.courier.subjects().into_iter().map(|(channel, _)| channel).collect();
    channels.sort();
    assert_eq!(channels, ["hook", "mail"]);
    assert_eq!(states(&house).await, [(DeliveryState::Delivered, 1); 2]);
}

#[tokio::test]
async fn a_channel_that_fails_holds_no_other_up_and_is_given_up_at_last() {
    let house = House::new().await;
    add(&house, "broken", webhook()).await;
    add(&house, "well", webhook()).await;
    house.courier.decide("broken", Some(Fate::Fail(DeliveryError::Transient("answered 503".to_owned()))));
    raise(&house, About::everyone()).await;
    for _ in 0..=MAX_ATTEMPTS {
        deliver(&house).await;
        house.clock.advance(Duration::from_secs(3_600));
    }
    assert_eq!(house.courier.subjects().len(), 1);
    let mut states = states(&house).await;
    states.sort_by_key(|(_, attempts)| *attempts);
    assert_eq!(states, [(DeliveryState::Delivered, 1), (DeliveryState::Dead, MAX_ATTEMPTS)]);

    // Somebody mends it and calls the notice back.
    house.courier.decide("broken", None);
    let dead = NoticeFilter { state: Some(DeliveryState::Dead), ..NoticeFilter::default() };
    let (notice, _) = house.services.notices.list(&dead).await.unwrap().remove(0);
    house.services.notices.retry(&notice.id, &Caller::system()).await.unwrap();
    deliver(&house).await;
    assert_eq!(house.courier.subjects().len(), 2);
    let again = house.services.notices.retry(&notice.id, &Caller::system()).await;
    assert!(matches!(again, Err(crate::ServiceError::Conflict { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_hangs_holds_no_other_up() {
    let mut house = House::new().await;
    add(&house, "hanging", webhook()).await;
    add(&house, "well", webhook()).await;
    house.courier.decide("hanging", Some(Fate::Hang));
    raise(&house, About::everyone()).await;
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let worker = tracker.spawn(house.services.deliveries.clone().run(tracker.clone(), stop.clone()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    raise(&house, About::everyone()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(house.courier.subjects().len(), 2);
    stop.cancel();
    worker.await.unwrap();
    tracker.close();
    tracker.wait().await;
    house.poll().await;
}

#[tokio::test]
async fn what_a_dead_worker_took_is_delivered_later_and_under_the_same_id() {
    let house = House::new().await;
    add(&house, "hook", webhook()).await;
    raise(&house, About::everyone()).await;
    let channel = house.services.channels.find("hook").await.unwrap();
    let due = house.store.due_deliveries(&channel.id, house.clock.now(), 9).await.unwrap().remove(0);
    house.store.put_delivery(&due.taken(house.clock.now().plus_micros(TAKEN_MICROS))).await.unwrap();
    deliver(&house).await;
    assert!(house.courier.subjects().is_empty());
    house.clock.advance(Duration::from_secs(120));
    deliver(&house).await;
    assert_eq!(lock(&house.courier.carried)[0].1.id, due.notice);
    assert_eq!(states(&house).await, [(DeliveryState::Delivered, 2)]);
}

#[tokio::test]
async fn owners_get_copies_where_the_channel_says_so() {
    let house = House::new().await;
    let caller = Caller::system();
    let email = Some("owner@example.com");
    let owner = house
        .services
        .tenants
        .create_owner("team", email, claviger_domain::limit::LimitsPatch::default(), &caller)
        .await
        .unwrap();
    add(&house, "with", mail(true)).await;
    add(&house, "without", mail(false)).await;
    raise(&house, About { owner: Some(owner.id), ..About::default() }).await;
    raise(&house, About { owner: Some(OwnerId::parse("own_gone").unwrap()), ..About::default() }).await;
    deliver(&house).await;
    let carried = lock(&house.courier.carried);
    let copies = |name: &str| {
        carried
            .iter()
            .filter(|(c, ..)| c == name)
            .map(|(_, letter, _)| letter.copies.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(copies("with"), [vec!["owner@example.com".to_owned()], Vec::new()]);
    assert_eq!(copies("without"), [Vec::<String>::new(), Vec::new()]);
}
