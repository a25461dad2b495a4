//! The body of an answer: bytes or events, paced, compressed, broken off where a directive says so.

use std::fmt;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use crate::directive::fault::{Break, Pace};
use crate::events::{EventWriter, Sent};
use crate::log::{Ending, Record, raw};

/// Time that the transport gets to send what it has before the connection is aborted.
const BEFORE_ABORT: Duration = Duration::from_millis(10);

/// The simulator aborted this answer on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the simulated upstream aborted the connection")]
pub struct Aborted;

/// The streaming body of every answer of the simulator.
pub struct SimBody(Box<State>);

struct State {
    source: Source,
    /// What was produced and not yet handed out.
    pending: Bytes,
    next: Next,
    wait: Option<Pin<Box<Sleep>>>,
    plan: BodyPlan,
    events: u32,
    bytes: u64,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// What the record says once the last byte is handed out.
    ending: Ending,
    record: Record,
}

enum Source {
    Bytes,
    Events(Box<EventWriter>, BytesMut),
}

/// What happens when `pending` is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Ask the source.
    Produce,
    /// Let the transport flush, then ask the source.
    Yield,
    /// Nothing more, cleanly.
    End,
    /// Wait a moment, then abort.
    Settle,
    Abort,
}

/// How the body leaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyPlan {
    pub(crate) gap: Duration,
    pub(crate) flush_each_event: bool,
    pub(crate) split: Option<usize>,
    pub(crate) split_gap: Duration,
    pub(crate) stall: Option<u32>,
    pub(crate) stall_for: Duration,
    pub(crate) cut: Break,
    pub(crate) request_id: String,
}

impl BodyPlan {
    /// `longest` bounds each single wait.
    pub(crate) fn new(pace: &Pace, cut: &Break, longest: Duration, default_gap: Duration) -> Self {
        Self {
            gap: pace.gap.unwrap_or(default_gap).min(longest),
            flush_each_event: true,
            split: pace.split,
            split_gap: pace.split_gap.min(longest),
            stall: pace.stall,
            stall_for: pace.stall_for.unwrap_or(longest).min(longest),
            cut: cut.clone(),
            request_id: String::new(),
        }
    }
}

impl SimBody {
    /// Bytes have no events: a `cut` breaks them off in the middle.
    pub(crate) fn bytes(bytes: Bytes, mut plan: BodyPlan, record: Record) -> Self {
        if plan.cut.cut.is_some() && plan.cut.cut_bytes.is_none() {
            plan.cut.cut_bytes = u64::try_from(bytes.len() / 2).ok();
        }
        Self::with(Source::Bytes, bytes, Next::End, plan, record)
    }

    pub(crate) fn events(writer: EventWriter, plan: BodyPlan, gzip: bool, record: Record) -> Self {
        let source = Source::Events(Box::new(writer), BytesMut::with_capacity(4096));
        let mut body = Self::with(source, Bytes::new(), Next::Produce, plan, record);
        body.0.gzip = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        body
    }

    fn with(source: Source, pending: Bytes, next: Next, plan: BodyPlan, mut record: Record) -> Self {
        record.ending = Ending::Gone;
        let (wait, gzip, ending) = (None, None, Ending::Completed);
        let mut state =
            State { source, pending, next, wait, plan, events: 0, bytes: 0, gzip, ending, record };
        state.note_ending();
        Self(Box::new(state))
    }
}

impl fmt::Debug for SimBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimBody")
    }
}

impl State {
    /// Produces until there is something to hand out, something to wait for, or an end.
    fn advance(&mut self) {
        if self.plan.stall == Some(self.events) {
            self.plan.stall = None;
            self.sleep(self.plan.stall_for);
            return;
        }
        if self.plan.cut.cut == Some(self.events) {
            self.next = Next::Settle;
            return;
        }
        if self.plan.cut.end == Some(self.events) {
            return self.finish(Ending::EndedEarly);
        }
        let Source::Events(writer, out) = &mut self.source else { return };
        if self.plan.cut.error == Some(self.events) {
            let kind = self.plan.cut.error_kind.as_deref().unwrap_or("overloaded_error");
            writer.error(out, kind, &self.plan.request_id);
            let event = out.split().freeze();
            self.hand_out(event);
            return self.finish(Ending::ErrorEvent);
        }
        match writer.write(out) {
            Some(sent) => {
                let event = out.split().freeze();
                note(&mut self.record, sent, writer);
                self.events += 1;
                self.hand_out(event);
                let last = sent == Sent::Stop && !self.must_break_later();
                if last {
                    return self.finish(Ending::Completed);
                }
                self.next = if self.plan.flush_each_event { Next::Yield } else { Next::Produce };
            }
            None => self.finish(Ending::Completed),
        }
    }

