//! Event streams: each frame goes on at once. Pings go in where it is silent for long, and only between events;
//! from the first byte of the event that ends the stream, bytes wait for the record.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use claviger_claude_wire::{
    error::{ErrorBody, ErrorType, PING_EVENT},
    sse::{Ended, StreamTap},
};
use claviger_domain::{
    budget::OverBudget,
    key::OnDisconnect,
    ledger::{Outcome, RowFlags},
};
use claviger_service::grants::CutSignal;

use super::{account::Account, guard::Guard, outflow::Outflow, silence::Silence, source::Source};
use crate::{reply::Aborted, settle::bill_stream};

/// A stream on its way.
pub struct StreamRelay {
    source: Source,
    tap: StreamTap,
    account: Account,
    cut: CutSignal,
    /// Frames that may go.
    out: Outflow,
    /// How many bytes are still to come, if the answer says how many it has.
    left: Option<u64>,
    /// Frames that wait for the record.
    held: VecDeque<Bytes>,
    phase: Phase,
    silence: Silence,
    settings: StreamKind,
    /// The provider has said how many input tokens it takes.
    has_told_input: bool,
    /// Sees to it that what the stream comes to is held back; `None`: all that it can cost is.
    guard: Option<Guard>,
    /// Not as much is left as the stream has come to: it ends with the next event.
    over: Option<Box<OverBudget>>,
    /// Why the client does not get it all.
    gone: Option<Outcome>,
    /// What is told after all that may go has gone.
    failed: Option<Aborted>,
}

/// What the record of a stream says that was ended for want of money.
const BUDGET: &str = "budget";

/// An event of ours that ends a stream.
fn event(kind: ErrorType, message: &str, request_id: Option<&str>) -> Bytes {
    let error = ErrorBody { kind, message, error_code: None, oauth_error: None, request_id };
    Bytes::from(error.to_sse())
}

/// What kind of stream it is.
#[derive(Debug, Clone, Copy)]
pub struct StreamKind {
    /// Only `message_stop` or `error` ends it well: a message, and not any other stream of events.
    pub is_message: bool,
    /// How many bytes the answer has, if it says: then nothing can be put in.
    pub length: Option<u64>,
    /// Silence after which a ping is put in.
    pub ping_after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Events pass.
    Flowing,
    /// The ending event is here, the record is being kept.
    Recording,
    /// What comes after the end, normally nothing.
    Tail,
    /// As `Recording`, but nothing is read after it.
    Closing,
    /// All is said.
    Over,
}

impl StreamRelay {
    /// A stream whose head is known.
    #[must_use]
    pub fn new(source: Source, account: Account, cut: CutSignal, settings: StreamKind) -> Self {
        Self {
            source,
            tap: StreamTap::new(),
            guard: account.lease().filter(|_| settings.is_message).and_then(Guard::for_call),
            over: None,
            account,
            cut,
            out: Outflow::default(),
            held: VecDeque::new(),
            phase: Phase::Flowing,
            silence: Silence::begins(),
            left: settings.length,
            settings,
            has_told_input: false,
            gone: None,
            failed: None,
        }
    }

    /// The next bytes for the client.
    pub fn poll_data(&mut self, cx: &mut Context<'_>, cut: bool) -> Poll<Option<Result<Bytes, Aborted>>> {
        loop {
            // What has come already goes out together.
            while self.phase == Phase::Flowing && !self.out.is_full() {
                if (cut || self.cut.is_cut())
                    && let Err(why) = self.break_off(Outcome::Cut, Aborted::Cut)
                {
                    self.failed = Some(why);
                    break;
                }
                match self.poll_flowing(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(why)) => self.failed = Some(why),
                    Poll::Pending => break,
                }
            }
            if let Some(piece) = self.out.take() {
                return Poll::Ready(Some(Ok(piece)));
            }
            if let Some(why) = self.failed.take() {
                return Poll::Ready(Some(Err(why)));
            }
            match self.phase {
                Phase::Over => return Poll::Ready(None),
                // It is pending, or the loop would not have ended.
                Phase::Flowing => {
                    ready!(Pin::new(&mut self.cut).poll(cx));
                }
                Phase::Recording | Phase::Closing => {
                    if let Err(error) = ready!(self.account.poll_durable(cx)) {
                        self.phase = Phase::Over;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    self.out.append(&mut self.held);
                    self.phase = if self.phase == Phase::Recording { Phase::Tail } else { Phase::Over };
                }
                Phase::Tail => match ready!(self.source.poll_data(cx)) {
                    None => self.phase = Phase::Over,
                    Some(Ok(data)) => self.out.push(data),
                    Some(Err(error)) => {
                        self.phase = Phase::Over;
                        return Poll::Ready(Some(Err(Aborted::Upstream(error.to_string()))));
                    }
                },
            }
        }
    }

