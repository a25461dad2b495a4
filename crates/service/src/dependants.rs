//! What used a key and will miss it: open rotations, wrapped deliveries, addresses and programs last seen, child keys.

use claviger_domain::{
    audit::AuditEvent,
    clock::{MICROS_PER_DAY, Timestamp},
    id::{KeyId, RotationId},
    key::{KeyRecord, KeyUse},
    ports::{ClientUse, LedgerStore, Store, lifecycle::RotationFilter},
};
use serde_json::Value;

use crate::ServiceError;

/// How far back the ledger is looked through, in days.
const DAYS: i64 = 30;
/// How many of its newest rows.
const ROWS: u32 = 20_000;
/// How many addresses and programs are named.
const MOST_CLIENTS: usize = 20;
/// Open rotations of one key: it is the old one of one and the successor of another, at most.
const MOST_ROTATIONS: u32 = 4;
/// The detail of an audit record that names the child keys that died with their parent.
pub(crate) const CHILDREN: &str = "children";

/// What depends on a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Dependants {
    pub(crate) used: KeyUse,
    clients: Vec<ClientUse>,
    rotations: Vec<RotationId>,
    wrapped: bool,
}

impl Dependants {
    /// In words, for people and certificates.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.rotations.iter().map(|id| format!("rotation {id}")).collect();
        if self.wrapped {
            words.push("a wrapped delivery that nobody opened".to_owned());
        }
        let named = |client: &&ClientUse| !client.client_ip.is_empty() || !client.user_agent.is_empty();
        let clients = self.clients.iter().filter(named).take(MOST_CLIENTS);
        words.extend(clients.map(|c| client(&c.client_ip, &c.user_agent, Some(c.last_used_at))));
        if self.clients.is_empty() && self.used.last_used_at.is_some() {
            let (ip, agent) = (self.used.last_used_ip.as_deref(), self.used.last_user_agent.as_deref());
            words.push(client(ip.unwrap_or_default(), agent.unwrap_or_default(), self.used.last_used_at));
        }
        words
    }
}

fn client(ip: &str, agent: &str, last: Option<Timestamp>) -> String {
    let ip = if ip.is_empty() { "unknown address" } else { ip };
    let agent = if agent.is_empty() { String::new() } else { format!(" ({agent})") };
    let last = last.map(|at| format!(", last seen {}", at.to_rfc3339())).unwrap_or_default();
    format!("{ip}{agent}{last}")
}

/// Finds what depends on a key. Every read is bounded.
pub(crate) async fn find(
    store: &dyn Store,
    ledger: &dyn LedgerStore,
    key: &KeyRecord,
) -> Result<Dependants, ServiceError> {
    let used = store.key_uses(std::slice::from_ref(&key.id)).await?.pop().map(|(_, used)| used);
    let used = used.unwrap_or_default();
    let filter =
        RotationFilter { key: Some(key.id.clone()), open: true, limit: MOST_ROTATIONS, ..Default::default() };
    let rotations = store.rotations(&filter).await?.into_iter().map(|r| r.id).collect();
    let wrapped = store.wrapping_of(&key.id).await?.is_some_and(|w| w.opened.is_none());
    let clients = match used.last_used_at {
        None => Vec::new(),
        Some(last) => {
            let since = last.plus_micros(-DAYS * MICROS_PER_DAY);
            ledger.clients_since(std::slice::from_ref(&key.id), since, ROWS).await?.seen
        }
    };
    Ok(Dependants { used, clients, rotations, wrapped })
}

/// The child keys that an audit record names, in words; none of them when it is a child's own.
pub(crate) fn children_of(event: &AuditEvent, key: &KeyId) -> Vec<String> {
    if event.key != key.as_str() {
        return Vec::new();
    }
    let ids = event.details.get(CHILDREN).and_then(Value::as_array);
    ids.into_iter().flatten().filter_map(Value::as_str).map(|id| format!("child key {id}")).collect()
}
