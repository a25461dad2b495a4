//! Tokens over a fake store, with the clock in the test's hand.

use std::time::Duration;

use claviger_domain::{
    access_token::{
        TTL_SECS,
        key_life::{KEEP_SECS, LEAD_SECS, PERIOD_SECS, TokenKeyState},
    },
    clock::MICROS_PER_SEC,
    jose::Algorithm,
    key::{KeyRecord, RevocationReason},
    refresh::{EndReason, IDLE_US},
    token::Token,
};
use futures_util::{FutureExt, future::join_all};

use super::*;
use crate::{Caller, Settings, fake::House, keys::NewKey, lock::lock};

const ISSUER: &str = "https://claude.example.com";

struct Scene {
    house: House,
    key: KeyRecord,
    token: Token,
}

async fn scene() -> Scene {
    scene_with(Settings::default()).await
}

async fn scene_with(settings: Settings) -> Scene {
    let house = House::with(settings).await;
    let new = NewKey { name: "k".to_owned(), ..NewKey::default() };
    let (key, token, _) = house.services.keys.create(new, &Caller::system()).await.unwrap();
    Scene { house, key, token }
}

fn order() -> Order<'static> {
    Order { issuer: ISSUER, ..Order::default() }
}

fn from(ip: &str) -> Caller {
    Caller { client_ip: ip.to_owned(), ..Caller::system() }
}

impl Scene {
    fn tokens(&self) -> &Tokens {
        &self.house.services.tokens
    }

    async fn buy(&self) -> Bought {
        let live = self.house.services.grants.verify(&self.token).await.unwrap();
        self.tokens().buy(&live, &order(), &from("192.0.2.1")).await.unwrap()
    }

    async fn refresh(&self, bought: &Bought, ip: &str) -> Result<Bought, BuyError> {
        self.tokens().refresh(bought.refresh_token.expose(), &order(), &from(ip)).await
    }

    async fn verify(&self, bought: &Bought) -> Result<Shown, TokenRefusal> {
        self.tokens().verify(bought.access_token.expose(), ISSUER).await
    }

    fn pass(&self, secs: i64) {
        self.house.clock.advance(Duration::from_secs(secs.try_into().unwrap()));
    }
}

#[tokio::test]
async fn a_token_that_is_known_is_verified_without_a_store_and_without_waiting() {
    let scene = scene().await;
    let bought = scene.buy().await;
    scene.verify(&bought).await.unwrap();
    scene.house.store.set_down(true);
    let shown = scene.verify(&bought).now_or_never().expect("nothing is awaited").unwrap();
    assert_eq!((&shown.claims.key, &shown.live.grant.key.id), (&scene.key.id, &scene.key.id));
    let elsewhere = scene.tokens().verify(bought.access_token.expose(), "https://other.example").await;
    assert_eq!(elsewhere.unwrap_err(), TokenRefusal::Invalid(TokenError::Elsewhere("iss")));
}

#[tokio::test]
async fn a_token_ends_in_time_and_with_its_key() {
    let scene = scene().await;
    let bought = scene.buy().await;
    assert_eq!(bought.expires_in, TTL_SECS);
    let caller = Caller::system();
    scene.house.services.keys.suspend(&scene.key.id, &caller).await.unwrap();
    assert_eq!(scene.verify(&bought).await.unwrap_err(), TokenRefusal::Key(AuthFailure::Suspended));
    scene.house.services.keys.resume(&scene.key.id, &caller).await.unwrap();
    scene.verify(&bought).await.unwrap();
    let reason = RevocationReason::Compromised;
    scene.house.services.keys.revoke(&scene.key.id, reason, true, &caller).await.unwrap();
    assert_eq!(scene.verify(&bought).await.unwrap_err(), TokenRefusal::Key(AuthFailure::Revoked));
    assert!(matches!(scene.refresh(&bought, "").await, Err(BuyError::Key(AuthFailure::Revoked))));
}

