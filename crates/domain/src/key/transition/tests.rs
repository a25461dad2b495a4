//! The table of the module, cell by cell, and what no sequence of steps can do.

use proptest::prelude::*;

use super::*;
use crate::{
    id::{KeyId, OwnerId, WorkspaceId},
    key::{
        KeyPolicy,
        deprecation::{Deprecation, DeprecationStage},
    },
    mac::PepperVersion,
    token::{KeyClass, PublicId},
};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn key(status: KeyStatus) -> KeyRecord {
    let later = NOW.plus_micros(1);
    let first = Revocation { at: NOW.plus_micros(-5), reason: RevocationReason::Rotation, immediate: false };
    let mut key = KeyRecord {
        id: KeyId::parse("key_0123456789").unwrap(),
        public_id: PublicId::parse("0123456789").unwrap(),
        class: KeyClass::Live,
        name: "build".into(),
        owner: OwnerId::parse("own_a").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        mac: KeyMac::from_bytes([7; 32]),
        pepper_version: PepperVersion(1),
        hint: "cvg_live_0123…".into(),
        state: KeyState::Active,
        policy: KeyPolicy::default(),
        created_at: NOW.plus_micros(-10),
        not_before: None,
        expires_at: Some(later),
        revocation: None,
        rotated_from: None,
        lineage: KeyId::parse("key_0123456789").unwrap(),
        parent: None,
        deprecation: None,
        version: 3,
    };
    match status {
        KeyStatus::Pending => (key.not_before, key.expires_at) = (Some(later), None),
        KeyStatus::Active => {}
        KeyStatus::Deprecated => {
            let stage = DeprecationStage::Warned;
            key.deprecation = Some(Deprecation { since: NOW, stage, stage_at: NOW });
        }
        KeyStatus::Suspended => key.state = KeyState::Suspended,
        KeyStatus::Revoked => (key.state, key.revocation) = (KeyState::Revoked, Some(first)),
        KeyStatus::Expired => key.expires_at = Some(NOW),
        KeyStatus::Purged => (key.state, key.revocation) = (KeyState::Purged, Some(first)),
    }
    assert_eq!(key.status(NOW), status);
    key
}

fn rename() -> KeyVerb {
    KeyVerb::Update(Box::new(KeyPatch { name: Some("other".into()), ..KeyPatch::default() }))
}

fn revoke(reason: RevocationReason, immediate: bool) -> KeyVerb {
    KeyVerb::Revoke { reason, immediate }
}

#[test]
fn every_cell_of_the_table_holds() {
    use KeyStatus::{Active, Deprecated, Expired, Pending, Purged, Revoked, Suspended};
    let all = [Pending, Active, Deprecated, Suspended, Expired, Revoked, Purged];
    let sharper = revoke(RevocationReason::Compromised, true);
    // `Some(status)`: what it becomes; `None`: illegal; the same status: `already` (update: changed).
    let table: [(KeyVerb, [Option<KeyStatus>; 7]); 5] = [
        (
            KeyVerb::Suspend,
            [Some(Suspended), Some(Suspended), Some(Suspended), Some(Suspended), None, None, None],
        ),
        (KeyVerb::Resume, [Some(Pending), Some(Active), Some(Deprecated), Some(Active), None, None, None]),
        (rename(), [Some(Pending), Some(Active), Some(Deprecated), Some(Suspended), None, None, None]),
        (
            sharper,
            [Some(Revoked), Some(Revoked), Some(Revoked), Some(Revoked), Some(Revoked), Some(Revoked), None],
        ),
        (KeyVerb::Purge, [None, None, None, None, Some(Purged), Some(Purged), Some(Purged)]),
    ];
    for (verb, row) in table {
        for (from, expected) in all.into_iter().zip(row) {
            let got = decide(&key(from), &verb, NOW).map(|k| k.status(NOW));
            let changes = matches!(verb, KeyVerb::Update(_) | KeyVerb::Revoke { .. });
            let wanted = match expected {
                None => Err(TransitionError::Illegal { verb: verb.as_str(), from }),
                Some(to) if to == from && !changes => Err(TransitionError::Already(from)),
                Some(to) => Ok(to),
            };
            assert_eq!(got, wanted, "{} from {}", verb.as_str(), from.as_str());
        }
    }
}

#[test]
fn a_suspended_key_whose_time_has_not_come_is_resumed_to_pending() {
    let mut record = key(KeyStatus::Pending);
    record.state = KeyState::Suspended;
    assert_eq!(decide(&record, &KeyVerb::Resume, NOW).unwrap().status(NOW), KeyStatus::Pending);
}

#[test]
fn compromised_replaces_every_reason_and_is_replaced_by_none() {
    let soft = decide(&key(KeyStatus::Active), &revoke(RevocationReason::UserRequest, false), NOW).unwrap();
    let later = NOW.plus_micros(9);
    let sharp = decide(&soft, &revoke(RevocationReason::Compromised, false), later).unwrap();
    let expected = Revocation { at: NOW, reason: RevocationReason::Compromised, immediate: false };
    assert_eq!(sharp.revocation, Some(expected));
    let again = decide(&sharp, &revoke(RevocationReason::UserRequest, false), later);
    assert_eq!(again.unwrap_err(), TransitionError::Already(KeyStatus::Revoked));
}

