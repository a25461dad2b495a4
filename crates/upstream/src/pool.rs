//! One worker's connections: how many may be open, which lie idle, who waits for one.
//!
//! A connection in use belongs to whoever uses it, as a [`Lease`]; the pool only counts it. Idle ones lie here,
//! the most recently used on top, because it is the likeliest to be alive. Every open connection holds one of
//! `max_connections` places; a place travels as a [`Slot`] and cannot be lost, as dropping it gives it back.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

pub(crate) mod http1;
pub(crate) mod http2;

use self::{
    http1::Http1,
    http2::{Http2, Http2Stream},
};
use crate::{body::RequestBody, config::PoolLimits, error::UpstreamError, target::Origin};

/// The pool throws out what died or lay idle too long at most this often while requests come and go.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Pool<B: RequestBody> {
    limits: PoolLimits,
    state: Mutex<State<B>>,
}

struct State<B: RequestBody> {
    idle: HashMap<Arc<Origin>, VecDeque<Idle<B>>>,
    idle_total: usize,
    shared: HashMap<Arc<Origin>, Vec<Http2<B>>>,
    open: usize,
    waiting: VecDeque<Waiter<B>>,
    next_sweep: Instant,
}

struct Idle<B: RequestBody> {
    connection: Box<Http1<B>>,
    since: Instant,
}

impl<B: RequestBody> Idle<B> {
    fn is_surplus(&self, now: Instant, limits: &PoolLimits) -> bool {
        now.saturating_duration_since(self.since) >= limits.surplus
    }
}

struct Waiter<B: RequestBody> {
    origin: Arc<Origin>,
    give: oneshot::Sender<Given<B>>,
}

/// What a waiting request gets: a place, and perhaps a live connection in it.
type Given<B> = (Slot<B>, Option<Box<Http1<B>>>);

/// One place among `max_connections`; given back when dropped.
pub(crate) struct Slot<B: RequestBody> {
    pool: Arc<Pool<B>>,
    held: bool,
}

impl<B: RequestBody> Drop for Slot<B> {
    fn drop(&mut self) {
        if self.held {
            self.held = false;
            self.pool.give_on(Slot { pool: Arc::clone(&self.pool), held: true });
        }
    }
}

/// An HTTP/1 connection in use by one request.
pub(crate) struct Lease<B: RequestBody> {
    pub(crate) connection: Box<Http1<B>>,
    origin: Arc<Origin>,
    slot: Slot<B>,
}

impl<B: RequestBody> Lease<B> {
    pub(crate) const fn new(connection: Box<Http1<B>>, origin: Arc<Origin>, slot: Slot<B>) -> Self {
        Self { connection, origin, slot }
    }

    /// Gives the connection back if it can carry another request, else closes it.
    pub(crate) fn finish(mut self) {
        if self.connection.is_at_rest() {
            let pool = Arc::clone(&self.slot.pool);
            pool.take_back(self);
        }
    }
}

/// What the pool has for a request.
pub(crate) enum Found<B: RequestBody> {
    /// An idle HTTP/1 connection.
    Idle(Lease<B>),
    /// A stream on a shared HTTP/2 connection.
    Shared(Http2Stream<B>),
    /// A place to open a new connection in.
    Room(Slot<B>),
}

impl<B: RequestBody> Pool<B> {
    pub(crate) fn new(limits: PoolLimits) -> Arc<Self> {
        let state = State {
            idle: HashMap::new(),
            idle_total: 0,
            shared: HashMap::new(),
            open: 0,
            waiting: VecDeque::new(),
            next_sweep: Instant::now() + SWEEP_EVERY,
        };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    /// A connection or a place for one; waits in the queue when there is neither. With `fresh`, idle
    /// connections are passed over: they turned out dead before.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        origin: &Arc<Origin>,
        fresh: bool,
    ) -> Result<Found<B>, UpstreamError> {
        let given = match self.try_acquire(origin, fresh)? {
            Ok(found) => return Ok(found),
            Err(given) => given,
        };
        let Ok(Ok((slot, connection))) = timeout(self.limits.wait_timeout, given).await else {
            return Err(self.lock().full());
        };
        Ok(match connection {
            Some(connection) => Found::Idle(Lease::new(connection, Arc::clone(origin), slot)),
            None => Found::Room(slot),
        })
    }