#[tokio::test]
async fn a_token_of_a_key_that_expires_expires_with_it() {
    let scene = scene().await;
    let soon = crate::keys::Expiry::At(scene.key.created_at.plus_micros(5 * MICROS_PER_SEC));
    let new = NewKey { name: "short".to_owned(), expires: soon, ..NewKey::default() };
    let (key, token, _) = scene.house.services.keys.create(new, &Caller::system()).await.unwrap();
    let scene = Scene { key, token, ..scene };
    let bought = scene.buy().await;
    assert_eq!(bought.expires_in, 5);
    scene.verify(&bought).await.unwrap();
    // Within the leeway of its own time: the key has none.
    scene.pass(5);
    assert_eq!(scene.verify(&bought).await.unwrap_err(), TokenRefusal::Expired);
}

#[tokio::test]
async fn an_expired_token_is_refused_also_when_it_is_known() {
    let mut scene = scene().await;
    let bought = scene.buy().await;
    scene.verify(&bought).await.unwrap();
    scene.pass(TTL_SECS + 10);
    scene.house.poll().await;
    assert_eq!(scene.verify(&bought).await.unwrap_err(), TokenRefusal::Expired);
}

#[tokio::test]
async fn a_view_that_is_old_asks_the_store_what_is_denied() {
    let scene = scene().await;
    let bought = scene.buy().await;
    scene.verify(&bought).await.unwrap();
    scene.pass(60);
    scene.verify(&bought).await.unwrap();
    scene.house.store.set_down(true);
    assert_eq!(scene.verify(&bought).await.unwrap_err(), TokenRefusal::Unavailable);
}

#[tokio::test]
async fn what_one_node_denies_another_hears_by_the_feed() {
    let scene = scene().await;
    let mut other = House::on(Arc::clone(&scene.house.store), Settings::default(), 99).await;
    let (one, two) = (scene.buy().await, scene.buy().await);
    let verify = |bought: &Bought| {
        let text = bought.access_token.expose().to_vec();
        let tokens = other.services.tokens.clone();
        async move { tokens.verify(&text, ISSUER).await.map(drop) }
    };
    assert_eq!((verify(&one).await, verify(&two).await), (Ok(()), Ok(())));
    scene.tokens().revoke(one.access_token.expose(), ISSUER, &Caller::system()).await.unwrap();
    let (first, second) = (verify(&one), verify(&two));
    assert_eq!((first.await, second.await), (Ok(()), Ok(())), "not heard yet");
    let texts = [one, two];
    other.poll().await;
    let verify = |bought: &Bought| {
        let text = bought.access_token.expose().to_vec();
        let tokens = other.services.tokens.clone();
        async move { tokens.verify(&text, ISSUER).await.map(drop) }
    };
    assert_eq!((verify(&texts[0]).await, verify(&texts[1]).await), (Err(TokenRefusal::Denied), Ok(())));
    let third = House::on(Arc::clone(&scene.house.store), Settings::default(), 98).await;
    let again = third.services.tokens.verify(texts[0].access_token.expose(), ISSUER).await;
    assert_eq!(again.unwrap_err(), TokenRefusal::Denied, "a start reads what is denied");
}

#[tokio::test]
async fn denying_a_key_ends_what_it_bought_and_nothing_that_it_buys_after() {
    let scene = scene().await;
    let before = scene.buy().await;
    assert_eq!(scene.tokens().families(&scene.key.id).await.unwrap().1.len(), 1);
    assert_eq!(scene.tokens().end_all(&scene.key.id, &Caller::system()).await.unwrap(), 1);
    assert_eq!(scene.verify(&before).await.unwrap_err(), TokenRefusal::Denied);
    assert!(matches!(
        scene.refresh(&before, "").await,
        Err(BuyError::Refresh(RefreshError::Ended(EndReason::Operator)))
    ));
    let after = scene.buy().await;
    scene.verify(&after).await.unwrap();
    assert_eq!(scene.tokens().families(&scene.key.id).await.unwrap().1.len(), 1);
}

