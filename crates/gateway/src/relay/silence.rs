//! How long nothing has come.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Measures silence. The timer is moved only when it fires: frames come far more often.
#[derive(Debug)]
pub struct Silence {
    /// `None`: it begins when it is asked for next.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    /// It begins when it is asked for first.
    #[must_use]
    pub const fn begins() -> Self {
        Self { since: None, timer: None }
    }

    /// Something came, and it begins anew.
    pub const fn ends(&mut self) {
        self.since = None;
    }

    /// Ready when it has lasted for `limit`.
    pub fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let due = *self.since.get_or_insert_with(Instant::now) + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}