    /// A place without waiting and without looking at idle connections.
    pub(crate) fn place(self: &Arc<Self>) -> Result<Slot<B>, UpstreamError> {
        let mut state = self.lock();
        if state.open >= self.limits.max_connections && !state.close_oldest_idle() {
            return Err(state.full());
        }
        state.open += 1;
        Ok(self.slot())
    }

    fn try_acquire(
        self: &Arc<Self>,
        origin: &Arc<Origin>,
        fresh: bool,
    ) -> Result<Result<Found<B>, oneshot::Receiver<Given<B>>>, UpstreamError> {
        let mut state = self.lock();
        if !fresh {
            if let Some(stream) = state.shared_stream(origin, &self.limits) {
                return Ok(Ok(Found::Shared(stream)));
            }
            if let Some(connection) = state.pop_idle(origin, self.limits.idle_timeout) {
                return Ok(Ok(Found::Idle(Lease::new(connection, Arc::clone(origin), self.slot()))));
            }
        }
        if state.open < self.limits.max_connections || state.close_oldest_idle() {
            state.open += 1;
            return Ok(Ok(Found::Room(self.slot())));
        }
        if state.waiting.len() >= self.limits.max_waiting {
            state.waiting.retain(|w| !w.give.is_closed());
        }
        if state.waiting.len() >= self.limits.max_waiting {
            return Err(state.full());
        }
        let (give, given) = oneshot::channel();
        state.waiting.push_back(Waiter { origin: Arc::clone(origin), give });
        Ok(Err(given))
    }

    /// Enters a fresh HTTP/2 connection for others to share.
    pub(crate) fn share(&self, origin: &Arc<Origin>, connection: Http2<B>) {
        self.lock().shared.entry(Arc::clone(origin)).or_default().push(connection);
    }

    /// Closes what died and what lay idle for too long.
    pub(crate) fn sweep(&self) {
        self.lock().sweep(&self.limits);
    }

    /// Connections open and idle, for metrics.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.open, state.idle_total)
    }

    fn slot(self: &Arc<Self>) -> Slot<B> {
        Slot { pool: Arc::clone(self), held: true }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A live connection comes back: to the first who waits for this host, else to the idle ones.
    fn take_back(self: &Arc<Self>, lease: Lease<B>) {
        let Lease { connection, origin, mut slot } = lease;
        let mut state = self.lock();
        if !state.waiting.is_empty() {
            let same_host = state.waiting.front().is_some_and(|w| w.origin == origin);
            drop(state);
            return self.hand_to_waiter(slot, same_host.then_some((connection, origin)));
        }
        slot.held = false;
        let now = Instant::now();
        state.push_idle(origin, Idle { connection, since: now }, &self.limits);
        if now >= state.next_sweep {
            state.sweep(&self.limits);
        }
    }

    /// A place is free: to whoever waits first, else it is no longer counted.
    fn give_on(self: &Arc<Self>, slot: Slot<B>) {
        self.hand_to_waiter(slot, None);
    }

    fn hand_to_waiter(self: &Arc<Self>, slot: Slot<B>, live: Option<(Box<Http1<B>>, Arc<Origin>)>) {
        let mut slot = slot;
        let (mut connection, origin) = live.map_or((None, None), |(c, o)| (Some(c), Some(o)));
        let mut state = self.lock();
        while let Some(waiter) = state.waiting.pop_front() {
            let fits = origin.as_ref() == Some(&waiter.origin);
            let given = (slot, connection.take_if(|_| fits));
            match waiter.give.send(given) {
                Ok(()) => return,
                Err((back, unused)) => {
                    slot = back;
                    connection = connection.or(unused);
                }
            }
        }
        // Nobody waits any more. The place is not held when it is dropped, so the lock is not taken twice.
        slot.held = false;
        match (connection, origin) {
            (Some(connection), Some(origin)) => {
                let idle = Idle { connection, since: Instant::now() };
                state.push_idle(origin, idle, &self.limits);
            }
            _ => state.open = state.open.saturating_sub(1),
        }
    }
}