#[tokio::test]
async fn who_has_not_proved_all_makes_nobody_give_way() {
    let scene = scene().await;
    let first = scene.buy().await;
    // The one that was used least recently.
    scene.pass(1);
    for _ in 1..MAX_FAMILIES {
        scene.buy().await;
    }
    let unproved = Order { yields: true, ..order() };
    let live = scene.house.services.grants.verify(&scene.token).await.unwrap();
    let bought = scene.tokens().buy(&live, &unproved, &Caller::system()).await;
    assert!(matches!(bought, Err(BuyError::TooMany)));
    assert_eq!(scene.tokens().families(&scene.key.id).await.unwrap().1.len(), MAX_FAMILIES as usize);
    scene.buy().await;
    assert!(matches!(
        scene.refresh(&first, "").await,
        Err(BuyError::Refresh(RefreshError::Ended(EndReason::Superseded)))
    ));
}

#[tokio::test]
async fn of_many_who_renew_at_once_one_is_first_one_is_told_and_the_rest_end_it() {
    let scene = scene().await;
    let bought = scene.buy().await;
    let both = join_all([scene.refresh(&bought, "192.0.2.1"), scene.refresh(&bought, "192.0.2.1")]).await;
    let both: Vec<Bought> = both.into_iter().map(Result::unwrap).collect();
    assert_eq!(both[0].refresh_token.expose(), both[1].refresh_token.expose(), "one successor");
    let third = scene.refresh(&bought, "192.0.2.1").await;
    assert!(matches!(third, Err(BuyError::Reused)));
    assert_eq!(scene.verify(&both[0]).await.unwrap_err(), TokenRefusal::Denied);
    assert_eq!(scene.verify(&bought).await.unwrap_err(), TokenRefusal::Denied);
    assert!(matches!(
        scene.refresh(&both[0], "").await,
        Err(BuyError::Refresh(RefreshError::Ended(EndReason::Reused)))
    ));
    let state = lock(&scene.house.store.state);
    let generations: Vec<u32> = state.tokens.tokens.iter().map(|t| t.generation).collect();
    assert_eq!(generations, [1, 2]);
    assert!(state.audit.iter().any(|r| r.event.action == "token.reuse" && r.event.outcome == "refused"));
    assert_eq!(state.notices.notices.len(), 1, "people are told");
}

#[tokio::test]
async fn a_spent_token_from_another_place_ends_the_family() {
    let scene = scene().await;
    let bought = scene.buy().await;
    scene.refresh(&bought, "192.0.2.1").await.unwrap();
    assert!(matches!(scene.refresh(&bought, "198.51.100.9").await, Err(BuyError::Reused)));
}

