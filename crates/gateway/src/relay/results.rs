//! Batch results as they pass: each succeeded request is billed once, to the key that made the batch.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use claviger_claude_wire::{
    price::CallKind,
    results::{Line, ResultKind, ResultsScanner},
};
use claviger_domain::{
    ledger::{BatchItem, LedgerRow, Outcome, Party, RowFlags},
    permission::Endpoint,
};
use claviger_service::recorder::{Receipt, RecordError};

use super::account::Account;
use crate::{reserve::Lease, settle::bill_message};

/// Reads results and books them.
pub struct ResultsTap {
    scanner: ResultsScanner,
    batch: String,
    /// Whoever made the batch.
    party: Party,
    receipt: Option<Receipt>,
    failed: bool,
}

impl ResultsTap {
    /// For the results of one batch.
    #[must_use]
    pub fn new(batch: &str, party: Party) -> Self {
        Self { scanner: ResultsScanner::new(), batch: batch.to_owned(), party, receipt: None, failed: false }
    }

    /// Reads the next bytes and books what ends in them.
    pub fn feed(&mut self, bytes: &[u8], account: &mut Account) {
        let Self { scanner, batch, party, receipt, failed } = self;
        let Some(lease) = account.lease_mut() else { return };
        scanner.feed(bytes, &mut |line| book(line, lease, batch, party, (receipt, failed)));
    }

    /// Books what the last line says.
    pub fn finish(&mut self, account: &mut Account) {
        let Self { scanner, batch, party, receipt, failed } = self;
        let Some(lease) = account.lease_mut() else { return };
        let scanner = std::mem::take(scanner);
        scanner.finish(&mut |line| book(line, lease, batch, party, (receipt, failed)));
    }

    /// Whether every line could be read.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        !self.failed
    }

    /// Ready when all that was booked so far is durable: more is read only then, so that the queue stays short.
    pub fn poll_booked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        if let Some(receipt) = &mut self.receipt {
            let done = ready!(Pin::new(receipt).poll(cx));
            self.receipt = None;
            done?;
        }
        Poll::Ready(Ok(()))
    }
}

fn book(
    line: Line,
    lease: &mut Lease,
    batch: &str,
    party: &Party,
    (receipt, failed): (&mut Option<Receipt>, &mut bool),
) {
    let result = match line {
        Ok(result) => result,
        Err(error) => {
            tracing::warn!(batch, %error, "a batch result could not be read");
            *failed = true;
            return;
        }
    };
    match result.kind {
        ResultKind::Succeeded => {}
        ResultKind::Errored | ResultKind::Canceled | ResultKind::Expired | ResultKind::Other => return,
    }
    let particulars = lease.particulars();
    let prices = lease.shared().prices.load();
    let bill = bill_message(&prices, &result.message, None, CallKind::Batch, particulars.at);
    let row = LedgerRow {
        request_id: particulars.request_id.clone(),
        intent: None,
        party: party.clone(),
        route: lease.route().clone(),
        batch: Some(BatchItem { batch: batch.to_owned(), custom_id: String::from(&*result.custom_id) }),
        at: particulars.at,
        endpoint: Endpoint::Batches,
        api_endpoint: particulars.api_endpoint.clone(),
        model: bill.model.unwrap_or_default(),
        status: 200,
        outcome: Outcome::Completed,
        flags: bill.flags.with(RowFlags::BATCH),
        usage: bill.usage,
        cost: bill.cost,
        attempts: 0,
        upstream_request_id: None,
        first_byte_us: 0,
        duration_us: 0,
        client_ip: particulars.client_ip.clone(),
        user_agent: particulars.user_agent.clone(),
        token_scope: String::new(),
        detail: String::new(),
    };
    *receipt = lease.book(row);
}
