use std::net::IpAddr;

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    id::{KeyId, OwnerId, WorkspaceId},
    key::{
        KeyState,
        deprecation::{Deprecation, DeprecationStage},
    },
    mac::{KeyMac, PepperVersion},
    permission::Access,
    token::{KeyClass, PublicId},
};

const NOW: Timestamp = Timestamp::from_secs(1_772_452_800);

fn parent() -> KeyRecord {
    KeyRecord {
        id: KeyId::parse("key_0123456789").unwrap(),
        public_id: PublicId::parse("0123456789").unwrap(),
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
        expires_at: Some(NOW.plus_micros(600 * MICROS_PER_SEC)),
        revocation: None,
        rotated_from: None,
        lineage: KeyId::parse("key_0123456789").unwrap(),
        parent: None,
        deprecation: None,
        version: 1,
    }
}

fn after(secs: i64) -> Timestamp {
    NOW.plus_micros(secs * MICROS_PER_SEC)
}

fn child(expires: i64) -> KeyRecord {
    KeyRecord { expires_at: Some(after(expires)), parent: Some(parent().id), ..parent() }
}

#[test]
fn what_does_not_work_has_no_children_and_children_have_none() {
    assert_eq!(check_parent(&parent(), NOW), Ok(()));
    assert_eq!(check_parent(&child(10), NOW), Err(ChildError::Grandchild));
    let check = |change: fn(&mut KeyRecord)| {
        let mut key = parent();
        change(&mut key);
        check_parent(&key, NOW)
    };
    assert_eq!(check(|k| k.state = KeyState::Suspended), Err(ChildError::Parent(KeyStatus::Suspended)));
    assert_eq!(check(|k| k.state = KeyState::Revoked), Err(ChildError::Parent(KeyStatus::Revoked)));
    assert_eq!(check(|k| k.expires_at = Some(NOW)), Err(ChildError::Parent(KeyStatus::Expired)));
    assert_eq!(check(|k| k.deprecation = Some(Deprecation::begin(NOW))), Ok(()));
    let refused = |k: &mut KeyRecord| {
        k.deprecation = Some(Deprecation::begin(NOW).stepped(DeprecationStage::Refused, NOW));
    };
    assert_eq!(check(refused), Err(ChildError::Parent(KeyStatus::Deprecated)));
}

#[test]
fn a_child_ends_when_it_was_asked_to_and_never_after_its_parent() {
    assert_eq!(expiry(&parent(), Some(60), NOW), Ok(after(60)));
    assert_eq!(expiry(&parent(), None, NOW), Ok(after(600)));
    let eternal = KeyRecord { expires_at: None, ..parent() };
    assert_eq!(expiry(&eternal, None, NOW), Ok(after(900)));
    for ttl in [0, 9, 86_401, u64::MAX] {
        assert_eq!(expiry(&parent(), Some(ttl), NOW), Err(ChildError::Ttl));
    }
}

#[test]
fn a_heartbeat_keeps_a_living_child_for_one_lease_and_wakes_no_dead_one() {
    let until = |expires, at| extended(&child(expires), &parent(), after(at)).map(|k| k.expires_at.unwrap());
    assert_eq!(until(90, 30), Ok(after(115)));
    assert_eq!(until(590, 30), Ok(after(590)), "it never shortens");
    assert_eq!(until(590, 580), Ok(after(600)), "nor outlives the parent");
    assert_eq!(until(30, 30), Err(ChildError::Over(KeyStatus::Expired)));
    assert_eq!(until(900, 600), Err(ChildError::Parent(KeyStatus::Expired)));
    let revoked = KeyRecord { state: KeyState::Revoked, ..child(90) };
    assert_eq!(extended(&revoked, &parent(), NOW).unwrap_err(), ChildError::Over(KeyStatus::Revoked));
    const { assert!(LEASE_SECS > 2 * HEARTBEAT_SECS, "two beats may be lost") };
    const { assert!(LEASE_SECS < 90, "dead within 90 s, with the time that a beat takes on its way") };
}

