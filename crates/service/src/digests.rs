//! What was before and what is after, as digests in the audit record: enough to prove, too little to leak.

use claviger_domain::audit::{AuditEvent, Digest};
use serde_json::Value;

/// The event with `details.before` and `details.after`: SHA-256, hex, of the canonical records. They hold no secrets.
pub(crate) fn with(event: AuditEvent, before: Option<&Value>, after: Option<&Value>) -> AuditEvent {
    let event = before.into_iter().fold(event, |event, value| event.with("before", of(value).to_hex()));
    after.into_iter().fold(event, |event, value| event.with("after", of(value).to_hex()))
}

fn of(value: &Value) -> Digest {
    // Every canonical record names its fields in alphabetical order.
    Digest::of(value.to_string().as_bytes())
}
