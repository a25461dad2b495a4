//! Stage 11, settle: what a call used and cost, and its row in the ledger.

use std::borrow::Cow;

use claviger_claude_wire::{
    price::{CallKind, PriceTable},
    sse::StreamMeter,
    usage::{MessageSummary, Speed, TokenCounts, Usage},
};
use claviger_domain::{
    clock::Timestamp,
    ledger::{Outcome, Recalled, RowFlags, UsageCounts},
    money::PicoUsd,
    tenancy::Resource,
};

use crate::{
    forward::{ForwardError, may_be_billed},
    recall::Part,
    reserve::Lease,
};

/// How a request ended, and what is to be written of it.
#[derive(Debug)]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// The status that the client got; 0: none.
    pub status: u16,
    /// Marks.
    pub flags: RowFlags,
    /// The model that was billed; `None`: the one that was asked for.
    pub model: Option<String>,
    /// What was used.
    pub usage: UsageCounts,
    /// What it costs.
    pub cost: PicoUsd,
    /// The upstream's id of the answer.
    pub upstream_request_id: Option<String>,
    /// From arrival to the first byte of the answer, in microseconds.
    pub first_byte_us: i64,
    /// What was made at the provider.
    pub made: Vec<Resource>,
    /// Whose answer it was given, out of the response cache.
    pub recalled: Option<Recalled>,
    /// The refusal's reason or the upstream's error type.
    pub detail: Cow<'static, str>,
}

/// What a call is billed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The model that was billed.
    pub model: Option<String>,
    /// What was used.
    pub usage: UsageCounts,
    /// What it costs.
    pub cost: PicoUsd,
    /// Marks.
    pub flags: RowFlags,
}

impl Ending {
    /// An ending of which nothing else is known.
    #[must_use]
    pub const fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            status: 0,
            flags: RowFlags(0),
            model: None,
            usage: UsageCounts {
                input_tokens: 0,
                cache_write_5m_tokens: 0,
                cache_write_1h_tokens: 0,
                cache_read_tokens: 0,
                output_tokens: 0,
                web_search_requests: 0,
            },
            cost: PicoUsd::ZERO,
            upstream_request_id: None,
            first_byte_us: 0,
            made: Vec::new(),
            recalled: None,
            detail: Cow::Borrowed(""),
        }
    }

    /// The ending with its bill.
    #[must_use]
    pub fn billed(mut self, bill: Bill) -> Self {
        self.model = bill.model.or(self.model);
        self.usage = bill.usage;
        self.cost = bill.cost;
        self.flags = self.flags.with(bill.flags);
        self
    }
}

/// Books a request that got no answer. Refusals are not held back, so nobody waits for the record.
pub fn unanswered(mut lease: Lease, error: &ForwardError) {
    // An upstream that does not answer is not asked by one after the other.
    if let (Part::Lead(lead), ForwardError::Upstream(_)) = (lease.take_part(), error) {
        lead.unkept();
    }
    let ending = match error {
        ForwardError::Upstream(error) if may_be_billed(error) => {
            Ending { detail: error.label().into(), ..lease.unknown() }
        }
        ForwardError::Upstream(error) => {
            Ending { detail: error.label().into(), ..Ending::of(Outcome::Unreachable) }
        }
        // The lost attempt is booked; nothing was sent after it.
        ForwardError::OverBudget(_) => Ending { detail: "budget".into(), ..Ending::of(Outcome::Refused) },
        ForwardError::Unrecorded(_) => {
            Ending { detail: "unrecorded".into(), ..Ending::of(Outcome::Unreachable) }
        }
        ForwardError::Revoked => lease.lost(Outcome::Cut, 0),
        ForwardError::Unproven(_) => Ending { detail: "unproven".into(), ..Ending::of(Outcome::Unreachable) },
        ForwardError::Entropy(_) | ForwardError::BodyGone => {
            lease.release();
            return;
        }
    };
    drop(lease.settle(ending));
}

/// Bills a whole message.
#[must_use]
pub fn bill_message(
    prices: &PriceTable,
    message: &MessageSummary,
    asked: Option<&str>,
    kind: CallKind,
    at: Timestamp,
) -> Bill {
    let model = message.model.as_deref().or(asked);
    let billed = !message.is_unbilled_refusal();
    bill(prices, &message.usage, model, billed.then_some(kind), at)
}

/// Bills a stream, which is over now, however it ended.
#[must_use]
pub fn bill_stream(prices: &PriceTable, meter: &StreamMeter, asked: Option<&str>, at: Timestamp) -> Bill {
    let metered = meter.settle();
    let model = meter.message.model.as_deref().or(asked);
    let kind = metered.billed.then_some(CallKind::Single);
    let mut bill = bill(prices, &metered.usage, model, kind, at);
    if metered.estimated {
        bill.flags = bill.flags.with(RowFlags::ESTIMATED);
    }
    bill
}

/// Bills usage; without a `kind` it is counted but free.
fn bill(
    prices: &PriceTable,
    usage: &Usage,
    model: Option<&str>,
    kind: Option<CallKind>,
    at: Timestamp,
) -> Bill {
    let mut flags = RowFlags::default();
    let mut cost = PicoUsd::ZERO;
    if let Some(kind) = kind {
        let priced = prices.cost(model.unwrap_or_default(), usage, kind, at.as_micros());
        cost = PicoUsd::saturating(priced.pico);
        if priced.unknown_model {
            flags = flags.with(RowFlags::UNKNOWN_MODEL);
        }
        if kind == CallKind::Batch {
            flags = flags.with(RowFlags::BATCH);
        }
    }
    if usage.speed == Speed::Fast {
        flags = flags.with(RowFlags::FAST);
    }
    if usage.inference_geo.as_deref() == Some("us") {
        flags = flags.with(RowFlags::GEO);
    }
    let counts = counted(&usage.billed_counts(), usage.web_search_requests);
    Bill { model: model.map(str::to_owned), usage: counts, cost, flags }
}

const fn counted(counts: &TokenCounts, web_search_requests: u64) -> UsageCounts {
    UsageCounts {
        input_tokens: counts.input,
        cache_write_5m_tokens: counts.cache_write_5m,
        cache_write_1h_tokens: counts.cache_write_1h,
        cache_read_tokens: counts.cache_read,
        output_tokens: counts.output,
        web_search_requests,
    }
}

/// What some tokens of one model cost by themselves.
#[must_use]
pub fn estimate(prices: &PriceTable, model: Option<&str>, usage: &UsageCounts, at: Timestamp) -> PicoUsd {
    let Some(model) = model else { return PicoUsd::ZERO };
    let counts = TokenCounts {
        input: usage.input_tokens,
        cache_write_5m: usage.cache_write_5m_tokens,
        cache_write_1h: usage.cache_write_1h_tokens,
        cache_read: usage.cache_read_tokens,
        output: usage.output_tokens,
    };
    let usage = Usage { counts, ..Usage::default() };
    PicoUsd::saturating(prices.cost(model, &usage, CallKind::Single, at.as_micros()).pico)
}
