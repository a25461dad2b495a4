//! What was billed: by minute, key and everything else that a report can be grouped by.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::prices;
use crate::seed::{Rng, hash};

/// Entries that are kept; the oldest minute goes first.
const MOST: usize = 200_000;
/// Keys that are remembered.
const MOST_KEYS: usize = 10_000;

/// A key that was seen, or that the ring holds.
#[derive(Debug, Clone)]
pub(crate) struct KnownKey {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Its two ends, as the API shows them.
    pub(crate) hint: String,
    pub(crate) workspace_id: String,
    pub(crate) created_ms: u64,
}

/// What an entry is filed under, beside its minute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    pub(crate) api_key_id: String,
    pub(crate) workspace_id: String,
    pub(crate) model: String,
    pub(crate) service_tier: String,
    pub(crate) inference_geo: String,
    pub(crate) speed: String,
    pub(crate) context_window: &'static str,
}

/// Tokens by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Pico-dollars by the classes of [`Counts::classes`], as each call is billed.
    pub(crate) pico: [u64; 6],
    pub(crate) uncached_input: u64,
    pub(crate) write_1h: u64,
    pub(crate) write_5m: u64,
    pub(crate) read: u64,
    pub(crate) output: u64,
    pub(crate) web_searches: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        for (sum, pico) in self.pico.iter_mut().zip(other.pico) {
            *sum += pico;
        }
        self.uncached_input += other.uncached_input;
        self.write_1h += other.write_1h;
        self.write_5m += other.write_5m;
        self.read += other.read;
        self.output += other.output;
        self.web_searches += other.web_searches;
    }

    /// Input, one-hour writes, five-minute writes, reads, output, web searches.
    pub(crate) const fn classes(&self) -> [u64; 6] {
        [self.uncached_input, self.write_1h, self.write_5m, self.read, self.output, self.web_searches]
    }

    /// From a usage object. With `iterations`, each of them is billed, and the top level is not.
    fn of(usage: &Value) -> Self {
        let mut sum = Self::default();
        match usage.get("iterations").and_then(Value::as_array).filter(|all| !all.is_empty()) {
            Some(iterations) => iterations.iter().for_each(|one| sum.add(Self::flat(one))),
            None => sum.add(Self::flat(usage)),
        }
        sum.web_searches = number(&usage["server_tool_use"], "web_search_requests");
        sum
    }

    pub(super) fn flat(usage: &Value) -> Self {
        let written = number(usage, "cache_creation_input_tokens");
        let split = &usage["cache_creation"];
        let write_1h = number(split, "ephemeral_1h_input_tokens");
        let write_5m = number(split, "ephemeral_5m_input_tokens");
        Self {
            uncached_input: number(usage, "input_tokens"),
            write_1h,
            // What is not split was written for five minutes.
            write_5m: if write_1h + write_5m == 0 { written } else { write_5m },
            read: number(usage, "cache_read_input_tokens"),
            output: number(usage, "output_tokens"),
            web_searches: 0,
            pico: [0; 6],
        }
    }
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or(0)
}

/// One call that is billed.
pub(crate) struct Bill<'a> {
    pub(crate) at_ms: u64,
    pub(crate) key: &'a str,
    pub(crate) workspace: &'a str,
    pub(crate) model: &'a str,
    /// The usage as it was sent, as JSON.
    pub(crate) usage: &'a str,
}

/// Everything that was billed since the start.
#[derive(Debug, Default)]
pub(crate) struct Books {
    entries: BTreeMap<(u64, Group), Counts>,
    keys: HashMap<String, KnownKey>,
}

/// The id that a key has.
fn id_of(key: &str) -> String {
    Rng::new(hash(key.as_bytes())).id("apikey_01")
}

/// The id that a workspace has in answers' headers, too.
fn workspace_id(name: &str) -> String {
    Rng::new(hash(name.as_bytes())).id("wrkspc_01")
}

impl Books {
    /// Remembers a key. Its name is its workspace's, if that has one.
    pub(crate) fn meet(&mut self, key: &str, workspace: &str, now_ms: u64) {
        if self.keys.contains_key(key) || self.keys.len() >= MOST_KEYS {
            return;
        }
        let id = id_of(key);
        let named = key != workspace;
        let name = if named { workspace.to_owned() } else { format!("key {}", id.get(9..15).unwrap_or("")) };
        let (head, tail) = (key.get(..16), key.get(key.len().saturating_sub(4)..));
        let hint = format!("{}...{}", head.unwrap_or(""), tail.unwrap_or(""));
        let known = KnownKey { id, name, hint, workspace_id: workspace_id(workspace), created_ms: now_ms };
        self.keys.insert(key.to_owned(), known);
    }

    /// The keys, newest first.
    pub(crate) fn keys(&self) -> Vec<&KnownKey> {
        let mut keys: Vec<&KnownKey> = self.keys.values().collect();
        keys.sort_by(|a, b| (b.created_ms, &b.id).cmp(&(a.created_ms, &a.id)));
        keys
    }

    pub(crate) fn bill(&mut self, bill: &Bill<'_>) {
        self.meet(bill.key, bill.workspace, bill.at_ms);
        let usage: Value = serde_json::from_str(bill.usage).unwrap_or_default();
        let mut counts = Counts::of(&usage);
        counts.pico = prices::bill(bill.model, &usage, Counts::flat);
        let text = |field: &str, usual: &str| usage[field].as_str().unwrap_or(usual).to_owned();
        let prompt = counts.uncached_input + counts.write_1h + counts.write_5m + counts.read;
        let group = Group {
            api_key_id: id_of(bill.key),
            workspace_id: workspace_id(bill.workspace),
            model: bill.model.to_owned(),
            service_tier: text("service_tier", "standard"),
            inference_geo: text("inference_geo", "global"),
            speed: text("speed", "standard"),
            context_window: if prompt > 200_000 { "200k-1M" } else { "0-200k" },
        };
        self.entries.entry((bill.at_ms / 60_000, group)).or_default().add(counts);
        while self.entries.len() > MOST {
            self.entries.pop_first();
        }
    }

    /// What was billed from the first moment on, before the second.
    pub(crate) fn between(&self, from_ms: u64, until_ms: u64) -> impl Iterator<Item = (&Group, &Counts)> {
        let (from, until) = (from_ms / 60_000, until_ms.div_ceil(60_000));
        let after = self.entries.iter().skip_while(move |((minute, _), _)| *minute < from);
        after.take_while(move |((minute, _), _)| *minute < until).map(|((_, group), counts)| (group, counts))
    }
}
