//! The items of a batch, and what becomes of them.

use bytes::Bytes;

use super::{Batch, Results};
use crate::admin::books::Bill;
use crate::directive::shape::Outcome;
use crate::error::{ApiError, overloaded, quoted};
use crate::log::{Ending, Inference, Line};
use crate::messages;
use crate::seed::{Rng, combine, hash};
use crate::simulator::Core;

/// One request of a batch.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) custom_id: String,
    pub(super) params: Bytes,
    pub(super) outcome: Outcome,
}

impl Item {
    pub(super) fn bytes(&self) -> usize {
        self.params.len() + self.custom_id.len()
    }
}

/// Makes the results: one line for each item, not in the order of the requests, as the API has it.
pub(super) fn finish(core: &Core, batch: &Batch) -> Results {
    let mut results = Results { jsonl: Bytes::new(), succeeded: 0, errored: 0, canceled: 0, expired: 0 };
    let mut jsonl = String::new();
    let through = batch.finished_before_cancel();
    let seed = combine(core.config.seed, hash(batch.id.as_bytes()));
    for (at, item) in batch.items.iter().enumerate().rev() {
        let mut ids = Rng::new(combine(seed, u64::try_from(at).unwrap_or(0)));
        let full = jsonl.len() > core.config.limits.workspace_bytes;
        let outcome = match (at < through, full) {
            (false, _) => Outcome::Canceled,
            (true, true) => Outcome::Errored,
            (true, false) => item.outcome,
        };
        let result = match outcome {
            Outcome::Canceled => {
                results.canceled += 1;
                r#"{"type":"canceled"}"#.to_owned()
            }
            Outcome::Expired => {
                results.expired += 1;
                r#"{"type":"expired"}"#.to_owned()
            }
            Outcome::Errored => {
                results.errored += 1;
                errored(&ApiError::new(overloaded(), "Simulated error of a batch item"), &mut ids)
            }
            Outcome::Succeeded => match messages::batch_item(core, &item.params, &batch.version, &mut ids) {
                Ok((message, inference)) => {
                    results.succeeded += 1;
                    if inference.billed {
                        core.bill(&Bill {
                            at_ms: batch.ends_ms(),
                            key: &batch.billed_to.0,
                            workspace: &batch.billed_to.1,
                            model: &inference.model,
                            usage: inference.usage.get(),
                        });
                    }
                    note(core, batch, item, inference);
                    format!(r#"{{"type":"succeeded","message":{message}}}"#)
                }
                Err(error) => {
                    results.errored += 1;
                    errored(&error, &mut ids)
                }
            },
        };
        jsonl.push_str(&format!(r#"{{"custom_id":{},"result":{result}}}"#, quoted(&item.custom_id)));
        jsonl.push('\n');
    }
    results.jsonl = jsonl.into();
    results
}

fn errored(error: &ApiError, ids: &mut Rng) -> String {
    format!(r#"{{"type":"errored","error":{}}}"#, error.envelope(&ids.id("req_011C")))
}

/// The log line of an item that was billed.
fn note(core: &Core, batch: &Batch, item: &Item, mut inference: Inference) {
    if !core.log.is_on() {
        return;
    }
    inference.batch_id = Some(batch.id.clone());
    inference.custom_id = Some(item.custom_id.clone());
    core.log.write(&Line {
        kind: "batch_item",
        seq: core.next_seq(),
        at_ms: batch.ends_ms(),
        method: String::new(),
        path: String::new(),
        query: None,
        route: "batch.item",
        headers: Vec::new(),
        body_bytes: item.params.len(),
        body_sha256: String::new(),
        request_id: String::new(),
        workspace: None,
        fault: None,
        status: 200,
        ending: Ending::Completed,
        sent_events: 0,
        sent_bytes: 0,
        inference: Some(inference),
    });
}
