//! What was given to the provider's batch API, as the journal knows it.

use std::collections::{BTreeMap, HashSet};

use claviger_domain::clock::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// Requests that were given away together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// Its number in the run, from 1.
    pub number: u32,
    /// `custom_id` and fingerprint of each of its requests, in their order.
    pub requests: Vec<(String, String)>,
    /// When it was about to be sent.
    pub begun: Timestamp,
    /// How far it has come.
    pub state: State,
}

/// How far a portion has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was about to be sent: nobody knows whether it was.
    Sent,
    /// The provider has it.
    Created {
        /// As this batch.
        batch: String,
        /// It was found in the list, and is only believed to be this one.
        found: bool,
    },
    /// Over: its results are in the journal, or it was never taken.
    Over,
}

/// All of a journal's portions.
#[derive(Debug, Default)]
pub struct Portions {
    all: BTreeMap<u32, Portion>,
    /// Batches that were taken for one of these, and are none.
    strange: HashSet<String>,
}

/// A line about a portion.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Sending { number: u32, at: String, requests: Vec<(String, String)> },
    Created { number: u32, batch: String, found: bool },
    Strange { number: u32, batch: String },
    Over { number: u32 },
}

/// A portion is about to be sent.
pub fn sending(portion: &Portion) -> Value {
    let at = portion.begun.to_rfc3339();
    json!({"sending": {"number": portion.number, "at": at, "requests": portion.requests}})
}

/// The provider has a portion.
pub fn created(number: u32, batch: &str, found: bool) -> Value {
    json!({"created": {"number": number, "batch": batch, "found": found}})
}

/// A batch was not the portion that it was taken for.
pub fn strange(number: u32, batch: &str) -> Value {
    json!({"strange": {"number": number, "batch": batch}})
}

/// Nothing more comes of a portion.
pub fn over(number: u32) -> Value {
    json!({"over": {"number": number}})
}

impl Portions {
    /// Takes in what a line says; `None`: it says nothing.
    pub fn learn(&mut self, line: Value) -> Option<()> {
        match serde_json::from_value(line).ok()? {
            Told::Sending { number, at, requests } => {
                let begun = Timestamp::parse_rfc3339(&at)?;
                self.all.insert(number, Portion { number, requests, begun, state: State::Sent });
            }
            Told::Created { number, batch, found } => {
                self.all.get_mut(&number)?.state = State::Created { batch, found };
            }
            Told::Strange { number, batch } => {
                self.all.get_mut(&number)?.state = State::Sent;
                self.strange.insert(batch);
            }
            Told::Over { number } => self.all.get_mut(&number)?.state = State::Over,
        }
        Some(())
    }

    /// Those of which something is still to come.
    pub fn open(&self) -> impl Iterator<Item = &Portion> {
        self.all.values().filter(|portion| portion.state != State::Over)
    }

    /// The number of the next one.
    pub fn next(&self) -> u32 {
        self.all.keys().next_back().map_or(1, |last| last + 1)
    }

    /// Whether a batch is known: as a portion, or as none.
    pub fn knows(&self, batch: &str) -> bool {
        let is_it = |state: &State| matches!(state, State::Created { batch: known, .. } if known == batch);
        self.strange.contains(batch) || self.all.values().any(|portion| is_it(&portion.state))
    }
}
