//! Answers that are not event streams: bytes back as they come, the last of them once the record is durable.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use claviger_claude_wire::{price::CallKind, sse::StreamMeter};
use claviger_domain::{ledger::Outcome, permission::Endpoint};
use claviger_service::{grants::CutSignal, recorder::RecordError};
use http_body::SizeHint;

use super::{
    account::Account,
    results::ResultsTap,
    source::Source,
    tap::{Reading, Tap},
};
use crate::{
    reply::Aborted,
    settle::{bill_message, bill_stream},
};

/// An answer on its way.
pub struct PlainRelay {
    source: Source,
    tap: Tap,
    results: Option<Box<ResultsTap>>,
    account: Account,
    cut: CutSignal,
    /// What goes out before anything else is done.
    ready: Option<Result<Bytes, Aborted>>,
    /// Bytes that wait for the record, or (without a length) for the next ones.
    held: Option<Bytes>,
    /// Bytes still to come, where the head said how many.
    left: Option<u64>,
    received: u64,
    phase: Phase,
    /// Why the client does not get it all.
    gone: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// More is to come.
    Flowing,
    /// All is here, the record is being kept.
    Recording,
    /// All is said.
    Over,
}

/// How much of an answer's body is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// All of it: its record is being kept.
    Whole,
    /// A piece, or it broke off.
    Partly,
}

impl PlainRelay {
    /// An answer whose head is known; `length` is what its `content-length` says.
    #[must_use]
    pub fn new(source: Source, tap: Tap, account: Account, cut: CutSignal, length: Option<u64>) -> Self {
        Self {
            source,
            tap,
            results: None,
            account,
            cut,
            ready: None,
            held: None,
            left: length,
            received: 0,
            phase: Phase::Flowing,
            gone: None,
        }
    }

    /// The answer is a file of batch results, each of which is billed.
    #[must_use]
    pub fn with_results(mut self, results: ResultsTap) -> Self {
        self.results = Some(Box::new(results));
        self
    }

