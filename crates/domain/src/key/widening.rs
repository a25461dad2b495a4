//! What a change does to the holder of a key: nothing new, something new, or a guard less.

use super::KeyRecord;
use crate::{operator::verb::Effect, permission::ModelGlob};

/// How a change of a key is judged: one that drops its address list, or the certificates that it is bound to, as [`Effect::Destroy`], one that gives its holder
/// anything new as [`Effect::Grant`], else as [`Effect::Change`].
#[must_use]
pub fn effect(before: &KeyRecord, after: &KeyRecord) -> Effect {
    let (old, new) = (&before.policy, &after.policy);
    let drops_addresses = new.allow_ip.is_empty() && !old.allow_ip.is_empty();
    let drops_certificates = new.bind_mtls.is_empty() && !old.bind_mtls.is_empty();
    let drops_proofs = !old.require.without(new.require).is_empty();
    if drops_addresses || drops_certificates || drops_proofs {
        return Effect::Destroy;
    }
    let permissions = (&old.permissions, &new.permissions);
    let widens = !old.bind_mtls.covers(&new.bind_mtls)
        || (!old.allow_ip.is_empty() && !old.allow_ip.covers(&new.allow_ip))
        || !within(&permissions.0.endpoints, &permissions.1.endpoints, |a, b| a == b)
        || !within(&permissions.0.models, &permissions.1.models, ModelGlob::covers)
        || !permissions.0.scopes.includes(permissions.1.scopes)
        || old.limits.is_raised_by(&new.limits)
        || raises(old.max_uses, new.max_uses)
        || raises(before.expires_at, after.expires_at)
        // Windows are not compared: another one may reach where the old one did not.
        || (old.hours.is_some() && old.hours != new.hours)
        || after.not_before < before.not_before;
    if widens { Effect::Grant } else { Effect::Change }
}

/// Nothing is no bound.
fn raises<T: Ord>(before: Option<T>, after: Option<T>) -> bool {
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => after > before,
    }
}

/// An empty list is everything.
fn within<T>(before: &[T], after: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    before.is_empty()
        || (!after.is_empty() && after.iter().all(|new| before.iter().any(|old| covers(old, new))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::CidrList,
        clock::Timestamp,
        id::{OwnerId, WorkspaceId},
        key::{KeyPolicy, KeyState, patch::KeyPatch},
        mac::{KeyMac, PepperVersion},
        permission::Scopes,
        proof::{Proof, Proofs},
        token::{KeyClass, PublicId},
    };

    fn key() -> KeyRecord {
        let public_id = PublicId::parse("0123456789").unwrap();
        let id = public_id.key_id().unwrap();
        KeyRecord {
            id: id.clone(),
            public_id,
            class: KeyClass::Live,
            name: "k".to_owned(),
            owner: OwnerId::parse("own_1").unwrap(),
            workspace: WorkspaceId::parse("ws_1").unwrap(),
            mac: KeyMac::from_bytes([0; 32]),
            pepper_version: PepperVersion(1),
            hint: String::new(),
            state: KeyState::Active,
            policy: KeyPolicy::default(),
            created_at: Timestamp::from_secs(1),
            not_before: None,
            expires_at: Some(Timestamp::from_secs(1_000)),
            revocation: None,
            rotated_from: None,
            lineage: id,
            parent: None,
            deprecation: None,
            version: 1,
        }
    }

    fn cidrs(blocks: &[&str]) -> CidrList {
        CidrList::parse(blocks).unwrap()
    }

    fn strict() -> KeyRecord {
        let patch: KeyPatch = serde_json::from_value(serde_json::json!({
            "models": ["claude-haiku-*"], "endpoints": ["messages"], "limits": {"rpm": 60}, "max_uses": 10,
            "allow_ip": ["10.0.0.0/8"],
        }))
        .unwrap();
        patch.apply_to(&key(), Timestamp::from_secs(10)).unwrap()
    }

    fn judged(patch: serde_json::Value) -> Effect {
        let patch: KeyPatch = serde_json::from_value(patch).unwrap();
        let before = strict();
        effect(&before, &patch.apply_to(&before, Timestamp::from_secs(10)).unwrap())
    }

    #[test]
    fn narrowing_is_a_change_widening_a_grant_and_dropping_addresses_destroys() {
        use serde_json::json;
        for narrower in [
            json!({"name": "n"}),
            json!({"limits": {"rpm": 30}}),
            json!({"allow_ip": ["10.1.0.0/16"]}),
            json!({"models": ["claude-haiku-4-5"]}),
            json!({"max_uses": 5}),
            json!({"expires_at": 900_000_000}),
            json!({"limits": {"concurrency": 1, "itpm": 1_000, "tpd": 5}}),
        ] {
            assert_eq!(judged(narrower.clone()), Effect::Change, "{narrower}");
        }
        for wider in [
            json!({"limits": {"rpm": 61}}),
            json!({"limits": {"rpm": null}}),
            json!({"limits": {"rpd": 10_001}}),
            json!({"allow_ip": ["10.0.0.0/8", "192.0.2.1"]}),
            json!({"models": ["claude-*"]}),
            json!({"models": []}),
            json!({"endpoints": ["messages", "batches"]}),
            json!({"max_uses": null}),
            json!({"expires_at": null}),
            json!({"expires_at": 2_000_000_000}),
        ] {
            assert_eq!(judged(wider.clone()), Effect::Grant, "{wider}");
        }
        assert_eq!(judged(json!({"allow_ip": []})), Effect::Destroy);
        assert_eq!(judged(json!({"allow_ip": [], "name": "n"})), Effect::Destroy);
        let mut signed = strict();
        signed.policy.require = Proofs::NONE.with(Proof::Signature);
        assert_eq!(effect(&strict(), &signed), Effect::Change);
        assert_eq!(effect(&signed, &strict()), Effect::Destroy);
    }

    #[test]
    fn scopes_and_address_lists_of_an_open_key_can_only_shrink() {
        let open = key();
        let mut after = open.clone();
        after.policy.allow_ip = cidrs(&["10.0.0.0/8"]);
        after.policy.permissions.scopes = Scopes::parse(&["messages:read"]).unwrap_or(Scopes::ALL);
        assert_eq!(effect(&open, &after), Effect::Change);
    }
}
