//! Batch results as they pass: each succeeded request is billed once, to the key that made the batch.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use claviger_claude_wire::{
    price::{CallKind, PriceTable},
    results::{Line, ResultKind, ResultsScanner},
};
use claviger_domain::{
    budget::Charge,
    clock::Timestamp,
    id::RequestId,
    ledger::{BatchItem, LedgerRow, Outcome, Party, Route, RowFlags, UsageCounts},
    money::PicoUsd,
    permission::Endpoint,
};
use claviger_service::{
    budgets::Budgets,
    recorder::{Receipt, RecordError, Slot},
};

use crate::settle::{Bill, bill_message};

/// What the rows of one batch have in common.
#[derive(Debug, Clone)]
pub struct Booking {
    /// The batch.
    pub batch: String,
    /// Whoever made it.
    pub party: Party,
    /// Where it lives.
    pub route: Route,
    /// The request that read the results.
    pub request_id: RequestId,
    /// When.
    pub at: Timestamp,
    /// Method and path.
    pub api_endpoint: String,
    /// From where.
    pub client_ip: String,
    /// By which program.
    pub user_agent: String,
    /// Who holds money back for the batch.
    pub budgets: Budgets,
    /// The periods of budgets that the batch counts against.
    pub charges: Vec<Charge>,
}

/// Reads results and books them.
pub struct ResultsTap {
    scanner: ResultsScanner,
    booking: Booking,
    receipt: Option<Receipt>,
    failed: bool,
    /// What the results have come to so far, in pico-dollars.
    total: i128,
}

impl ResultsTap {
    /// For the results of one batch.
    #[must_use]
    pub fn new(booking: Booking) -> Self {
        Self { scanner: ResultsScanner::new(), booking, receipt: None, failed: false, total: 0 }
    }

    /// Reads the next bytes and books what ends in them.
    pub fn feed(&mut self, bytes: &[u8], slot: &mut Slot, prices: &PriceTable) {
        let Self { scanner, booking, receipt, failed, total } = self;
        let before = *total;
        scanner.feed(bytes, &mut |line| match booking.row(line, prices) {
            Ok(row) => *receipt = booked(row, slot, total).or(receipt.take()),
            Err(Unread) => *failed = true,
        });
        if *total > before && !booking.charges.is_empty() {
            booking.budgets.batch_read(&booking.batch, *total);
        }
    }

    /// Books what the last line says.
    pub fn finish(&mut self, slot: &mut Slot, prices: &PriceTable) {
        let scanner = std::mem::take(&mut self.scanner);
        let Self { booking, receipt, failed, total, .. } = self;
        scanner.finish(&mut |line| match booking.row(line, prices) {
            Ok(row) => *receipt = booked(row, slot, total).or(receipt.take()),
            Err(Unread) => *failed = true,
        });
    }

    /// The batch and what it has cost, in pico-dollars, if every line of it could be read.
    #[must_use]
    pub fn into_complete(self) -> Option<(String, i128)> {
        (!self.failed).then_some((self.booking.batch, self.total))
    }

    /// Ready when all that was booked so far is durable: more is read only then, so that the queue stays short.
    pub fn poll_booked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        let Some(receipt) = &mut self.receipt else { return Poll::Ready(Ok(())) };
        let done = ready!(Pin::new(receipt).poll(cx));
        self.receipt = None;
        Poll::Ready(done)
    }
}

/// Books one row, if there is one.
fn booked(row: Option<LedgerRow>, slot: &mut Slot, total: &mut i128) -> Option<Receipt> {
    let row = row?;
    *total = total.saturating_add(i128::from(row.cost.as_pico()));
    Some(slot.book(row, Vec::new()))
}

/// A line that could not be read.
struct Unread;

impl Booking {
    /// The row that bills one line, if it is to be billed.
    fn row(&self, line: Line, prices: &PriceTable) -> Result<Option<LedgerRow>, Unread> {
        let result = line.map_err(|error| {
            tracing::warn!(batch = self.batch, %error, "a batch result could not be read");
            Unread
        })?;
        match result.kind {
            ResultKind::Succeeded => {}
            ResultKind::Errored | ResultKind::Canceled | ResultKind::Expired | ResultKind::Other => {
                return Ok(None);
            }
        }
        let bill = bill_message(prices, &result.message, None, CallKind::Batch, self.at);
        Ok(Some(self.row_of(&result.custom_id, Outcome::Completed, bill)))
    }

    /// The row of all that nobody can read any more, charged at this much. No item has an empty name.
    #[must_use]
    pub fn unread(&self, cost: PicoUsd) -> LedgerRow {
        let bill = Bill { model: None, usage: UsageCounts::default(), cost, flags: RowFlags::ESTIMATED };
        self.row_of("", Outcome::Unknown, bill)
    }

    fn row_of(&self, custom_id: &str, outcome: Outcome, bill: Bill) -> LedgerRow {
        let status = if outcome == Outcome::Completed { 200 } else { 0 };
        LedgerRow {
            request_id: self.request_id.clone(),
            intent: None,
            party: self.party.clone(),
            route: self.route.clone(),
            batch: Some(BatchItem { batch: self.batch.clone(), custom_id: custom_id.to_owned() }),
            at: self.at,
            endpoint: Endpoint::Batches,
            api_endpoint: self.api_endpoint.clone(),
            model: bill.model.unwrap_or_default(),
            status,
            outcome,
            flags: bill.flags.with(RowFlags::BATCH),
            usage: bill.usage,
            cost: bill.cost,
            attempts: 0,
            upstream_request_id: None,
            first_byte_us: 0,
            duration_us: 0,
            client_ip: self.client_ip.clone(),
            user_agent: self.user_agent.clone(),
            token_scope: String::new(),
            detail: String::new(),
            charges: self.charges.clone(),
            signed: None,
            recalled: None,
        }
    }
}