    /// Whether the answer has no body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.source.is_at_end() || self.left == Some(0)
    }

    /// Ready once something of the body is here, or nothing more will come.
    pub fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Begun> {
        if self.phase == Phase::Flowing && self.ready.is_none() {
            if self.is_empty() {
                self.finish();
            } else if let Some(piece) = ready!(self.poll_flowing(cx)) {
                self.ready = Some(piece);
            }
        }
        Poll::Ready(if self.phase == Phase::Recording { Begun::Whole } else { Begun::Partly })
    }

    /// Ready when the record of a whole answer is durable.
    pub fn poll_recorded(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        if self.phase == Phase::Recording {
            ready!(self.account.poll_durable(cx))?;
            self.phase = Phase::Over;
            self.ready = self.held.take().map(Ok);
            if let Some((batch, cost)) = self.results.take().and_then(|r| r.into_complete()) {
                self.account.batch_billed(batch, cost);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next bytes for the client.
    pub fn poll_data(&mut self, cx: &mut Context<'_>, cut: bool) -> Poll<Option<Result<Bytes, Aborted>>> {
        if let Some(ready) = self.ready.take() {
            return Poll::Ready(Some(ready));
        }
        if self.phase == Phase::Flowing && (cut || self.cut.is_cut()) {
            self.gone = Some(Outcome::Cut);
            return Poll::Ready(Some(Err(Aborted::Cut)));
        }
        match self.phase {
            Phase::Flowing => match self.poll_flowing(cx) {
                Poll::Ready(None) => self.poll_data(cx, cut),
                Poll::Ready(some) => Poll::Ready(some),
                // To be woken by the cut as well.
                Poll::Pending => Pin::new(&mut self.cut).poll(cx).map(|()| {
                    self.gone = Some(Outcome::Cut);
                    Some(Err(Aborted::Cut))
                }),
            },
            Phase::Recording => {
                ready!(self.poll_recorded(cx))?;
                Poll::Ready(self.ready.take())
            }
            Phase::Over => Poll::Ready(None),
        }
    }

    /// Reads on. `None`: the phase has changed.
    fn poll_flowing(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        loop {
            if let Some(results) = &mut self.results
                && let Err(error) = ready!(results.poll_booked(cx))
            {
                return Poll::Ready(Some(Err(error.into())));
            }
            match ready!(self.source.poll_data(cx)) {
                None => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    self.break_off();
                    return Poll::Ready(Some(Err(Aborted::Upstream(error.to_string()))));
                }
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    if let Some(out) = self.take(data) {
                        return Poll::Ready(Some(Ok(out)));
                    }
                    if self.phase != Phase::Flowing {
                        return Poll::Ready(None);
                    }
                }
            }
        }
    }

    /// Takes bytes in, gives out those that may go.
    fn take(&mut self, data: Bytes) -> Option<Bytes> {
        let length = data.len() as u64;
        self.received += length;
        let last = match &mut self.left {
            Some(left) => {
                *left = left.saturating_sub(length);
                *left == 0
            }
            None => self.source.is_at_end(),
        };
        self.tap.feed(&data, last && self.received == length);
        self.account.pass(&data);
        if let Some(results) = &mut self.results {
            self.account.book(|slot, prices| results.feed(&data, slot, prices));
        }
        if !last && self.left.is_some() {
            return Some(data);
        }
        let before = self.held.replace(data);
        if last {
            self.finish();
        }
        before
    }

    /// The upstream's answer is here to its end.
    fn finish(&mut self) {
        self.phase = Phase::Recording;
        let failed = self.account.status() >= 400;
        let done = if failed { Outcome::UpstreamError } else { Outcome::Completed };
        let outcome = self.gone.unwrap_or(done);
        if let Some(results) = &mut self.results {
            self.account.book(|slot, prices| results.finish(slot, prices));
        }
        match self.tap.finish() {
            Reading::Nothing => self.account.settle_billed(outcome, None, ""),
            Reading::Tokens(tokens) => {
                self.account.learn_tokens(tokens);
                self.account.settle_billed(outcome, None, "");
            }
            Reading::Message(message) if message.has_usage => {
                self.account.learn_input(&message);
                self.account.learn_output(&message);
                self.account.judge(&message);
                let bill = self.account.lease().map(|lease| {
                    let p = lease.particulars();
                    let prices = lease.shared().prices.load();
                    bill_message(&prices, &message, p.model.as_deref(), CallKind::Single, p.at)
                });
                self.account.settle_billed(outcome, bill, "");
            }
            Reading::Stream(meter) => self.finish_stream(outcome, &meter),
            // A message was made, whether its usage is told or not. Other answers without usage are none of a model.
            Reading::Message(_) => {
                let lease = self.account.lease().filter(|l| l.particulars().endpoint == Endpoint::Messages);
                let bill = lease.map(|lease| lease.guess(self.received));
                self.account.settle_billed(outcome, bill, "");
            }
            Reading::Failed => self.account.settle_unreadable(outcome),
        }
    }

    /// An event stream that came in a coding and was read all the same.
    fn finish_stream(&mut self, outcome: Outcome, meter: &StreamMeter) {
        if meter.message.has_usage {
            self.account.learn_input(&meter.message);
            self.account.learn_output(&meter.message);
        }
        let bill = self.account.lease().map(|lease| {
            let p = lease.particulars();
            if meter.message.has_usage {
                bill_stream(&lease.shared().prices.load(), meter, p.model.as_deref(), p.at)
            } else {
                lease.guess(meter.characters)
            }
        });
        self.account.settle_billed(outcome, bill, "");
    }

    /// The upstream broke off: what it had made is not known, so it is guessed by the bytes on both sides.
    fn break_off(&mut self) {
        self.held = None;
        self.phase = Phase::Over;
        let metering = self.tap.is_metering();
        let received = self.received;
        let bill = self.account.lease().filter(|_| metering).map(|lease| lease.guess(received));
        self.account.settle_billed(self.gone.unwrap_or(Outcome::UpstreamCut), bill, "upstream_cut");
    }

    /// Whether nothing more comes.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.ready.is_none()
    }

    /// How many bytes are to come, if that is known.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        let ready = self.ready.as_ref().and_then(|piece| piece.as_ref().ok());
        let waiting = ready.into_iter().chain(&self.held).map(|b| b.len() as u64).sum::<u64>();
        match (self.phase, self.left) {
            // Without a length upstream there is none downstream either: chunked stays chunked.
            (_, None) => SizeHint::default(),
            (Phase::Over | Phase::Recording, Some(_)) => SizeHint::with_exact(waiting),
            (Phase::Flowing, Some(left)) => SizeHint::with_exact(left + waiting),
        }
    }

    /// The client is gone, or gets no more. The answer was made and is billed, so it is read to its end, where its
    /// usage stands.
    pub fn abandon(mut relay: Box<Self>) {
        if relay.account.is_settled() {
            return;
        }
        relay.gone.get_or_insert(Outcome::ClientGone);
        let tracker = relay.account.lease().map(|l| l.shared().tracker.clone());
        match tracker {
            Some(tracker) if relay.tap.is_metering() || relay.results.is_some() => {
                tracker.spawn(async move { poll_fn(|cx| relay.poll_drained(cx)).await });
            }
            Some(_) | None => {
                let outcome = relay.gone.unwrap_or(Outcome::ClientGone);
                relay.account.settle_billed(outcome, None, "");
            }
        }
    }

    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.phase == Phase::Flowing {
            if matches!(ready!(self.poll_flowing(cx)), Some(Err(_))) {
                return Poll::Ready(());
            }
        }
        self.poll_recorded(cx).map(drop)
    }
}
