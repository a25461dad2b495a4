//! The bytes that are hashed: one unambiguous form of an event, a ledger row and a data record.
//!
//! Every form begins with its name and version. Numbers are eight bytes, big-endian; texts and lists are preceded by
//! their length or count; what may be missing by 0 or 1. So no two different values share their bytes. Each function
//! takes its value apart by name: a new field does not compile until it is covered, under a new version.

use serde_json::Value;

use crate::{
    audit::{Actor, AuditEvent, DataRecord},
    budget::Charge,
    ledger::{BatchItem, LedgerRow, Party, Recalled, Route, UsageCounts},
    signature::SignedBy,
};

const EVENT: &str = "claviger/audit-event/v1";
const ROW: &str = "claviger/ledger-row/v1";
/// Of a row that counts against budgets: the same, and then those.
const CHARGED_ROW: &str = "claviger/ledger-row/v2";
/// Of a signed request's row: the same with those, be they none, and then what signed.
const SIGNED_ROW: &str = "claviger/ledger-row/v3";
/// Of a row that was answered out of the response cache: the same with those, be they none, and then whose answer it
/// was.
const RECALLED_ROW: &str = "claviger/ledger-row/v4";
const DATA: &str = "claviger/data-record/v1";

/// Collects the bytes.
#[derive(Debug, Default)]
pub(crate) struct Canonical(Vec<u8>);

impl Canonical {
    pub(crate) fn new(form: &str) -> Self {
        let mut out = Self(Vec::with_capacity(512));
        out.text(form);
        out
    }

    pub(crate) fn int(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn count(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub(crate) fn optional(&mut self, value: Option<&str>) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            self.text(value);
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn actor(&mut self, actor: &Actor) {
        match actor {
            Actor::Local { uid, pid } => {
                self.text("local");
                self.int(i64::from(*uid));
                self.int(i64::from(*pid));
            }
            Actor::System => self.text("system"),
            Actor::Operator { id, name } => {
                self.text("operator");
                self.text(id);
                self.text(name);
            }
            Actor::Key { id } => {
                self.text("key");
                self.text(id);
            }
            Actor::Anonymous => self.text("anonymous"),
        }
    }

    fn json(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.push(b'n'),
            Value::Bool(flag) => self.0.extend_from_slice(&[b'b', u8::from(*flag)]),
            Value::Number(number) => {
                self.0.push(b'd');
                self.text(&number.to_string());
            }
            Value::String(text) => {
                self.0.push(b's');
                self.text(text);
            }
            Value::Array(items) => {
                self.0.push(b'a');
                self.count(items.len() as u64);
                for item in items {
                    self.json(item);
                }
            }
            Value::Object(members) => self.object(members),
        }
    }

    /// Members sorted by the bytes of their names, in whatever order they were built or read.
    fn object(&mut self, members: &serde_json::Map<String, Value>) {
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_unstable_by_key(|(name, _)| name.as_bytes());
        self.0.push(b'o');
        self.count(sorted.len() as u64);
        for (name, value) in sorted {
            self.text(name);
            self.json(value);
        }
    }

    fn party(&mut self, party: &Party) {
        let Party { key, workspace, owner, class } = party;
        self.text(key.as_str());
        self.text(workspace.as_str());
        self.text(owner.as_str());
        self.text(class.as_str());
    }

    fn route(&mut self, route: &Route) {
        let Route { upstream, credential } = route;
        self.optional(upstream.as_ref().map(|id| id.as_str()));
        self.optional(credential.as_ref().map(|id| id.as_str()));
    }

    fn batch_item(&mut self, item: Option<&BatchItem>) {
        self.0.push(u8::from(item.is_some()));
        if let Some(BatchItem { batch, custom_id }) = item {
            self.text(batch);
            self.text(custom_id);
        }
    }

    fn usage(&mut self, usage: &UsageCounts) {
        let UsageCounts {
            input_tokens,
            cache_write_5m_tokens,
            cache_write_1h_tokens,
            cache_read_tokens,
            output_tokens,
            web_search_requests,
        } = usage;
        for count in [
            input_tokens,
            cache_write_5m_tokens,
            cache_write_1h_tokens,
            cache_read_tokens,
            output_tokens,
            web_search_requests,
        ] {
            self.count(*count);
        }
    }
}

/// An event of the control chain.
#[must_use]
pub fn event_bytes(event: &AuditEvent) -> Vec<u8> {
    let AuditEvent {
        at,
        actor,
        action,
        target,
        outcome,
        key,
        api_endpoint,
        request_id,
        client_ip,
        token_scope,
        user_agent,
        details,
    } = event;
    let mut out = Canonical::new(EVENT);
    out.int(at.as_micros());
    out.actor(actor);
    for text in [action, target, outcome, key, api_endpoint, request_id, client_ip, token_scope, user_agent] {
        out.text(text);
    }
    out.object(details);
    out.finish()
}

/// A ledger row.
#[must_use]
pub fn row_bytes(row: &LedgerRow) -> Vec<u8> {
    let LedgerRow {
        request_id,
        intent,
        party,
        route,
        batch,
        at,
        endpoint,
        api_endpoint,
        model,
        status,
        outcome,
        flags,
        usage,
        cost,
        attempts,
        upstream_request_id,
        first_byte_us,
        duration_us,
        client_ip,
        user_agent,
        token_scope,
        detail,
        charges,
        signed,
        recalled,
    } = row;
    let mut out = Canonical::new(match (recalled, signed, charges.is_empty()) {
        (Some(_), _, _) => RECALLED_ROW,
        (None, Some(_), _) => SIGNED_ROW,
        (None, None, false) => CHARGED_ROW,
        (None, None, true) => ROW,
    });
    out.text(request_id.as_str());
    out.optional(intent.as_ref().map(|id| id.as_str()));
    out.party(party);
    out.route(route);
    out.batch_item(batch.as_ref());
    out.int(at.as_micros());
    out.text(endpoint.as_str());
    out.text(api_endpoint);
    out.text(model);
    out.int(i64::from(*status));
    out.text(outcome.as_str());
    out.int(i64::from(flags.0));
    out.usage(usage);
    out.int(cost.as_pico());
    out.int(i64::from(*attempts));
    out.optional(upstream_request_id.as_deref());
    out.int(*first_byte_us);
    out.int(*duration_us);
    for text in [client_ip, user_agent, token_scope, detail] {
        out.text(text);
    }
    if recalled.is_some() || signed.is_some() || !charges.is_empty() {
        out.count(charges.len() as u64);
        for Charge { budget, window } in charges {
            out.text(budget.as_str());
            out.int(window.as_micros());
        }
    }
    if recalled.is_some() {
        out.0.push(u8::from(signed.is_some()));
    }
    if let Some(SignedBy { profile, secret, role }) = signed {
        out.text(profile.as_str());
        out.text(secret.as_str());
        out.text(role.as_str());
    }
    if let Some(Recalled { call, saved }) = recalled {
        out.text(call.as_str());
        out.int(saved.as_pico());
    }
    out.finish()
}

/// What a link of a data chain commits to: everything in the record but its number and head, which the link itself
/// covers. The record's time and row count stay proven when its rows are gone.
#[must_use]
pub fn data_bytes(record: &DataRecord) -> Vec<u8> {
    let DataRecord { chain, number: _, at, rows, leaf, head: _ } = record;
    let mut out = Canonical::new(DATA);
    out.text(chain.as_str());
    out.int(at.as_micros());
    out.int(*rows);
    out.bytes(&leaf.0);
    out.finish()
}

#[cfg(test)]
pub(crate) mod tests;
