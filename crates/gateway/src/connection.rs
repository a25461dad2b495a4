//! One client connection: what it is doing, for how long, and when that is too long.
//!
//! One timer a connection, moved only when it fires or would fire too late: requests that flow pay two loads.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::ConnectionLimits;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing: between requests.
    Idle,
    /// A request's head is coming in.
    Head,
    /// At least one request is being served.
    Busy,
}

/// Shared by the connection's socket, its requests and its watchdog. Times are milliseconds since it began.
#[derive(Debug)]
pub struct ConnectionState {
    began: Instant,
    phase: AtomicU8,
    phase_since: AtomicU64,
    /// Requests being served: more than one only with HTTP/2.
    serving: AtomicU64,
    /// When a write began to wait for the client; 0: none does.
    stalled_since: AtomicU64,
    /// No further request is taken.
    draining: AtomicBool,
    /// All answers must end now.
    cut: AtomicBool,
    /// Wakes the connection's task; a task keeps its waker for life.
    waker: OnceLock<Waker>,
    /// Wake the answers that are sent by tasks of their own (HTTP/2), by number.
    answers: Mutex<HashMap<u64, Waker>>,
    /// The next answer's number.
    next: AtomicU64,
}

/// Why a connection was closed by its watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Idle for too long.
    Idle,
    /// A head came too slowly.
    Head,
    /// The client took no byte for too long.
    Stalled,
}

impl ConnectionState {
    /// A connection that begins now.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            phase: AtomicU8::new(Phase::Idle as u8),
            phase_since: AtomicU64::new(0),
            serving: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            waker: OnceLock::new(),
            answers: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn enter(&self, phase: Phase) {
        self.phase_since.store(self.millis(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Bytes came in.
    pub fn received(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Idle as u8 {
            self.enter(Phase::Head);
        }
    }

    /// A request begins to be served.
    pub fn begin(&self) {
        self.serving.fetch_add(1, Ordering::Relaxed);
        self.phase.store(Phase::Busy as u8, Ordering::Relaxed);
    }

    /// A request has been served to its end.
    pub fn end(&self) {
        if self.serving.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.enter(Phase::Idle);
        }
    }

    /// Bytes were written, or (`stalled`) the client has no room for them.
    pub fn wrote(&self, stalled: bool) {
        let since = self.stalled_since.load(Ordering::Relaxed);
        match (stalled, since) {
            (true, 0) => self.stalled_since.store(self.millis().max(1), Ordering::Relaxed),
            (false, 1..) => self.stalled_since.store(0, Ordering::Relaxed),
            (true, 1..) | (false, 0) => {}
        }
    }

    /// To be called by the connection's task when it is first polled.
    pub fn runs_in(&self, cx: &Context<'_>) {
        self.waker.get_or_init(|| cx.waker().clone());
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Asks the connection to take no further request.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Whether no further request may be taken.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Tells all answers on this connection to end.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.wake();
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        answers.into_values().for_each(Waker::wake);
    }

    /// Whether answers must end. If not, an answer that is sent by a task of its own is woken when they must.
    fn is_cut(&self, answer: u64, cx: &Context<'_>) -> bool {
        if self.waker.get().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers
                .entry(answer)
                .and_modify(|waker| waker.clone_from(cx.waker()))
                .or_insert_with(|| cx.waker().clone());
        }
        self.cut.load(Ordering::SeqCst)
    }

    fn forget(&self, answer: u64) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer);
    }

    /// When the connection is to be closed if nothing happens until then, and why.
    fn deadline(&self, limits: &ConnectionLimits) -> Option<(u64, Overdue)> {
        let at = |since: u64, limit: Duration| {
            since.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
        };
        let since = self.phase_since.load(Ordering::Relaxed);
        let phase = match self.phase.load(Ordering::Relaxed) {
            p if p == Phase::Idle as u8 => Some((at(since, limits.keep_alive), Overdue::Idle)),
            p if p == Phase::Head as u8 => Some((at(since, limits.head), Overdue::Head)),
            _ => None,
        };
        let stalled = match self.stalled_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some((at(since, limits.write_stall), Overdue::Stalled)),
        };
        match (phase, stalled) {
            (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
            (one, other) => one.or(other),
        }
    }
}

