//! Bodies that give up: after too long a silence, or too long altogether.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

#[cfg(test)]
mod tests;

/// Limits on the time that a body may take. `None`: no limit of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BodyTimeouts {
    /// The longest silence while the next frame is awaited.
    pub idle: Option<Duration>,
    /// The longest time from the head to the last byte.
    pub total: Option<Duration>,
}

/// Why a timed body ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum TimedError<E> {
    /// The body itself failed.
    #[error(transparent)]
    Body(E),
    /// Nothing came for this long.
    #[error("the body was silent for {} ms", .0.as_millis())]
    Idle(Duration),
    /// It was not over after this long.
    #[error("the body was not over after {} ms", .0.as_millis())]
    Total(Duration),
}

/// A body with limits on its time. The silence is measured while a frame is asked for, so a slow reader on our
/// side does not count against the sender.
pub struct TimedBody<B> {
    inner: B,
    timeouts: BodyTimeouts,
    ends: Option<Instant>,
    awaited_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> TimedBody<B> {
    /// Starts the total time now.
    pub fn new(inner: B, timeouts: BodyTimeouts) -> Self {
        let ends = timeouts.total.map(|t| Instant::now() + t);
        Self { inner, timeouts, ends, awaited_since: None, timer: None }
    }

    /// The body without its limits.
    pub fn into_inner(self) -> B {
        self.inner
    }

    /// The moment to give up at, if the next frame does not come.
    fn deadline(&self, awaited_since: Instant) -> Option<Instant> {
        let silent = self.timeouts.idle.map(|idle| awaited_since + idle);
        match (silent, self.ends) {
            (Some(silent), Some(ends)) => Some(silent.min(ends)),
            (one, other) => one.or(other),
        }
    }

    /// Which limit has been reached. The timer is moved only when it fires: frames come far more often.
    fn poll_limit<E>(&mut self, cx: &mut Context<'_>) -> Poll<TimedError<E>> {
        let since = *self.awaited_since.get_or_insert_with(Instant::now);
        let Some(deadline) = self.deadline(since) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Ready(match (self.ends, self.timeouts) {
            (Some(ends), BodyTimeouts { total: Some(total), .. }) if ends <= deadline => {
                TimedError::Total(total)
            }
            (_, timeouts) => TimedError::Idle(timeouts.idle.unwrap_or_default()),
        })
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = TimedError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(next) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.awaited_since = None;
            return Poll::Ready(next.map(|frame| frame.map_err(TimedError::Body)));
        }
        this.poll_limit(cx).map(|limit| Some(Err(limit)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
