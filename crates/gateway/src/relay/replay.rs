//! A stream once more: all at once, or at the pace at which it came.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use claviger_service::{grants::CutSignal, recall::Answer};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::reply::Aborted;

/// What leaves in one piece (64 KB).
const PIECE: usize = 64 * 1024;

/// A stream out of the response cache. Its record is kept before it begins, so nothing has to wait for its end.
pub struct Replay {
    answer: Arc<Answer>,
    cut: CutSignal,
    /// Where the client has got to.
    at: usize,
    /// Which of the pieces comes next.
    next: usize,
    pace: Option<Pace>,
}

/// The pace at which it came.
struct Pace {
    /// No silence is longer: nobody is kept waiting for what is there.
    longest: Duration,
    /// When the last piece was due.
    last: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Replay {
    /// The whole stream; at its old pace, with no silence longer than `longest`, if that is given.
    #[must_use]
    pub const fn new(answer: Arc<Answer>, cut: CutSignal, longest: Option<Duration>) -> Self {
        let pace = match longest {
            Some(longest) => Some(Pace { longest, last: None, timer: None }),
            None => None,
        };
        Self { answer, cut, at: 0, next: 0, pace }
    }

    /// The next bytes for the client.
    pub fn poll_data(&mut self, cx: &mut Context<'_>, cut: bool) -> Poll<Option<Result<Bytes, Aborted>>> {
        if self.is_over() {
            return Poll::Ready(None);
        }
        if cut || self.cut.is_cut() {
            self.at = self.answer.body.len();
            return Poll::Ready(Some(Err(Aborted::Cut)));
        }
        let end = match &mut self.pace {
            None => (self.at + PIECE).min(self.answer.body.len()),
            Some(pace) => {
                if pace.poll(cx, &self.answer, self.next).is_pending() {
                    // To be woken by the cut as well.
                    ready!(Pin::new(&mut self.cut).poll(cx));
                    return self.poll_data(cx, true);
                }
                let piece = self.answer.pieces.get(self.next);
                self.next += 1;
                piece.map_or(self.answer.body.len(), |piece| piece.end as usize)
            }
        };
        let data = self.answer.body.slice(self.at.min(end)..end);
        self.at = end;
        Poll::Ready(Some(Ok(data)))
    }

    /// Whether nothing more comes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.at >= self.answer.body.len()
    }
}

impl Pace {
    /// Ready when a piece is due.
    fn poll(&mut self, cx: &mut Context<'_>, answer: &Answer, piece: usize) -> Poll<()> {
        let came = |n: usize| answer.pieces.get(n).map_or(0, |piece| piece.at_ms);
        // The first one comes at once: the wait for it was the provider's.
        let before = if piece == 0 { came(0) } else { came(piece - 1) };
        let silence = Duration::from_millis(u64::from(came(piece).saturating_sub(before))).min(self.longest);
        let due = self.last.map_or_else(Instant::now, |last| last + silence);
        if due > Instant::now() {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
        }
        self.last = Some(due);
        Poll::Ready(())
    }
}
