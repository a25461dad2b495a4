//! Where messages gather for the next group, and how their senders learn that it is durable.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use super::{RecordError, gather::Gathered};
use crate::lock::lock;

/// The open batch and the way to wake the writer.
pub(super) struct Queue {
    open: Mutex<Open>,
    closed: AtomicBool,
    arrived: Notify,
}

struct Open {
    gathered: Gathered,
    batch: Arc<Batch>,
    /// The writer will look again by itself: it need not be woken.
    writer_looks: bool,
    is_closed: bool,
}

/// What the writer takes: messages, and whom to tell.
pub(super) struct Taken {
    pub(super) gathered: Gathered,
    pub(super) batch: Arc<Batch>,
}

impl Queue {
    pub(super) fn new() -> Self {
        let open = Open {
            gathered: Gathered::default(),
            batch: Arc::default(),
            writer_looks: false,
            is_closed: false,
        };
        Self { open: Mutex::new(open), closed: AtomicBool::new(false), arrived: Notify::new() }
    }

    /// Adds a message to the open batch. The closure only moves what it was given.
    pub(super) fn push(&self, message: impl FnOnce(&mut Gathered)) -> Receipt {
        let mut open = lock(&self.open);
        if open.is_closed {
            drop(open);
            let batch = Arc::new(Batch::default());
            batch.finish(Fate::Stopped);
            return Receipt { batch, place: None };
        }
        message(&mut open.gathered);
        let batch = Arc::clone(&open.batch);
        let wake = !std::mem::replace(&mut open.writer_looks, true);
        drop(open);
        if wake {
            self.arrived.notify_one();
        }
        Receipt { batch, place: None }
    }

    /// Takes all that has gathered. `None`: nothing; the next message wakes the writer.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut open = lock(&self.open);
        if open.gathered.is_empty() {
            open.writer_looks = false;
            return None;
        }
        open.writer_looks = true;
        let room = open.gathered.room_for_another();
        let gathered = std::mem::replace(&mut open.gathered, room);
        let batch = std::mem::take(&mut open.batch);
        Some(Taken { gathered, batch })
    }

    /// Resolves when something arrived after [`Queue::take`] found nothing.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes no more messages. What has gathered can still be taken.
    pub(super) fn close(&self) {
        lock(&self.open).is_closed = true;
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is durable.
    Durable,
    /// It could not be made durable in time; it stays queued.
    Late,
    /// The recorder was stopped before.
    Stopped,
}

const PENDING: u8 = 0;
const DURABLE: u8 = 1;
const LATE: u8 = 2;
const STOPPED: u8 = 3;

/// All messages of one group, as their senders see it.
#[derive(Default)]
pub(super) struct Batch {
    fate: AtomicU8,
    waiting: Mutex<Vec<Option<Waker>>>,
}

impl Batch {
    /// Tells all senders at once. The first fate counts.
    pub(super) fn finish(&self, fate: Fate) {
        let code = match fate {
            Fate::Durable => DURABLE,
            Fate::Late => LATE,
            Fate::Stopped => STOPPED,
        };
        let _ = self.fate.compare_exchange(PENDING, code, Ordering::AcqRel, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    fn poll(&self) -> Poll<Result<(), RecordError>> {
        match self.fate.load(Ordering::Acquire) {
            PENDING => Poll::Pending,
            DURABLE => Poll::Ready(Ok(())),
            LATE => Poll::Ready(Err(RecordError::Timeout)),
            _ => Poll::Ready(Err(RecordError::Stopped)),
        }
    }
}

/// Resolves when the message is durable, or will not be in time. It costs nothing until it is polled.
#[must_use = "the last byte must not leave before the receipt resolves"]
pub struct Receipt {
    batch: Arc<Batch>,
    place: Option<usize>,
}

impl Receipt {
    /// Whether the message is durable already, without waiting; `None`: not decided.
    #[must_use]
    pub fn now(&self) -> Option<Result<(), RecordError>> {
        match self.batch.poll() {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}

impl Future for Receipt {
    type Output = Result<(), RecordError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let done @ Poll::Ready(_) = this.batch.poll() {
            return done;
        }
        let mut waiting = lock(&this.batch.waiting);
        // Decided between the first look and the lock: `finish` empties the list after it has decided.
        if let done @ Poll::Ready(_) = this.batch.poll() {
            return done;
        }
        match this.place.and_then(|place| waiting.get_mut(place)) {
            Some(Some(known)) if known.will_wake(cx.waker()) => {}
            Some(slot) => *slot = Some(cx.waker().clone()),
            None => {
                this.place = Some(waiting.len());
                waiting.push(Some(cx.waker().clone()));
            }
        }
        Poll::Pending
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        if let Some(slot) = lock(&self.batch.waiting).get_mut(place) {
            *slot = None;
        }
    }
}