    /// A break is planned exactly behind the last event.
    fn must_break_later(&self) -> bool {
        let here = Some(self.events);
        self.plan.cut.cut == here || self.plan.cut.error == here || self.plan.stall == here
    }

    fn finish(&mut self, ending: Ending) {
        self.ending = ending;
        self.next = Next::End;
        if let Some(encoder) = self.gzip.take() {
            let tail = encoder.finish().unwrap_or_default();
            let mut joined = BytesMut::from(&self.pending[..]);
            joined.extend_from_slice(&tail);
            self.pending = joined.freeze();
        }
        self.note_ending();
    }

    fn note_ending(&mut self) {
        if self.next == Next::End && self.pending.is_empty() {
            self.record.ending = self.ending;
        }
    }

    fn hand_out(&mut self, event: Bytes) {
        let Some(encoder) = &mut self.gzip else {
            self.pending = event;
            return;
        };
        // Writing to memory does not fail.
        let _ = encoder.write_all(&event);
        let _ = encoder.flush();
        self.pending = std::mem::take(encoder.get_mut()).into();
    }

    fn sleep(&mut self, time: Duration) {
        if !time.is_zero() {
            self.wait = Some(Box::pin(tokio::time::sleep(time)));
        }
    }

    /// The next piece of `pending`, and the wait after it.
    fn piece(&mut self) -> Bytes {
        let mut length = self.pending.len();
        if let Some(split) = self.plan.split {
            length = length.min(split);
        }
        if let Some(limit) = self.plan.cut.cut_bytes {
            let left = usize::try_from(limit.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
            if left <= length {
                length = left;
                self.pending.truncate(left);
                self.next = Next::Settle;
            }
        }
        let piece = self.pending.split_to(length);
        self.bytes += u64::try_from(length).unwrap_or(0);
        self.record.sent(length);
        if !self.pending.is_empty() {
            self.sleep(self.plan.split_gap);
        } else if self.next == Next::Yield {
            self.sleep(self.plan.gap);
        }
        self.note_ending();
        piece
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if matches!(self.source, Source::Bytes) && self.plan.stall.take().is_some() {
            self.sleep(self.plan.stall_for);
        }
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
                if self.next == Next::Yield {
                    self.next = Next::Produce;
                }
            }
            if self.pending.has_remaining() {
                if self.plan.cut.cut_bytes == Some(0) {
                    self.pending.clear();
                    self.next = Next::Settle;
                    continue;
                }
                return Poll::Ready(Some(Ok(Frame::data(self.piece()))));
            }
            match self.next {
                Next::Produce => self.advance(),
                Next::Yield => {
                    self.next = Next::Produce;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::End => return Poll::Ready(None),
                Next::Settle => {
                    self.record.ending = Ending::Cut;
                    self.next = Next::Abort;
                    self.sleep(BEFORE_ABORT);
                }
                Next::Abort => {
                    (self.next, self.ending) = (Next::End, Ending::Cut);
                    return Poll::Ready(Some(Err(Aborted)));
                }
            }
        }
    }
}

/// Writes what just left into the log line.
fn note(record: &mut Record, sent: Sent, writer: &mut EventWriter) {
    let Some(line) = &mut record.line else { return };
    line.sent_events += 1;
    let Some(inference) = &mut line.inference else { return };
    match sent {
        Sent::Start => inference.sent_start = raw(std::mem::take(&mut writer.last_usage)),
        Sent::Delta => inference.sent_delta = raw(std::mem::take(&mut writer.last_usage)),
        Sent::Content { chars } => inference.sent_chars += u64::try_from(chars).unwrap_or(0),
        Sent::Stop => {}
    }
}

impl http_body::Body for SimBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.0.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.next == Next::End && self.0.pending.is_empty() && self.0.wait.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.source {
            Source::Bytes => SizeHint::with_exact(u64::try_from(self.0.pending.len()).unwrap_or(0)),
            Source::Events(..) => SizeHint::default(),
        }
    }
}
