//! What digests of keys are made of.

use claviger_domain::{clock::Timestamp, key::KeyRecord};
use serde_json::{Value, json};

use super::wish::as_json;

/// All that is known of a key but what proves it, and its row version: what a change leaves is what the next one finds.
pub(crate) fn canonical(key: &KeyRecord) -> Value {
    let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    json!({
        "class": key.class.as_str(),
        "created_at": key.created_at.as_micros(),
        "deprecation": as_json(&key.deprecation),
        "expires_at": micros(key.expires_at),
        "id": key.id.as_str(),
        "lineage": key.lineage.as_str(),
        "name": key.name,
        "not_before": micros(key.not_before),
        "owner": key.owner.as_str(),
        "parent": key.parent.as_ref().map(claviger_domain::id::KeyId::as_str),
        "policy": as_json(&key.policy),
        "revocation": as_json(&key.revocation),
        "rotated_from": key.rotated_from.as_ref().map(claviger_domain::id::KeyId::as_str),
        "state": key.state.as_str(),
        "workspace": key.workspace.as_str(),
    })
}
