//! Keys over virtual years.

use proptest::prelude::*;

use super::*;

fn key(kid: String, algorithm: Algorithm, state: TokenKeyState, now: Timestamp) -> TokenKeyRecord {
    TokenKeyRecord {
        kid,
        algorithm,
        public_jwk: String::new(),
        sealed: vec![1],
        state,
        published_at: now,
        active_at: (state == TokenKeyState::Active).then_some(now),
        retiring_at: None,
        version: 1,
    }
}

/// Takes all steps; the number of keys that were made.
fn take(keys: &mut Vec<TokenKeyRecord>, plan: KeyPlan, now: Timestamp) {
    for step in due(keys, plan, now) {
        let made = keys.len();
        let of = |keys: &mut Vec<TokenKeyRecord>, kid: &str, change: &dyn Fn(&mut TokenKeyRecord)| {
            change(keys.iter_mut().find(|k| k.kid == kid).unwrap());
        };
        match step {
            KeyStep::MakeActive => {
                keys.push(key(made.to_string(), plan.algorithm, TokenKeyState::Active, now))
            }
            KeyStep::MakeNext => keys.push(key(made.to_string(), plan.algorithm, TokenKeyState::Next, now)),
            KeyStep::Drop(kid) => of(keys, &kid, &|k| k.state = TokenKeyState::Gone),
            KeyStep::Retire(kid) => of(keys, &kid, &|k| {
                k.state = TokenKeyState::Retiring;
                k.retiring_at = Some(now);
            }),
            KeyStep::Activate(kid) => of(keys, &kid, &|k| {
                k.state = TokenKeyState::Active;
                k.active_at = Some(now);
            }),
        }
    }
}

#[test]
fn a_key_is_published_before_it_signs_and_kept_until_its_last_token_is_over() {
    let at = |secs: i64| Timestamp::from_secs(1_800_000_000 + secs);
    let (mut keys, plan) = (Vec::new(), KeyPlan::default());
    take(&mut keys, plan, at(0));
    assert_eq!(keys[0].state, TokenKeyState::Active);
    take(&mut keys, plan, at(PERIOD_SECS - LEAD_SECS - 1));
    assert_eq!(keys.len(), 1);
    take(&mut keys, plan, at(PERIOD_SECS - LEAD_SECS));
    assert_eq!((keys[0].state, keys[1].state), (TokenKeyState::Active, TokenKeyState::Next));
    take(&mut keys, plan, at(PERIOD_SECS));
    assert_eq!((keys[0].state, keys[1].state), (TokenKeyState::Retiring, TokenKeyState::Active));
    take(&mut keys, plan, at(PERIOD_SECS + KEEP_SECS - 1));
    assert_eq!(keys[0].state, TokenKeyState::Retiring);
    take(&mut keys, plan, at(PERIOD_SECS + KEEP_SECS));
    assert_eq!(keys[0].state, TokenKeyState::Gone);
}

#[test]
fn another_algorithm_signs_as_soon_as_its_key_is_known() {
    let at = |secs: i64| Timestamp::from_secs(1_800_000_000 + secs);
    let (mut keys, plan) = (Vec::new(), KeyPlan::default());
    take(&mut keys, plan, at(0));
    let es256 = KeyPlan { algorithm: Algorithm::Es256, ..plan };
    take(&mut keys, es256, at(10));
    assert_eq!((keys[1].state, keys[1].algorithm), (TokenKeyState::Next, Algorithm::Es256));
    // Back before it came to sign anything: it goes.
    take(&mut keys, plan, at(20));
    assert_eq!(keys[1].state, TokenKeyState::Gone);
    take(&mut keys, es256, at(30));
    take(&mut keys, es256, at(30 + LEAD_SECS - 1));
    assert_eq!(keys[0].state, TokenKeyState::Active);
    take(&mut keys, es256, at(30 + LEAD_SECS));
    assert_eq!((keys[0].state, keys[2].state), (TokenKeyState::Retiring, TokenKeyState::Active));
}

proptest! {
    /// However irregularly anybody looks, and whatever is wanted: one key signs, nothing signs that was not published
    /// long enough, and nothing goes that may have signed a token that is still good.
    #[test]
    fn no_token_is_ever_without_its_key(steps in prop::collection::vec((1_i64..400_000, any::<bool>()), 1..200)) {
        let mut keys = Vec::new();
        let mut now = 1_800_000_000_i64;
        take(&mut keys, KeyPlan::default(), Timestamp::from_secs(now));
        for (pause, es256) in steps {
            now += pause;
            let algorithm = if es256 { Algorithm::Es256 } else { Algorithm::EdDsa };
            let before = keys.clone();
            take(&mut keys, KeyPlan { algorithm, period_secs: 86_400 }, Timestamp::from_secs(now));
            let count = |state| keys.iter().filter(|k| k.state == state).count();
            prop_assert_eq!(count(TokenKeyState::Active), 1);
            prop_assert!(count(TokenKeyState::Next) <= 1);
            for (was, is) in before.iter().zip(&keys) {
                if was.state == TokenKeyState::Next && is.state == TokenKeyState::Active {
                    prop_assert!(now - is.published_at.as_secs() >= LEAD_SECS);
                }
                prop_assert!(!(was.state == TokenKeyState::Active && is.state == TokenKeyState::Gone));
                if was.state == TokenKeyState::Retiring && is.state == TokenKeyState::Gone {
                    prop_assert!(now - was.retiring_at.unwrap().as_secs() >= KEEP_SECS);
                }
                prop_assert!(was.state != TokenKeyState::Gone || is.state == TokenKeyState::Gone);
            }
        }
    }
}