    fn poll_flowing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Aborted>> {
        match self.source.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                self.silence.ends();
                self.take(data);
                self.watch()?;
            }
            Poll::Ready(Some(Err(error))) => {
                self.break_off(Outcome::UpstreamCut, Aborted::Upstream(error.to_string()))?;
            }
            Poll::Ready(None) if self.settings.is_message => {
                // A stream of a message that ends without its ending event looks finished to some clients.
                let error = Aborted::Upstream("the stream ended early".to_owned());
                self.break_off(Outcome::UpstreamCut, error)?;
            }
            Poll::Ready(None) => {
                self.settle(Outcome::Completed, "");
                self.phase = Phase::Closing;
            }
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                self.silence.ends();
                self.out.push(Bytes::from_static(PING_EVENT));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when a ping is due and may go in.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.silence.poll(cx, self.settings.ping_after));
        if self.settings.length.is_none() && self.is_at_border() {
            return Poll::Ready(());
        }
        // Not now; look again after as long a silence.
        self.silence.ends();
        self.silence.poll(cx, self.settings.ping_after)
    }

    /// Whether what the client has got so far ends between two events.
    fn is_at_border(&self) -> bool {
        // What is held begins with an event.
        !self.held.is_empty() || self.tap.at_border()
    }

    fn take(&mut self, data: Bytes) {
        let borders = self.tap.feed(&data);
        self.account.pass(&data);
        let message = &self.tap.meter().message;
        if message.has_usage && !self.has_told_input {
            self.has_told_input = true;
            self.account.learn_input(message);
        }
        let last = self.left.as_mut().is_some_and(|left| {
            *left = left.saturating_sub(data.len() as u64);
            *left == 0
        });
        match borders.hold_from {
            None if last => {
                // To the client the stream is finished with its last byte, whatever that is.
                self.out.append(&mut self.held);
                self.held.push_back(data);
            }
            None => {
                self.out.append(&mut self.held);
                self.out.push(data);
            }
            Some(0) => self.held.push_back(data),
            Some(from) => {
                let mut passing = data;
                let held = passing.split_off(from.min(passing.len()));
                self.out.append(&mut self.held);
                self.out.push(passing);
                if !held.is_empty() {
                    self.held.push_back(held);
                }
            }
        }
        match self.tap.meter().ended {
            None => {}
            Some(Ended::Stop) => {
                self.account.learn_output(&self.tap.meter().message);
                self.account.judge(&self.tap.meter().message);
                self.settle(Outcome::Completed, "");
                self.phase = Phase::Recording;
            }
            Some(Ended::Error) => {
                self.settle(Outcome::UpstreamError, "stream_error");
                self.phase = Phase::Recording;
            }
        }
    }

    /// Looks whether what the stream has come to is held back. If not as much is left, the client gets no more of it.
    fn watch(&mut self) -> Result<(), Aborted> {
        if self.phase != Phase::Flowing || self.gone.is_some() {
            return Ok(());
        }
        let (Some(guard), Some(lease)) = (&mut self.guard, self.account.lease_mut()) else { return Ok(()) };
        if self.over.is_none() {
            self.over = guard.look(self.tap.meter(), lease).err();
        }
        let Some(over) = self.over.take_if(|_| self.held.is_empty() && self.tap.at_border()) else {
            return Ok(());
        };
        let message = lease.ended_by(&over);
        let drains = lease.live().grant.key.policy.on_disconnect == OnDisconnect::Drain;
        self.gone = Some(Outcome::Cut);
        let event = event(ErrorType::Billing, &message, self.account.answered_as());
        if self.settings.length.is_some() {
            // Nothing can be put in.
            self.settle(Outcome::Cut, BUDGET);
            self.phase = Phase::Over;
            return Err(Aborted::Cut);
        }
        if drains {
            // It is read to its end for the record, which says what it has cost, once the client has gone with this.
            self.out.push(event);
            self.phase = Phase::Over;
        } else {
            self.settle(Outcome::Cut, BUDGET);
            self.held.push_back(event);
            self.phase = Phase::Closing;
        }
        Ok(())
    }

    fn settle(&mut self, outcome: Outcome, detail: &'static str) {
        let meter = self.tap.meter();
        // The input of a message that was broken off was read, even if its usage was not told yet; and one that came to
        // its end was made, even if it never told it.
        let made = match outcome {
            Outcome::Completed | Outcome::ClientGone | Outcome::UpstreamCut | Outcome::Cut => true,
            Outcome::UpstreamError | Outcome::Unreachable | Outcome::Refused | Outcome::Unknown => false,
        };
        let bill = self.account.lease().and_then(|lease| {
            if !meter.message.has_usage {
                return (made && self.settings.is_message).then(|| lease.guess(meter.characters));
            }
            let p = lease.particulars();
            let mut bill = bill_stream(&lease.shared().prices.load(), meter, p.model.as_deref(), p.at);
            if lease.is_bound() && bill.flags.has(RowFlags::ESTIMATED) {
                // Characters may say more than the answer can have cost.
                bill.cost = bill.cost.min(lease.reservation());
            }
            Some(bill)
        });
        let detail = if self.gone == Some(Outcome::Cut) { BUDGET } else { detail };
        let outcome = self.gone.unwrap_or(outcome);
        self.account.settle_billed(outcome, bill, detail);
    }

    /// Ends a stream that cannot be finished: with an event of ours where one fits, else by an error.
    fn break_off(&mut self, outcome: Outcome, why: Aborted) -> Result<(), Aborted> {
        let fits = self.settings.length.is_none() && self.is_at_border();
        let (kind, message) = match why {
            Aborted::Cut => (ErrorType::Permission, "The stream was cut off by the gateway."),
            Aborted::Upstream(_) | Aborted::Record(_) => {
                (ErrorType::Api, "The upstream broke the stream off.")
            }
        };
        let event = event(kind, message, self.account.answered_as());
        self.held.clear();
        self.settle(outcome, if outcome == Outcome::Cut { "cut" } else { "upstream_cut" });
        if !fits {
            self.phase = Phase::Over;
            return Err(why);
        }
        self.held.push_back(event);
        self.phase = Phase::Closing;
        Ok(())
    }

    /// Whether nothing more comes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over && self.out.is_empty() && self.failed.is_none()
    }

    /// Reads the answer to its end for nobody but the record.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.phase == Phase::Flowing {
            self.out.clear();
            if ready!(self.poll_flowing(cx)).is_err() {
                break;
            }
        }
        Poll::Ready(())
    }

    /// The client is gone. The call is cancelled and what was made so far is billed; or it is read to its end, if the
    /// key says so.
    pub fn abandon(mut relay: Box<Self>) {
        if relay.account.is_settled() {
            return;
        }
        // Whose answer was ended for want of money is done with it.
        relay.gone.get_or_insert(Outcome::ClientGone);
        relay.phase = Phase::Flowing;
        let drain = relay.account.lease().and_then(|lease| {
            let policy = lease.live().grant.key.policy.on_disconnect;
            (policy == OnDisconnect::Drain).then(|| lease.shared().tracker.clone())
        });
        match drain {
            Some(tracker) => {
                tracker.spawn(async move { poll_fn(|cx| relay.poll_drained(cx)).await });
            }
            None => relay.settle(Outcome::ClientGone, "client_gone"),
        }
    }
}