/// Counts one request as being served, on its connection and in all, until it is dropped.
#[derive(Debug)]
pub struct Serving {
    connection: Arc<ConnectionState>,
    number: u64,
    in_flight: Gauge<i64, AtomicI64>,
}

impl Serving {
    /// Begins, unless `most` are being served already.
    #[must_use]
    pub fn on(
        connection: &Arc<ConnectionState>,
        in_flight: &Gauge<i64, AtomicI64>,
        most: usize,
    ) -> Option<Self> {
        connection.begin();
        let before = in_flight.inc();
        let number = connection.next.fetch_add(1, Ordering::Relaxed);
        let serving = Self { connection: Arc::clone(connection), number, in_flight: in_flight.clone() };
        usize::try_from(before).is_ok_and(|before| before < most).then_some(serving)
    }

    /// Whether the answer must end now. If not, its task is woken when it must.
    #[must_use]
    pub fn is_cut(&self, cx: &Context<'_>) -> bool {
        self.connection.is_cut(self.number, cx)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.in_flight.dec();
        self.connection.forget(self.number);
        self.connection.end();
    }
}

/// Watches over one connection.
#[derive(Debug)]
pub struct Watchdog {
    state: Arc<ConnectionState>,
    limits: ConnectionLimits,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watchdog {
    /// A watchdog that has not looked yet.
    #[must_use]
    pub const fn new(state: Arc<ConnectionState>, limits: ConnectionLimits) -> Self {
        Self { state, limits, timer: None }
    }

    /// To be called after each poll of the connection; ready when it must be closed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        loop {
            let Some((due, why)) = self.state.deadline(&self.limits) else { return Poll::Pending };
            let due = self.state.began + Duration::from_millis(due);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() > due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(why);
            }
            timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn limits() -> ConnectionLimits {
        ConnectionLimits::default()
    }

    async fn overdue_after(state: &Arc<ConnectionState>) -> (Overdue, u64) {
        let mut dog = Watchdog::new(Arc::clone(state), limits());
        let began = Instant::now();
        let why = poll_fn(|cx| dog.poll(cx)).await;
        (why, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_heads_idle_connections_and_stalled_readers_are_closed_in_time() {
        let state = ConnectionState::new();
        assert_eq!(overdue_after(&state).await, (Overdue::Idle, 75));
        state.received();
        assert_eq!(overdue_after(&state).await, (Overdue::Head, 10));
        let gauge = Gauge::default();
        let serving = Serving::on(&state, &gauge, 1).unwrap();
        assert!(Serving::on(&state, &gauge, 1).is_none());
        state.wrote(true);
        assert_eq!(overdue_after(&state).await, (Overdue::Stalled, 120));
        state.wrote(false);
        drop(serving);
        assert_eq!(overdue_after(&state).await, (Overdue::Idle, 75));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_being_served_has_no_deadline() {
        let state = ConnectionState::new();
        state.received();
        let _serving = Serving::on(&state, &Gauge::default(), 1).unwrap();
        let mut dog = Watchdog::new(Arc::clone(&state), limits());
        let wait = tokio::time::timeout(Duration::from_secs(3600), poll_fn(|cx| dog.poll(cx)));
        assert!(wait.await.is_err());
    }

    #[tokio::test]
    async fn a_cut_wakes_the_answers_that_tasks_of_their_own_send() {
        struct Woken(AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let state = ConnectionState::new();
        state.runs_in(&Context::from_waker(Waker::noop()));
        let gauge = Gauge::default();
        let [one, other] = [(); 2].map(|()| Serving::on(&state, &gauge, 2).unwrap());
        let [woken, gone] = [(); 2].map(|()| Arc::new(Woken(AtomicBool::new(false))));
        assert!(!one.is_cut(&Context::from_waker(&Waker::from(Arc::clone(&woken)))));
        assert!(!other.is_cut(&Context::from_waker(&Waker::from(Arc::clone(&gone)))));
        drop(other);
        state.cut();
        assert!(woken.0.load(Ordering::SeqCst) && !gone.0.load(Ordering::SeqCst));
        assert!(one.is_cut(&Context::from_waker(&Waker::from(woken))));
    }
}
