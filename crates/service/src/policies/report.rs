//! Which living keys break their workspace's policy, how, and what follows for them.

use std::collections::HashMap;

use claviger_domain::{
    clock::Timestamp,
    id::{KeyId, OwnerId, WorkspaceId},
    key::{KeyRecord, KeyState, KeyUse},
    policy::{Breach, Consequence, Policy, Rule, last_use_of_line},
    ports::{KeyFilter, Store},
};

use super::PolicyBook;
use crate::ServiceError;

/// How many breaches are named; of all others only the number is given.
pub const MOST_SHOWN: usize = 100;
/// Keys that are read at a time.
const PAGE: u32 = 1_000;

/// A rule that a living key breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenRule {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: OwnerId,
    /// Where it belongs.
    pub workspace: WorkspaceId,
    /// Which rule, and what follows.
    pub breach: Breach,
}

/// What a policy finds wrong with the keys that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BreachReport {
    /// How many living keys were held against it.
    pub examined: u64,
    /// How many breaches there are.
    pub total: u64,
    /// The first of them, by the creation of their keys.
    pub first: Vec<BrokenRule>,
}

impl BreachReport {
    fn add(&mut self, key: &KeyRecord, breach: Breach) {
        self.total += 1;
        if self.first.len() < MOST_SHOWN {
            self.first.push(BrokenRule {
                key: key.id.clone(),
                name: key.name.clone(),
                owner: key.owner.clone(),
                workspace: key.workspace.clone(),
                breach,
            });
        }
    }
}

/// What is known of the line that a key stands in.
#[derive(Clone, Copy, Default)]
struct Line {
    last_used: Option<Timestamp>,
    /// A living key before it was counted for the line.
    is_counted: bool,
}

/// Lines of keys that an owner has in a workspace.
type Counts = HashMap<(OwnerId, WorkspaceId), u32>;

/// Goes through the living keys that a policy holds for, a page at a time: of one workspace, or of all that have no
/// policy of their own.
pub(super) async fn make(
    store: &dyn Store,
    book: &PolicyBook,
    workspace: Option<&WorkspaceId>,
    now: Timestamp,
) -> Result<BreachReport, ServiceError> {
    let mut report = BreachReport::default();
    let mut counts = Counts::new();
    let mut filter = KeyFilter { workspace: workspace.cloned(), limit: PAGE, ..KeyFilter::default() };
    loop {
        let page = store.keys(&filter).await?;
        let Some(last) = page.last() else { return Ok(report) };
        filter.after = Some(last.id.clone());
        let is_last = page.len() < PAGE as usize;
        let concerned = |key: &KeyRecord| workspace.is_some() || !book.own.contains_key(&key.workspace);
        let living: Vec<KeyRecord> =
            page.into_iter().filter(|key| concerned(key) && is_living(key, now)).collect();
        let lines = lines(store, &living, now).await?;
        for key in &living {
            report.examined += 1;
            let policy = book.of_workspace(&key.workspace);
            let line = lines.get(&key.id).copied().unwrap_or_default();
            if let Some(breach) = beyond_the_cap(&mut counts, policy, key, line) {
                report.add(key, breach);
            }
            for breach in policy.breaches(key, line.last_used, now) {
                report.add(key, breach);
            }
        }
        if is_last {
            return Ok(report);
        }
    }
}

fn is_living(key: &KeyRecord, now: Timestamp) -> bool {
    matches!(key.state, KeyState::Active | KeyState::Suspended) && key.expires_at.is_none_or(|at| at > now)
}

/// Keys beyond the cap go on; only new ones are refused. A successor is of the line of the key before it.
fn beyond_the_cap(counts: &mut Counts, policy: &Policy, key: &KeyRecord, line: Line) -> Option<Breach> {
    if key.parent.is_some() || line.is_counted {
        return None;
    }
    let count = counts.entry((key.owner.clone(), key.workspace.clone())).or_default();
    *count += 1;
    let breach = Breach { rule: Rule::MaxKeys, consequence: Consequence::Reported, at: None };
    (*count > policy.max_keys).then_some(breach)
}

async fn lines(
    store: &dyn Store,
    keys: &[KeyRecord],
    now: Timestamp,
) -> Result<HashMap<KeyId, Line>, ServiceError> {
    let ids: Vec<KeyId> = keys.iter().map(|key| key.id.clone()).collect();
    let mut lines: HashMap<KeyId, Line> = HashMap::with_capacity(ids.len());
    for (id, used) in store.key_uses(&ids).await? {
        lines.insert(id, Line { last_used: used.last_used_at, is_counted: false });
    }
    for key in keys.iter().filter(|key| key.rotated_from.is_some()) {
        let line = store.lineage(&key.lineage).await?;
        let is_counted = line.iter().take_while(|k| k.id != key.id).any(|k| is_living(k, now));
        let ids: Vec<KeyId> = line.into_iter().map(|k| k.id).collect();
        let uses: Vec<KeyUse> = store.key_uses(&ids).await?.into_iter().map(|(_, used)| used).collect();
        lines.insert(key.id.clone(), Line { last_used: last_use_of_line(&uses), is_counted });
    }
    Ok(lines)
}
