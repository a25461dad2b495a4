use proptest::prelude::*;

use super::*;
use crate::{
    address::CidrList,
    id::{KeyId, OwnerId},
    key::{KeyPolicy, KeyState},
    mac::{KeyMac, PepperVersion},
    token::PublicId,
};

const NOW: Timestamp = Timestamp::from_secs(1_772_452_800);

fn days(n: i64) -> Timestamp {
    NOW.plus_micros(n * MICROS_PER_DAY)
}

fn key() -> KeyRecord {
    let id = KeyId::parse("key_0123456789").unwrap();
    KeyRecord {
        public_id: PublicId::of_key(&id).unwrap(),
        lineage: id.clone(),
        id,
        class: KeyClass::Live,
        name: "build".into(),
        owner: OwnerId::parse("own_a").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        mac: KeyMac::from_bytes([7; 32]),
        pepper_version: PepperVersion(1),
        hint: String::new(),
        state: KeyState::Active,
        policy: KeyPolicy::default(),
        created_at: NOW,
        not_before: None,
        expires_at: Some(days(90)),
        revocation: None,
        rotated_from: None,
        parent: None,
        deprecation: None,
        version: 1,
    }
}

fn with_ip(key: KeyRecord) -> KeyRecord {
    let allow_ip = CidrList::parse(&["10.0.0.0/8"]).unwrap();
    KeyRecord { policy: KeyPolicy { allow_ip, ..key.policy.clone() }, ..key }
}

#[test]
fn the_defaults_are_the_promised_numbers_and_legal() {
    let policy = Policy::default();
    assert_eq!((policy.max_keys, policy.rotation_days, policy.revoke_unused_days), (5, 90, Some(180)));
    assert_eq!((policy.require_ip, policy.require_mfa), (false, false));
    assert_eq!(policy.notice_days, [14, 7, 3, 1]);
    assert_eq!(policy.check(), Ok(()));
}

#[test]
fn numbers_that_do_not_fit_together_are_refused_by_field() {
    let field = |change: fn(&mut Policy)| {
        let mut policy = Policy::default();
        change(&mut policy);
        policy.check().map_err(|e| e.field)
    };
    assert_eq!(field(|p| p.max_keys = 0), Err("max_keys"));
    assert_eq!(field(|p| p.rotation_days = 0), Err("rotation_days"));
    assert_eq!(field(|p| p.revoke_unused_days = Some(0)), Err("revoke_unused_days"));
    assert_eq!(field(|p| p.notice_days = vec![1, 3]), Err("notice_days"));
    assert_eq!(field(|p| p.notice_days = vec![3, 3]), Err("notice_days"));
    assert_eq!(field(|p| p.notice_days = vec![]), Ok(()));
    assert_eq!(field(|p| p.revoke_unused_days = None), Ok(()));
}

fn making(has_second_factor: bool) -> Making {
    Making { has_second_factor, way: HandOver::Shown, environment: Environment::Development }
}

#[test]
fn each_environment_refuses_what_is_weaker_than_it_demands() {
    let shown = |environment, way| {
        let test = KeyRecord { class: KeyClass::Test, ..key() };
        let making = Making { way, environment, ..making(false) };
        assert_eq!(Policy::default().check_new(&test, making), Ok(()), "a test key opens nothing");
        Policy::default().check_new(&key(), making)
    };
    use Environment::{Development, Production, Staging};
    for environment in [Development, Staging, Production] {
        assert_eq!(shown(environment, HandOver::Wrapped), Ok(()));
        assert_eq!(shown(environment, HandOver::Kept), Ok(()));
    }
    assert_eq!(shown(Development, HandOver::Shown), Ok(()));
    for strict in [Staging, Production] {
        assert_eq!(shown(strict, HandOver::Shown), Err(Violation::HandOver(strict)));
    }
}

#[test]
fn each_rule_refuses_what_it_forbids() {
    let (none, proved) = (making(false), making(true));
    let ip = Policy { require_ip: true, ..Policy::default() };
    assert_eq!(ip.check_new(&key(), proved), Err(Violation::RequireIp));
    assert_eq!(ip.check_new(&with_ip(key()), none), Ok(()));
    let mfa = Policy { require_mfa: true, ..Policy::default() };
    assert_eq!(mfa.check_new(&key(), none), Err(Violation::RequireMfa));
    assert_eq!(mfa.check_new(&key(), proved), Ok(()));
}