#[tokio::test]
async fn a_renewal_that_the_store_loses_changes_nothing() {
    let scene = scene().await;
    let bought = scene.buy().await;
    scene.house.store.set_down(true);
    assert!(matches!(scene.refresh(&bought, "").await, Err(BuyError::Service(ServiceError::Unavailable(_)))));
    scene.house.store.set_down(false);
    scene.refresh(&bought, "").await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_lies_idle_for_so_long() {
    let mut scene = scene().await;
    let bought = scene.buy().await;
    scene.pass(IDLE_US / MICROS_PER_SEC);
    scene.house.poll().await;
    assert!(matches!(scene.refresh(&bought, "").await, Err(BuyError::Refresh(RefreshError::Expired))));
}

#[tokio::test]
async fn what_is_stored_opens_nothing() {
    let scene = scene().await;
    let bought = scene.buy().await;
    let renewed = scene.refresh(&bought, "").await.unwrap();
    let state = lock(&scene.house.store.state);
    let seen = format!("{:?}{:?}{:?}", state.tokens.families, state.tokens.tokens, state.audit);
    for secret in [&bought.refresh_token, &renewed.refresh_token, &bought.access_token, &renewed.access_token]
    {
        assert!(!seen.contains(std::str::from_utf8(secret.expose()).unwrap()));
    }
}

#[tokio::test]
async fn signing_keys_take_turns_and_tokens_of_both_work() {
    let scene = scene().await;
    let tokens = scene.tokens().clone();
    let states = || {
        let state = lock(&scene.house.store.state);
        state.tokens.keys.iter().map(|k| k.state).collect::<Vec<_>>()
    };
    assert_eq!(states(), [TokenKeyState::Active]);
    assert!(tokens.tend_keys(&[]).await.unwrap().is_empty(), "nothing is due");
    scene.pass(PERIOD_SECS - LEAD_SECS);
    tokens.tend_keys(&[]).await.unwrap();
    assert_eq!(states(), [TokenKeyState::Active, TokenKeyState::Next]);
    assert_eq!(tokens.published().body.matches("\"kid\"").count(), 2);
    let before = scene.buy().await;
    scene.pass(LEAD_SECS);
    tokens.tend_keys(&[]).await.unwrap();
    assert_eq!(states(), [TokenKeyState::Retiring, TokenKeyState::Active]);
    let after = scene.buy().await;
    scene.verify(&before).await.unwrap();
    scene.verify(&after).await.unwrap();
    let other = House::on(Arc::clone(&scene.house.store), Settings::default(), 3).await;
    other.services.tokens.verify(before.access_token.expose(), ISSUER).await.unwrap();
    scene.pass(KEEP_SECS);
    tokens.tend_keys(&[]).await.unwrap();
    assert_eq!(states(), [TokenKeyState::Gone, TokenKeyState::Active]);
    assert_eq!(tokens.published().body.matches("\"kid\"").count(), 1);
    let unknown = TokenRefusal::Invalid(TokenError::KeyUnknown);
    assert_eq!(scene.verify(&before).await.unwrap_err(), unknown, "also of the cache");
    assert!(lock(&scene.house.store.state).tokens.keys[0].sealed.is_empty());
}

#[tokio::test]
async fn es256_signs_where_it_is_chosen() {
    let plan = KeyPlan { algorithm: Algorithm::Es256, ..KeyPlan::default() };
    let scene = scene_with(Settings { token_keys: plan, ..Settings::default() }).await;
    let bought = scene.buy().await;
    scene.verify(&bought).await.unwrap();
    assert!(scene.tokens().published().body.contains("\"ES256\""));
}

#[tokio::test]
async fn everything_is_in_the_record() {
    let scene = scene().await;
    let bought = scene.buy().await;
    let renewed = scene.refresh(&bought, "").await.unwrap();
    scene.tokens().revoke(renewed.access_token.expose(), ISSUER, &Caller::system()).await.unwrap();
    scene.tokens().revoke(renewed.refresh_token.expose(), ISSUER, &Caller::system()).await.unwrap();
    let actions = scene.house.actions();
    for action in ["token_key.change", "token.issue", "token.refresh", "token.revoke", "token_family.end"] {
        assert!(actions.iter().any(|a| a == action), "{action} in {actions:?}");
    }
}

#[tokio::test]
async fn after_an_emergency_no_token_of_the_old_keys_is_accepted_and_none_of_them_is_published() {
    let scene = scene().await;
    let bought = scene.buy().await;
    scene.verify(&bought).await.unwrap();
    let kids = |tokens: &Tokens| tokens.published().body.matches("\"kid\"").count();
    let before = scene.tokens().signing_keys().await.unwrap();

    let done = scene.tokens().replace_keys(&Caller::system()).await.unwrap();
    assert_eq!(done.first().map(String::as_str), Some(format!("gone {}", before[0].kid).as_str()));
    assert!(!scene.tokens().published().body.contains(&before[0].kid) && kids(scene.tokens()) == 1);
    let refusal = scene.verify(&bought).await.unwrap_err();
    assert_eq!(refusal, TokenRefusal::Invalid(TokenError::KeyUnknown));

    let renewed = scene.refresh(&bought, "192.0.2.1").await.unwrap();
    scene.verify(&renewed).await.unwrap();
    // What is next signs at once; what signed until now is gone.
    let algorithm = Algorithm::EdDsa;
    scene.pass(PERIOD_SECS - LEAD_SECS);
    scene.tokens().tend_keys(&[]).await.unwrap();
    let keys = scene.tokens().signing_keys().await.unwrap();
    let next = keys.iter().find(|k| k.state == TokenKeyState::Next).unwrap();
    scene.tokens().replace_keys(&Caller::system()).await.unwrap();
    let living = scene.tokens().signing_keys().await.unwrap();
    let living: Vec<_> = living.iter().filter(|k| k.state != TokenKeyState::Gone).collect();
    assert_eq!((living.len(), &living[0].kid, living[0].algorithm), (1, &next.kid, algorithm));
    assert!(living[0].state == TokenKeyState::Active && kids(scene.tokens()) == 1);
}