impl<B: RequestBody> State<B> {
    fn full(&self) -> UpstreamError {
        UpstreamError::PoolFull { open: self.open, waiting: self.waiting.len() }
    }

    fn shared_stream(&mut self, origin: &Arc<Origin>, limits: &PoolLimits) -> Option<Http2Stream<B>> {
        if self.shared.is_empty() {
            return None;
        }
        self.shared.get_mut(origin)?.iter_mut().find_map(|c| c.stream(limits.http2_streams))
    }

    fn pop_idle(&mut self, origin: &Arc<Origin>, timeout: Duration) -> Option<Box<Http1<B>>> {
        let queue = self.idle.get_mut(origin)?;
        let now = Instant::now();
        while let Some(Idle { mut connection, since }) = queue.pop_back() {
            self.idle_total -= 1;
            if now - since < timeout && connection.is_at_rest() {
                return Some(connection);
            }
            self.open = self.open.saturating_sub(1);
        }
        None
    }

    fn push_idle(&mut self, origin: Arc<Origin>, idle: Idle<B>, limits: &PoolLimits) {
        let queue = self.idle.entry(origin).or_default();
        let now = idle.since;
        queue.push_back(idle);
        self.idle_total += 1;
        // The one idle longest stands in front.
        let surplus =
            queue.len() > limits.idle_per_host && queue.front().is_some_and(|i| i.is_surplus(now, limits));
        if surplus && queue.pop_front().is_some() {
            self.idle_total -= 1;
            self.open = self.open.saturating_sub(1);
        }
        if self.idle_total > limits.idle_total && self.oldest_is_surplus(now, limits) {
            self.close_oldest_idle();
        }
    }

    fn oldest_is_surplus(&self, now: Instant, limits: &PoolLimits) -> bool {
        let oldest = self.idle.values().filter_map(|queue| queue.front()).min_by_key(|i| i.since);
        oldest.is_some_and(|i| i.is_surplus(now, limits))
    }

    /// Makes room by closing the connection that has been idle longest, whichever host it leads to.
    fn close_oldest_idle(&mut self) -> bool {
        let age = |queue: &&mut VecDeque<Idle<B>>| queue.front().map(|i| i.since);
        let oldest = self.idle.values_mut().filter(|q| !q.is_empty()).min_by_key(age);
        let closed = oldest.and_then(VecDeque::pop_front).is_some();
        if closed {
            self.idle_total -= 1;
            self.open = self.open.saturating_sub(1);
        }
        closed
    }

    fn sweep(&mut self, limits: &PoolLimits) {
        let now = Instant::now();
        self.next_sweep = now + SWEEP_EVERY;
        let before = self.idle_total;
        for queue in self.idle.values_mut() {
            queue.retain_mut(|i| now - i.since < limits.idle_timeout && i.connection.is_at_rest());
            let beyond = queue.len().saturating_sub(limits.idle_per_host);
            let surplus = queue.iter().take(beyond).take_while(|i| i.is_surplus(now, limits)).count();
            queue.drain(..surplus);
        }
        self.idle.retain(|_, queue| !queue.is_empty());
        self.idle_total = self.idle.values().map(VecDeque::len).sum();
        self.open = self.open.saturating_sub(before - self.idle_total);
        for connections in self.shared.values_mut() {
            connections.retain(|c| c.is_worth_keeping(now, limits.idle_timeout));
        }
        self.shared.retain(|_, connections| !connections.is_empty());
        while self.idle_total > limits.idle_total && self.oldest_is_surplus(now, limits) {
            self.close_oldest_idle();
        }
    }
}
