//! Messages that go into one group, and how they become it.

use std::collections::{HashMap, HashSet};

use super::sift::LeftOut;
use claviger_domain::{
    clock::Timestamp,
    id::{IntentId, NodeId},
    ledger::{Group, Intent, LedgerRow, Outcome, RowFlags, UsageCounts},
    ports::ChainHead,
    tenancy::Resource,
};
use serde::{Deserialize, Serialize};

/// What has gathered for the next group.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) intents: Vec<Intent>,
    pub(super) rows: Vec<LedgerRow>,
    pub(super) released: Vec<IntentId>,
    pub(super) resources: Vec<Resource>,
    /// Intents whose slot was dropped: nobody knows how their calls ended.
    pub(super) abandoned: Vec<IntentId>,
    /// Slots that are free once this is durable.
    pub(super) freed: usize,
    /// Where the part of each message ends.
    pub(super) ends: Vec<End>,
}

/// How long the lists were after a message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    intents: usize,
    rows: usize,
    resources: usize,
}

/// The messages of which something is left out of their group, in their order. Intents may have moved in the group: all
/// messages with one are meant then. (None is refused by itself, as the store keeps them as bytes.)
pub(super) fn touched(ends: &[End], left_out: &LeftOut) -> Vec<usize> {
    let mut before = End::default();
    let mut touched = Vec::new();
    for (message, end) in ends.iter().enumerate() {
        let rows = left_out.rows.iter().any(|i| (before.rows..end.rows).contains(i));
        let resources = left_out.resources.iter().any(|i| (before.resources..end.resources).contains(i));
        if rows || resources || !left_out.intents.is_empty() && end.intents > before.intents {
            touched.push(message);
        }
        before = *end;
    }
    touched
}

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        let Self { intents, rows, released, resources, abandoned, freed, ends: _ } = self;
        intents.is_empty()
            && rows.is_empty()
            && released.is_empty()
            && resources.is_empty()
            && abandoned.is_empty()
            && *freed == 0
    }

    /// A message ends here; its number.
    pub(super) fn end_message(&mut self) -> usize {
        self.ends.push(End {
            intents: self.intents.len(),
            rows: self.rows.len(),
            resources: self.resources.len(),
        });
        self.ends.len() - 1
    }

    /// An empty one that will likely hold as much without growing.
    pub(super) fn room_for_another(&self) -> Self {
        Self {
            intents: Vec::with_capacity(self.intents.len()),
            rows: Vec::with_capacity(self.rows.len()),
            ends: Vec::with_capacity(self.ends.len()),
            ..Self::default()
        }
    }
}

/// What one group holds, as it stands in a spool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Content {
    at: Timestamp,
    intents: Vec<Intent>,
    rows: Vec<LedgerRow>,
    released: Vec<IntentId>,
    resources: Vec<Resource>,
}

impl Content {
    /// The group that comes after `head` in its chain.
    pub(super) fn into_group(self, chain: NodeId, head: ChainHead) -> Group {
        let Self { at, intents, rows, released, resources } = self;
        let (number, previous) = (head.length.saturating_add(1), head.head);
        Group { chain, number, at, previous, intents, rows, released, resources }
    }
}

/// The same, borrowed for writing.
#[derive(Debug, Serialize)]
pub(super) struct ContentRef<'a> {
    at: Timestamp,
    intents: &'a [Intent],
    rows: &'a [LedgerRow],
    released: &'a [IntentId],
    resources: &'a [Resource],
}

impl<'a> ContentRef<'a> {
    pub(super) fn of(group: &'a Group) -> Self {
        let Group { chain: _, number: _, at, previous: _, intents, rows, released, resources } = group;
        Self { at: *at, intents, rows, released, resources }
    }
}

/// The intents that are durable and neither settled nor released: at most as many as there are slots.
#[derive(Debug, Default)]
pub(super) struct OpenIntents(HashMap<IntentId, Intent>);

impl OpenIntents {
    /// Fills a group with what has gathered. An intent that is already settled or released within the same group is left out:
    /// its row says all.
    pub(super) fn settle(&mut self, gathered: Gathered, empty: Group) -> Group {
        let at = empty.at;
        let Gathered { mut intents, mut rows, mut released, resources, abandoned, freed: _, ends: _ } =
            gathered;
        for id in abandoned {
            let intent = intents.iter().find(|i| i.id == id).or_else(|| self.0.get(&id));
            rows.extend(intent.map(|intent| unknown_row(intent, at, "abandoned")));
        }
        let ended = rows.iter().filter_map(|row| row.intent.as_ref()).chain(&released);
        let within: HashSet<IntentId> = ended.filter(|id| self.0.remove(*id).is_none()).cloned().collect();
        if !within.is_empty() {
            let present = intents.len();
            intents.retain(|intent| !within.contains(&intent.id));
            if intents.len() < present {
                released.retain(|id| !within.contains(id));
            }
        }
        Group { intents, rows, released, resources, ..empty }
    }

    /// These are durable now, or will be before any later group.
    pub(super) fn remember(&mut self, intents: impl IntoIterator<Item = Intent>) {
        self.0.extend(intents.into_iter().map(|intent| (intent.id.clone(), intent)));
    }
}

/// The row for a call whose end nobody knows: charged at its reservation.
pub(crate) fn unknown_row(intent: &Intent, now: Timestamp, detail: &str) -> LedgerRow {
    LedgerRow {
        request_id: intent.request_id.clone(),
        intent: Some(intent.id.clone()),
        party: intent.party.clone(),
        route: intent.route.clone(),
        batch: None,
        at: intent.at,
        endpoint: intent.endpoint,
        api_endpoint: intent.api_endpoint.clone(),
        model: intent.model.clone(),
        status: 0,
        outcome: Outcome::Unknown,
        flags: RowFlags::default(),
        usage: UsageCounts::default(),
        cost: intent.reservation,
        attempts: intent.attempt,
        upstream_request_id: None,
        first_byte_us: 0,
        duration_us: now.micros_since(intent.at).max(0),
        client_ip: intent.client_ip.clone(),
        user_agent: String::new(),
        token_scope: String::new(),
        detail: detail.to_owned(),
        charges: intent.charges.clone(),
        signed: None,
        recalled: None,
    }
}
