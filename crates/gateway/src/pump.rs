//! Waiting for records together. A group commit tells many requests of this worker that they may go on; waking each
//! of them from the ledger's thread would cost a system call each. So one task of the worker waits for all, is
//! woken once, and wakes them on its own thread.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use claviger_service::recorder::{Receipt, RecordError};

/// What became of a record.
type Fate = Result<(), RecordError>;

/// One worker's requests that wait for records.
#[derive(Default)]
pub struct Pump {
    waiting: Mutex<Vec<Entry>>,
    /// The task that waits for all of them. A task keeps its waker for life.
    task: OnceLock<Waker>,
}

/// One request's record.
struct Entry {
    receipt: Receipt,
    cell: Arc<Mutex<Cell>>,
}

/// Between the pump and one request.
struct Cell {
    fate: Option<Fate>,
    request: Waker,
}

/// A request's wait for its record.
#[derive(Default)]
pub struct Wait(Stage);

#[derive(Default)]
enum Stage {
    /// There is nothing to wait for.
    #[default]
    Over,
    /// Not begun.
    Receipt(Receipt),
    /// The pump waits.
    Pumped(Arc<Mutex<Cell>>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wait {
    /// For this record; ready at once if there is none.
    #[must_use]
    pub fn on(receipt: Option<Receipt>) -> Self {
        Self(receipt.map_or(Stage::Over, Stage::Receipt))
    }

    /// What is known without waiting; `None`: nothing yet.
    #[must_use]
    pub fn now(&self) -> Option<Fate> {
        match &self.0 {
            Stage::Over => Some(Ok(())),
            Stage::Receipt(receipt) => receipt.now(),
            Stage::Pumped(cell) => lock(cell).fate,
        }
    }

    /// Ready when the record is durable, or will not be in time; from then on it is ready and well.
    pub fn poll(&mut self, pump: &Pump, cx: &mut Context<'_>) -> Poll<Fate> {
        if let Some(fate) = self.now() {
            self.0 = Stage::Over;
            return Poll::Ready(fate);
        }
        match std::mem::take(&mut self.0) {
            Stage::Over => return Poll::Ready(Ok(())),
            Stage::Receipt(mut receipt) => {
                let Some(task) = pump.task.get() else {
                    // No task to wait in: the request waits by itself.
                    let fate = Pin::new(&mut receipt).poll(cx);
                    self.0 = Stage::Receipt(receipt);
                    return fate;
                };
                let cell = Arc::new(Mutex::new(Cell { fate: None, request: cx.waker().clone() }));
                if let Some(fate) = pump.enter(receipt, task, &cell) {
                    return Poll::Ready(fate);
                }
                self.0 = Stage::Pumped(cell);
            }
            Stage::Pumped(cell) => {
                let mut held = lock(&cell);
                if !held.request.will_wake(cx.waker()) {
                    held.request = cx.waker().clone();
                }
                drop(held);
                self.0 = Stage::Pumped(cell);
            }
        }
        Poll::Pending
    }
}

impl Pump {
    /// Takes a record to wait for, unless its fate is known.
    fn enter(&self, mut receipt: Receipt, task: &Waker, cell: &Arc<Mutex<Cell>>) -> Option<Fate> {
        // Held while the record is asked, so that the task cannot look before the entry is there.
        let mut waiting = lock(&self.waiting);
        if let Poll::Ready(fate) = Pin::new(&mut receipt).poll(&mut Context::from_waker(task)) {
            return Some(fate);
        }
        waiting.push(Entry { receipt, cell: Arc::clone(cell) });
        None
    }

    /// Waits for all records, for ever. To be run in a task of the worker's own thread.
    pub async fn run(&self) {
        poll_fn(|cx| {
            self.task.get_or_init(|| cx.waker().clone());
            self.tell();
            Poll::<()>::Pending
        })
        .await;
    }

    /// Wakes the requests whose records are decided.
    fn tell(&self) {
        let decided: Vec<Entry> =
            lock(&self.waiting).extract_if(.., |entry| entry.receipt.now().is_some()).collect();
        for Entry { receipt, cell } in decided {
            let mut held = lock(&cell);
            held.fate = receipt.now();
            held.request.wake_by_ref();
        }
    }
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("waiting", &lock(&self.waiting).len()).finish_non_exhaustive()
    }
}
