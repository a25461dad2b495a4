//! Stage 7, reserve, the tokens: what a call may take is held at the limits that count tokens before it is sent.
//!
//! Of the output that is `max_tokens`, which no answer passes. The input is estimated: a token for every three bytes of
//! the body, the most that an image can take for each image, and the model's whole window where something is only
//! named and the provider fetches it. As soon as the provider says how much it was, that is counted instead.

use claviger_claude_wire::usage::Usage;
use claviger_domain::{
    ledger::UsageCounts,
    limit::{Bucket, Tokens},
    permission::Endpoint,
};

use crate::{
    admit::{Admission, LimitReached},
    authorize::{Payload, Permit},
    recall::Miss,
    worker::Shared,
};

/// Bytes of a body that are taken for one token. Plain English has four, code and other languages fewer.
const BYTES_A_TOKEN: u64 = 3;

/// Holds what the call may take.
///
/// # Errors
/// [`LimitReached`]; the request has taken nothing then.
pub fn hold(shared: &Shared, permit: &Permit, mut miss: Miss) -> Result<Miss, LimitReached> {
    if !miss.admission().admitted.counts_tokens() {
        return Ok(miss);
    }
    let Some(ask) = ask(shared, permit) else { return Ok(miss) };
    let now = shared.clock.now();
    match miss.admission().admitted.hold(ask, now) {
        Ok(()) => Ok(miss),
        Err(exceeded) => {
            let (Admission { admitted, slot }, _) = miss.into_parts();
            slot.release();
            admitted.refused();
            Err(LimitReached::new(&permit.caller.live, Bucket::Work, exceeded, now))
        }
    }
}

/// What a call may take; `None`: it is none of a model.
fn ask(shared: &Shared, permit: &Permit) -> Option<Tokens> {
    let Payload::Message { body, facts } = &permit.payload else { return None };
    if permit.head.operation.endpoint() != Endpoint::Messages {
        return None;
    }
    let prices = shared.prices.load();
    let exposure = facts.exposure(&body.bytes);
    let text = (body.bytes.len() as u64).saturating_sub(exposure.image_bytes).div_ceil(BYTES_A_TOKEN);
    let images = exposure.images.saturating_mul(prices.image_tokens());
    let window = if exposure.whole_window {
        prices.row(&facts.model, permit.head.at.as_micros()).map_or(u64::MAX, |row| row.context_window)
    } else {
        0
    };
    let input = text.saturating_add(images).max(window);
    Some(Tokens { input, output: facts.max_tokens.unwrap_or(0) })
}

/// What limits count of a usage: what was read from the cache is not in it.
#[must_use]
pub const fn counted(usage: &UsageCounts) -> Tokens {
    let written = usage.cache_write_5m_tokens.saturating_add(usage.cache_write_1h_tokens);
    Tokens { input: usage.input_tokens.saturating_add(written), output: usage.output_tokens }
}

/// The input of what a stream has told so far, counted likewise.
#[must_use]
pub fn counted_input(usage: &Usage) -> u64 {
    let counts = usage.billed_counts();
    counts.input.saturating_add(counts.cache_write_5m).saturating_add(counts.cache_write_1h)
}
