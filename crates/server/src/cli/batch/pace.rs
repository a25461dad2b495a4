//! How many requests are in flight at once, and when nobody may begin one.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Without a single answer for so long, waiting helps no more.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long nobody may be reached at all before the run ends.
const SILENCE: Duration = Duration::from_secs(120);

/// What all workers of a run agree on. They run on one thread.
pub struct Pace {
    most: usize,
    limit: Cell<usize>,
    flying: Cell<usize>,
    /// Answers since the limit was last changed.
    answered: Cell<usize>,
    not_before: Cell<Option<Instant>>,
    last_answer: Cell<Instant>,
    /// Since when nobody can be reached.
    silent: Cell<Option<Instant>>,
    stop: RefCell<Option<Stop>>,
    changed: Notify,
}

/// Why a run ends before everything is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A ceiling on money, or a limit with a long window.
    Ceiling {
        /// In the gateway's words.
        message: String,
        /// When it lifts, if anybody knows.
        lifts_in: Option<Duration>,
    },
    /// The gateway takes nothing.
    Closed(String),
    /// Nobody answers.
    Unreachable(String),
    /// Somebody wants it to end.
    Interrupted,
    /// The answers cannot be kept, or the requests not be read.
    Failed(String),
}

/// The right to have one request in flight.
pub struct Permit<'a>(&'a Pace);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.flying.update(|flying| flying - 1);
        self.0.changed.notify_waiters();
    }
}

impl Pace {
    /// At most so many at once.
    pub fn of(most: usize) -> Self {
        Self {
            most,
            limit: Cell::new(most),
            flying: Cell::new(0),
            answered: Cell::new(0),
            not_before: Cell::new(None),
            last_answer: Cell::new(Instant::now()),
            silent: Cell::new(None),
            stop: RefCell::new(None),
            changed: Notify::new(),
        }
    }

    /// Waits until a request may be sent; `None`: none will be.
    pub async fn enter(&self) -> Option<Permit<'_>> {
        loop {
            let changed = self.changed.notified();
            if self.is_stopped() {
                return None;
            }
            let now = Instant::now();
            let pause = self.not_before.get().filter(|until| *until > now);
            match pause {
                Some(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = changed => {}
                    }
                }
                None if self.flying.get() < self.limit.get() => {
                    self.flying.update(|flying| flying + 1);
                    return Some(Permit(self));
                }
                None => changed.await,
            }
        }
    }

    /// Waits, unless the run ends.
    pub async fn wait(&self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            if self.is_stopped() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = changed => {}
            }
        }
    }

    /// A request was answered. After a ceiling was met, every so many answers let one more fly.
    pub fn answered(&self) {
        self.last_answer.set(Instant::now());
        self.answered.update(|answered| answered + 1);
        if self.limit.get() < self.most && self.answered.get() >= self.limit.get() {
            self.set_limit(self.limit.get() + 1);
        }
    }

    /// Nobody begins one for so long. `false`: it has not helped for a long time.
    pub fn pause(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        if self.not_before.get().is_none_or(|before| before < until) {
            self.not_before.set(Some(until));
        }
        self.flying.get() > 0 || self.last_answer.get().elapsed() < PATIENCE
    }

    /// A ceiling refused a request, which is not in flight any more. What the others hold back may be what it lacked:
    /// as many as they are may fly. `false`: there are no others.
    pub fn narrow(&self) -> bool {
        let others = self.flying.get();
        if others > 0 {
            self.set_limit(others.min(self.limit.get()));
        }
        others > 0
    }

    fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
        self.answered.set(0);
        self.changed.notify_waiters();
    }

    /// Somebody was reached.
    pub fn heard(&self) {
        self.silent.set(None);
    }

    /// Nobody could be reached. After a while the run ends with that.
    pub fn unheard(&self, why: String) {
        let since = self.silent.get().unwrap_or_else(Instant::now);
        self.silent.set(Some(since));
        if since.elapsed() >= SILENCE {
            self.stop(Stop::Unreachable(why));
        }
    }

    /// Ends the run; the first reason counts.
    pub fn stop(&self, why: Stop) {
        self.stop.borrow_mut().get_or_insert(why);
        self.changed.notify_waiters();
    }

    /// Whether the run ends.
    pub fn is_stopped(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Why it ended before its end.
    pub fn stopped(&self) -> Option<Stop> {
        self.stop.borrow().clone()
    }

    /// How many are in flight.
    pub fn flying(&self) -> usize {
        self.flying.get()
    }

    /// How long nobody may begin one.
    pub fn paused(&self) -> Option<Duration> {
        self.not_before.get()?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::join};

    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_fly_than_may() {
        let pace = Pace::of(2);
        let (first, second) = (pace.enter().await.unwrap(), pace.enter().await.unwrap());
        assert!(pace.enter().now_or_never().is_none());
        let (third, ()) = join(pace.enter(), async { drop(first) }).await;
        assert_eq!(pace.flying(), 2);
        drop((second, third));
        assert_eq!(pace.flying(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ceiling_leaves_as_many_as_it_held_and_lets_more_fly_by_and_by() {
        let pace = Pace::of(4);
        let mut permits = Vec::new();
        for _ in 0..4 {
            permits.push(pace.enter().await.unwrap());
        }
        permits.pop();
        permits.pop();
        assert!(pace.narrow());
        assert!(pace.enter().now_or_never().is_none());
        permits.clear();
        assert!(!pace.narrow());
        // Two answers: three may fly. Three more: four, and never five.
        for (answers, may) in [(2, 3), (3, 4), (50, 4)] {
            for _ in 0..answers {
                pace.answered();
            }
            let mut held = Vec::new();
            while let Some(permit) = pace.enter().now_or_never() {
                held.push(permit);
            }
            assert_eq!(held.len(), may);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_all_and_ends_when_it_is_stopped() {
        let pace = Pace::of(2);
        let begun = Instant::now();
        assert!(pace.pause(secs(5)) && pace.pause(secs(1)));
        drop(pace.enter().await.unwrap());
        assert_eq!(begun.elapsed(), secs(5));
        pace.pause(secs(5));
        let (refused, ()) = join(pace.enter(), async {
            tokio::time::sleep(secs(1)).await;
            pace.stop(Stop::Interrupted);
            pace.stop(Stop::Closed(String::new()));
        })
        .await;
        assert!(refused.is_none());
        assert_eq!((begun.elapsed(), pace.stopped()), (secs(6), Some(Stop::Interrupted)));
        pace.wait(secs(100)).await;
        assert_eq!(begun.elapsed(), secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_for_ever() {
        let pace = Pace::of(1);
        pace.unheard("a".to_owned());
        tokio::time::advance(secs(100)).await;
        pace.heard();
        pace.unheard("b".to_owned());
        tokio::time::advance(secs(119)).await;
        pace.unheard("c".to_owned());
        assert_eq!(pace.stopped(), None);
        tokio::time::advance(secs(1)).await;
        pace.unheard("d".to_owned());
        assert_eq!(pace.stopped(), Some(Stop::Unreachable("d".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_without_an_answer_has_an_end() {
        let pace = Pace::of(1);
        tokio::time::advance(secs(899)).await;
        assert!(pace.pause(secs(1)));
        tokio::time::advance(secs(2)).await;
        assert!(!pace.pause(secs(1)));
        pace.answered();
        assert!(pace.pause(secs(1)));
    }
}
