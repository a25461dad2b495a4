//! One HTTP/2 connection, shared by many requests. Its driver is a task, as no single request owns it.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{
    client::conn::http2::{Builder, SendRequest},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Slot;
use crate::{body::RequestBody, stream::Stream};

/// A PING goes out after this silence, and the connection is given up when it is not answered in the same time.
const PING_EVERY: Duration = Duration::from_secs(20);
/// What the peer may send ahead on one stream, and on all: large answers should not wait for window updates.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

pub(crate) struct Http2<B: RequestBody> {
    sender: SendRequest<B>,
    load: Arc<Load>,
    used: Instant,
}

/// Streams in use, and how many the peer allows as far as it has said.
struct Load {
    active: AtomicUsize,
    allowed: AtomicUsize,
}

/// A place among a connection's streams; given back when dropped.
pub(crate) struct Http2Stream<B: RequestBody> {
    pub(crate) sender: SendRequest<B>,
    pub(crate) place: StreamPlace,
}

pub(crate) struct StreamPlace(Arc<Load>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B: RequestBody> Http2<B> {
    /// Sets the connection up and hands its driver, with its place in the pool, to the tracker.
    pub(crate) async fn open(
        stream: Stream,
        slot: Slot<B>,
        tasks: &TaskTracker,
    ) -> Result<Self, hyper::Error> {
        let (sender, mut driver) = Builder::new(Tracked(tasks.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY)
            .handshake(TokioIo::new(stream))
            .await?;
        let load = Arc::new(Load { active: AtomicUsize::new(0), allowed: AtomicUsize::new(usize::MAX) });
        let told = Arc::clone(&load);
        tasks.spawn(async move {
            let end = poll_fn(|cx| {
                let end = Pin::new(&mut driver).poll(cx);
                told.allowed.store(driver.current_max_send_streams(), Ordering::Relaxed);
                end
            });
            if let Err(error) = end.await {
                tracing::debug!(%error, "upstream connection ended");
            }
            drop(slot);
        });
        Ok(Self { sender, load, used: Instant::now() })
    }

    /// A place for one more stream, if the connection lives and has one.
    pub(crate) fn stream(&mut self, limit: usize) -> Option<Http2Stream<B>> {
        let limit = limit.min(self.load.allowed.load(Ordering::Relaxed));
        if self.sender.is_closed() || self.load.active.load(Ordering::Relaxed) >= limit {
            return None;
        }
        self.used = Instant::now();
        self.load.active.fetch_add(1, Ordering::Relaxed);
        Some(Http2Stream { sender: self.sender.clone(), place: StreamPlace(Arc::clone(&self.load)) })
    }

    /// Whether it is open, and busy or used of late. The last sender's end closes it.
    pub(crate) fn is_worth_keeping(&self, now: Instant, idle_timeout: Duration) -> bool {
        let busy = self.load.active.load(Ordering::Relaxed) > 0;
        !self.sender.is_closed() && (busy || now - self.used < idle_timeout)
    }
}

/// Spawns hyper's own tasks where the owner can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