#[test]
fn who_asks_for_more_than_the_parent_has_is_told_what() {
    let mut full = KeyPolicy::default();
    full.permissions.models = vec![ModelGlob::parse("claude-haiku-*").unwrap()];
    full.permissions.endpoints = vec![Endpoint::Messages];
    full.permissions.scopes = Scopes::parse(&["messages:write"]).unwrap();
    full.allow_ip = CidrList::parse(&["10.0.0.0/8"]).unwrap();
    full.max_uses = Some(5);
    let asked = |change: fn(&mut ChildWish)| {
        let mut wish = ChildWish::default();
        change(&mut wish);
        policy(&full, &wish).map_err(|e| (e.field(), e.to_string()))
    };
    assert_eq!(asked(|_| ()).unwrap(), full, "without a wish it is as its parent");
    let refused = |change, field: &str| assert_eq!(asked(change).unwrap_err().0, field);
    refused(|w| w.models = vec![ModelGlob::parse("claude-*").unwrap()], "models");
    refused(|w| w.endpoints = vec![Endpoint::Files], "endpoints");
    refused(|w| w.scopes = Some(Scopes::ALL), "scopes");
    refused(|w| w.allow_ip = CidrList::parse(&["10.0.0.0/7"]).unwrap(), "allow_ip");
    refused(|w| w.limits.rpm = Some(61), "rpm");
    refused(|w| w.limits.concurrency = Some(0), "concurrency");
    refused(|w| w.max_uses = Some(6), "max_uses");
    let said = asked(|w| w.limits.rpm = Some(61)).unwrap_err().1;
    assert_eq!(said, "is above the parent's limit of 60");
    let narrow = asked(|w| {
        w.models = vec![ModelGlob::parse("claude-haiku-5*").unwrap()];
        w.allow_ip = CidrList::parse(&["10.1.2.3"]).unwrap();
        w.limits.rps = Some(1);
        w.max_uses = Some(1);
    })
    .unwrap();
    assert_eq!((narrow.limits.rps, narrow.limits.rpm, narrow.max_uses), (Some(1), Some(60), Some(1)));
}

fn globs() -> impl Strategy<Value = Vec<ModelGlob>> {
    vec("[ab*]{1,4}".prop_map(|t| ModelGlob::parse(&t).unwrap()), 0..3)
}

fn blocks() -> impl Strategy<Value = CidrList> {
    let block = (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(ip, len)| format!("{}/{len}", IpAddr::from(ip)));
    vec(block, 0..3).prop_map(|blocks| CidrList::parse(&blocks).unwrap())
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    vec(select(&Endpoint::ALL[..]), 0..3)
}

fn scopes() -> impl Strategy<Value = Scopes> {
    vec(select(vec!["read", "write", "files:read", "messages:write"]), 0..3)
        .prop_map(|words| Scopes::parse(&words).unwrap())
}

fn limit() -> impl Strategy<Value = Option<u64>> {
    option::of(1_u64..5)
}

proptest! {
    #[test]
    fn a_child_may_do_nothing_that_its_parent_may_not(
        (models, wished_models) in (globs(), globs()),
        (allow, wished_allow) in (blocks(), blocks()),
        (ends, wished_ends) in (endpoints(), endpoints()),
        (all, wished_scopes) in (scopes(), option::of(scopes())),
        (rpm, wished_rpm, uses, wished_uses) in (limit(), limit(), limit(), limit()),
        (model, ip) in ("[ab]{0,5}", any::<[u8; 4]>()),
    ) {
        let permissions = Permissions { models, endpoints: ends, scopes: all };
        let mut parent = KeyPolicy { permissions, allow_ip: allow, max_uses: uses, ..KeyPolicy::default() };
        parent.limits.rpm = rpm;
        let wish = ChildWish {
            models: wished_models,
            endpoints: wished_ends,
            scopes: wished_scopes,
            allow_ip: wished_allow,
            limits: Limits { rpm: wished_rpm, ..Limits::NONE },
            max_uses: wished_uses,
            ..ChildWish::default()
        };
        let Ok(child) = policy(&parent, &wish) else { return Ok(()) };
        let allows = |policy: &KeyPolicy| {
            (policy.permissions.allows_model(&model), policy.allow_ip.is_empty() || policy.allow_ip.contains(IpAddr::from(ip)))
        };
        let ((child_model, child_ip), (parent_model, parent_ip)) = (allows(&child), allows(&parent));
        prop_assert!(!child_model || parent_model);
        prop_assert!(!child_ip || parent_ip);
        for endpoint in Endpoint::ALL {
            for access in [Access::Read, Access::Write] {
                prop_assert!(!child.permissions.allows(endpoint, access) || parent.permissions.allows(endpoint, access));
            }
        }
        let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        prop_assert!(most(child.limits.rpm) <= most(parent.limits.rpm));
        prop_assert!(child.max_uses.unwrap_or(u64::MAX) <= parent.max_uses.unwrap_or(u64::MAX));
    }

    #[test]
    fn covering_means_matching_whatever_the_other_matches(a in "[ab*]{1,5}", b in "[ab*]{1,5}", text in "[ab]{0,6}") {
        let (a, b) = (ModelGlob::parse(&a).unwrap(), ModelGlob::parse(&b).unwrap());
        prop_assert!(!a.covers(&b) || !b.matches(&text) || a.matches(&text));
    }
}