#[test]
fn a_revoked_key_may_still_be_cut_at_once_but_never_uncut() {
    let soft = decide(&key(KeyStatus::Active), &revoke(RevocationReason::UserRequest, false), NOW).unwrap();
    let cut = decide(&soft, &revoke(RevocationReason::Expired, true), NOW).unwrap();
    let expected = Revocation { at: NOW, reason: RevocationReason::UserRequest, immediate: true };
    assert_eq!(cut.revocation, Some(expected));
    assert!(decide(&cut, &revoke(RevocationReason::UserRequest, false), NOW).is_err());
}

#[test]
fn a_purged_key_has_no_mac_and_keeps_its_tombstone() {
    let purged = decide(&key(KeyStatus::Revoked), &KeyVerb::Purge, NOW).unwrap();
    assert_eq!(purged.mac.as_bytes(), &[0; 32]);
    assert_eq!(purged.revocation.map(|r| r.reason), Some(RevocationReason::Rotation));
    assert_eq!(purged.version, 3);
}

#[test]
fn an_update_must_change_something_legal() {
    let record = key(KeyStatus::Active);
    let apply = |patch: KeyPatch| decide(&record, &KeyVerb::Update(Box::new(patch)), NOW).map(|_| ());
    let none = KeyPatch::default;
    assert_eq!(apply(none()), Err(PatchError::Empty.into()));
    assert_eq!(apply(KeyPatch { name: Some("a\nb".into()), ..none() }), Err(PatchError::Name.into()));
    assert_eq!(apply(KeyPatch { name: Some(" ".into()), ..none() }), Err(PatchError::Name.into()));
    assert_eq!(apply(KeyPatch { expires_at: Some(Some(NOW)), ..none() }), Err(PatchError::ExpiryPast.into()));
    let backwards = KeyPatch { not_before: Some(record.expires_at), ..none() };
    assert_eq!(apply(backwards), Err(PatchError::ExpiresBeforeStart.into()));
    assert_eq!(apply(KeyPatch { expires_at: Some(None), ..none() }), Ok(()));
}

#[test]
fn in_json_null_clears_and_a_missing_field_leaves() {
    let patch: KeyPatch = serde_json::from_str(r#"{"limits":{"rpm":null,"rpd":5},"hours":null}"#).unwrap();
    assert_eq!(
        (patch.limits.rps, patch.limits.rpm, patch.limits.rpd, patch.hours.clone()),
        (None, Some(None), Some(Some(5)), Some(None))
    );
    let changed = patch.apply_to(&key(KeyStatus::Active), NOW).unwrap();
    assert_eq!((changed.policy.limits.rpm, changed.policy.limits.rpd), (None, Some(5)));
    assert_eq!(serde_json::to_string(&patch).unwrap(), r#"{"limits":{"rpm":null,"rpd":5},"hours":null}"#);
    assert!(serde_json::from_str::<KeyPatch>(r#"{"limits":{"rpmm":1}}"#).is_err());
}

fn any_verb() -> impl Strategy<Value = KeyVerb> {
    let reasons = prop_oneof![
        Just(RevocationReason::Compromised),
        Just(RevocationReason::Rotation),
        Just(RevocationReason::UserRequest)
    ];
    let expiry = proptest::option::of(-20_i64..20);
    prop_oneof![
        Just(KeyVerb::Suspend),
        Just(KeyVerb::Resume),
        Just(KeyVerb::Purge),
        (reasons, any::<bool>()).prop_map(|(reason, immediate)| KeyVerb::Revoke { reason, immediate }),
        expiry.prop_map(|us| {
            let expires_at = Some(us.map(|us| NOW.plus_micros(us)));
            KeyVerb::Update(Box::new(KeyPatch { expires_at, ..KeyPatch::default() }))
        }),
    ]
}

proptest! {
    #[test]
    fn nothing_revives_a_key_and_compromised_is_never_forgotten(
        steps in proptest::collection::vec((any_verb(), 0_i64..4), 1..30),
    ) {
        let (mut record, mut now, mut dead, mut compromised) = (key(KeyStatus::Active), NOW, false, false);
        for (verb, us) in steps {
            now = now.plus_micros(us);
            if let Ok(next) = decide(&record, &verb, now) {
                record = next;
            }
            let status = record.status(now);
            let lives = matches!(
                status,
                KeyStatus::Pending | KeyStatus::Active | KeyStatus::Deprecated | KeyStatus::Suspended
            );
            prop_assert!(!(dead && lives), "revived by {}", verb.as_str());
            dead |= !lives;
            let is = record.revocation.is_some_and(|r| r.reason == RevocationReason::Compromised);
            prop_assert!(is || !compromised);
            compromised |= is;
            prop_assert_eq!(record.state == KeyState::Revoked, status == KeyStatus::Revoked);
        }
    }
}