#[test]
fn a_change_may_not_take_the_addresses_away_but_may_leave_an_old_breach() {
    let policy = Policy { require_ip: true, ..Policy::default() };
    assert_eq!(policy.check_change(&with_ip(key()), &key()), Err(Violation::RequireIp));
    let renamed = KeyRecord { name: "other".into(), ..key() };
    assert_eq!(policy.check_change(&key(), &renamed), Ok(()));
    assert_eq!(policy.check_change(&key(), &with_ip(key())), Ok(()));
}

#[test]
fn breaches_name_the_rule_and_what_follows_when() {
    let policy = Policy { require_ip: true, ..Policy::default() };
    let rules = |day, used: Option<i64>| {
        let breaches = policy.breaches(&key(), used.map(days), days(day));
        breaches.into_iter().map(|b| (b.rule, b.consequence, b.at)).collect::<Vec<_>>()
    };
    let ip = (Rule::RequireIp, Consequence::Reported, None);
    let age = (Rule::RotationDays, Consequence::RotationDue, Some(days(90)));
    assert_eq!(rules(89, None), [ip]);
    assert_eq!(rules(90, Some(1)), [ip, age]);
    assert_eq!(rules(180, None), [ip, age, (Rule::RevokeUnusedDays, Consequence::Revoked, Some(days(180)))]);
    assert_eq!(rules(180, Some(1)), [ip, age]);
    let child = KeyRecord { parent: Some(key().id), ..key() };
    assert_eq!(policy.breaches(&child, None, days(400)), []);
}

#[test]
fn only_the_nearest_threshold_is_told() {
    let due = |day| Policy::default().notice_due(&key(), days(day));
    assert_eq!(
        [75, 76, 82, 83, 87, 89, 90].map(due),
        [None, Some(14), Some(14), Some(7), Some(3), Some(1), None]
    );
    assert_eq!(Policy::default().notice_due(&KeyRecord { expires_at: None, ..key() }, NOW), None);
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (
        1_u32..9,
        any::<bool>(),
        any::<bool>(),
        1_u32..9,
        proptest::option::of(1_u32..9),
        proptest::sample::subsequence(vec![14, 7, 3, 1], 0..=4),
        proptest::sample::subsequence(Proof::ALL.to_vec(), 0..=4),
        any::<bool>(),
    )
        .prop_map(
            |(
                max_keys,
                require_ip,
                require_mfa,
                rotation_days,
                revoke_unused_days,
                notice_days,
                require,
                forbid_cache,
            )| {
                Policy {
                    max_keys,
                    require_ip,
                    require_mfa,
                    rotation_days,
                    revoke_unused_days,
                    notice_days,
                    require: require.into_iter().fold(Proofs::NONE, Proofs::with),
                    forbid_cache,
                }
            },
        )
}

proptest! {
    #[test]
    fn of_two_policies_that_differ_one_way_at_least_loosens(a in any_policy(), b in any_policy()) {
        prop_assert!(!a.loosens(&a));
        if a != b {
            prop_assert!(a.loosens(&b) || b.loosens(&a));
        }
    }

    #[test]
    fn what_passes_a_tighter_policy_passes_the_looser_one(a in any_policy(), b in any_policy(), has_ip in any::<bool>(), mfa in any::<bool>()) {
        let key = if has_ip { with_ip(key()) } else { key() };
        let making = making(mfa);
        if !b.loosens(&a) && b.check_new(&key, making).is_ok() {
            prop_assert_eq!(a.check_new(&key, making), Ok(()));
        }
    }
}

#[test]
fn a_forbidden_cache_binds_new_keys_and_changes_and_is_reported_of_old_ones() {
    let forbids = Policy { forbid_cache: true, ..Policy::default() };
    let cached = |ttl| {
        let mut key = key();
        key.policy.cache = ttl;
        key
    };
    let five = Some(crate::key::cache::CacheTtl::USUAL);
    let making = making(false);
    assert_eq!(forbids.check_new(&cached(five), making), Err(Violation::ForbidCache));
    assert_eq!(forbids.check_new(&cached(None), making), Ok(()));
    assert_eq!(Policy::default().check_new(&cached(five), making), Ok(()));
    assert_eq!(forbids.check_change(&cached(None), &cached(five)), Err(Violation::ForbidCache));
    assert_eq!(forbids.check_change(&cached(five), &cached(None)), Ok(()));
    assert_eq!(forbids.check_change(&cached(five), &cached(five)), Ok(()), "it does not touch it");
    let broken = forbids.breaches(&cached(five), None, NOW);
    assert!(broken.iter().any(|b| b.rule == Rule::ForbidCache && b.consequence == Consequence::Reported));
    assert!(Policy::default().loosens(&forbids) && !forbids.loosens(&Policy::default()));
    assert_eq!(serde_json::from_str::<Policy>(&serde_json::to_string(&forbids).unwrap()).unwrap(), forbids);
}
