//! Where messages gather for the next group, and how their senders learn that it is durable.
//!
//! A message is urgent when somebody waits for it: a settlement at once, an intent when its receipt is first polled. What
//! nobody waits for yet goes along with the next urgent message, or alone after [`LINGER`]; so an answer that is whole
//! before its intent was committed costs one commit and not two. The writer is woken only when it sleeps.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::Notify;

use super::{RecordError, gather::Gathered};
use crate::lock::lock;

/// How long a message that nobody waits for is left to gather.
pub(super) const LINGER: Duration = Duration::from_millis(5);

/// The open batch and the way to wake the writer.
pub(super) struct Queue {
    open: Mutex<Open>,
    closed: AtomicBool,
    arrived: Notify,
}

struct Open {
    gathered: Gathered,
    batch: Arc<Batch>,
    is_urgent: bool,
    writer: WriterIs,
    is_closed: bool,
}

/// What the writer does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriterIs {
    /// It will look again: nothing needs to wake it.
    Awake,
    /// It looks again within [`LINGER`]: only what is urgent wakes it.
    Lingering,
    /// It sleeps: everything wakes it.
    Asleep,
}

/// What the writer takes: messages, and whom to tell.
pub(super) struct Taken {
    pub(super) gathered: Gathered,
    pub(super) batch: Arc<Batch>,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new_cyclic(|queue| {
            let open = Open {
                gathered: Gathered::default(),
                batch: Arc::new(Batch::of(Weak::clone(queue))),
                is_urgent: false,
                writer: WriterIs::Awake,
                is_closed: false,
            };
            Self { open: Mutex::new(open), closed: AtomicBool::new(false), arrived: Notify::new() }
        })
    }

    /// Adds a message to the open batch. The closure only moves what it was given.
    pub(super) fn push(&self, is_urgent: bool, message: impl FnOnce(&mut Gathered)) -> Receipt {
        let mut open = lock(&self.open);
        if open.is_closed {
            drop(open);
            let batch = Arc::new(Batch::of(Weak::new()));
            batch.finish(Fate::Stopped);
            return Receipt { batch, message: 0, place: None };
        }
        message(&mut open.gathered);
        let message = open.gathered.end_message();
        let batch = Arc::clone(&open.batch);
        if is_urgent && !open.is_urgent {
            open.is_urgent = true;
            batch.is_urgent.store(true, Ordering::Relaxed);
        }
        let wake = open.must_wake();
        drop(open);
        if wake {
            self.arrived.notify_one();
        }
        Receipt { batch, message, place: None }
    }

    /// Somebody waits for this batch now.
    fn hurry(&self, batch: &Arc<Batch>) {
        let mut open = lock(&self.open);
        if !Arc::ptr_eq(&open.batch, batch) {
            return;
        }
        open.is_urgent = true;
        let wake = open.must_wake();
        drop(open);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Whether anybody waits for what has gathered.
    pub(super) fn is_urgent(&self) -> bool {
        lock(&self.open).is_urgent
    }

    /// Takes all that has gathered, if anybody waits for it. `None`: what is urgent wakes the writer, which looks again
    /// by itself within [`LINGER`].
    pub(super) fn take_urgent(self: &Arc<Self>) -> Option<Taken> {
        let mut open = lock(&self.open);
        if !open.is_urgent {
            open.writer = WriterIs::Lingering;
            return None;
        }
        Some(open.take(self))
    }

    /// Takes all that has gathered. `None`: nothing; whatever arrives wakes the writer.
    pub(super) fn take(self: &Arc<Self>) -> Option<Taken> {
        let mut open = lock(&self.open);
        if open.gathered.is_empty() {
            open.writer = WriterIs::Asleep;
            return None;
        }
        Some(open.take(self))
    }

    /// Resolves when the writer was woken.
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

impl Open {
    /// Whether the writer must be woken for what has gathered; it is told once.
    const fn must_wake(&mut self) -> bool {
        let wake = match self.writer {
            WriterIs::Awake => false,
            WriterIs::Lingering => self.is_urgent,
            WriterIs::Asleep => true,
        };
        if wake {
            self.writer = WriterIs::Awake;
        }
        wake
    }

    fn take(&mut self, queue: &Arc<Queue>) -> Taken {
        self.writer = WriterIs::Awake;
        self.is_urgent = false;
        let room = self.gathered.room_for_another();
        let next = Arc::new(Batch::of(Arc::downgrade(queue)));
        Taken {
            gathered: std::mem::replace(&mut self.gathered, room),
            batch: std::mem::replace(&mut self.batch, next),
        }
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

/// Tasks among which a batch looks for one that it has woken already: about as many as there are workers.
const MANY_TASKS: usize = 8;

const PENDING: u8 = 0;
const DURABLE: u8 = 1;
const LATE: u8 = 2;
const STOPPED: u8 = 3;

/// All messages of one group, as their senders see it.
pub(super) struct Batch {
    fate: AtomicU8,
    is_urgent: AtomicBool,
    /// Messages of which the store refuses something for good, in their order.
    refused: OnceLock<Vec<usize>>,
    waiting: Mutex<Vec<Option<Waker>>>,
    queue: Weak<Queue>,
}

impl Batch {
    const fn of(queue: Weak<Queue>) -> Self {
        let (fate, is_urgent) = (AtomicU8::new(PENDING), AtomicBool::new(false));
        Self { fate, is_urgent, refused: OnceLock::new(), waiting: Mutex::new(Vec::new()), queue }
    }

    /// Somebody waits for it.
    fn hurry(self: &Arc<Self>) {
        if !self.is_urgent.swap(true, Ordering::Relaxed)
            && let Some(queue) = self.queue.upgrade()
        {
            queue.hurry(self);
        }
    }

    /// Tells all senders at once that they are durable, but those of which something is refused.
    pub(super) fn finish_without(&self, refused: Vec<usize>) {
        if !refused.is_empty() {
            let _ = self.refused.set(refused);
        }
        self.finish(Fate::Durable);
    }

    /// Tells all senders at once. The first fate counts.
    pub(super) fn finish(&self, fate: Fate) {
        let code = match fate {
            Fate::Durable => DURABLE,
            Fate::Late => LATE,
            Fate::Stopped => STOPPED,
        };
        let _ = self.fate.compare_exchange(PENDING, code, Ordering::AcqRel, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        // Many senders may wait in one task; waking it again after it ran would cost a system call each time.
        let mut woken: Vec<Waker> = Vec::with_capacity(1);
        for waker in waiting.into_iter().flatten() {
            if !woken.iter().any(|known| known.will_wake(&waker)) {
                waker.wake_by_ref();
                if woken.len() < MANY_TASKS {
                    woken.push(waker);
                }
            }
        }
    }

    fn poll(&self, message: usize) -> Poll<Result<(), RecordError>> {
        let is_refused = || self.refused.get().is_some_and(|all| all.binary_search(&message).is_ok());
        match self.fate.load(Ordering::Acquire) {
            PENDING => Poll::Pending,
            DURABLE if is_refused() => Poll::Ready(Err(RecordError::Refused)),
            DURABLE => Poll::Ready(Ok(())),
            LATE => Poll::Ready(Err(RecordError::Timeout)),
            _ => Poll::Ready(Err(RecordError::Stopped)),
        }
    }
}

/// Resolves when the message is durable, or will not be in time. Polling it makes the message urgent.
#[must_use = "the last byte must not leave before the receipt resolves"]
pub struct Receipt {
    batch: Arc<Batch>,
    /// Its number among the batch's messages.
    message: usize,
    place: Option<usize>,
}

impl Receipt {
    /// Whether the message is durable already, without waiting; `None`: not decided.
    #[must_use]
    pub fn now(&self) -> Option<Result<(), RecordError>> {
        match self.batch.poll(self.message) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}

impl Future for Receipt {
    type Output = Result<(), RecordError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let done @ Poll::Ready(_) = this.batch.poll(this.message) {
            return done;
        }
        let mut waiting = lock(&this.batch.waiting);
        // Decided between the first look and the lock: `finish` empties the list after it has decided.
        if let done @ Poll::Ready(_) = this.batch.poll(this.message) {
            return done;
        }
        match this.place.and_then(|place| waiting.get_mut(place)) {
            Some(Some(known)) if known.will_wake(cx.waker()) => {}
            Some(slot) => *slot = Some(cx.waker().clone()),
            None => {
                this.place = Some(waiting.len());
                waiting.push(Some(cx.waker().clone()));
                drop(waiting);
                this.batch.hurry();
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
