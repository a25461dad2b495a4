//! Where tasks and threads are started, and waited for at the end.

use std::future::Future;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Everything that runs in the background, and the word to stop.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// Counts what runs.
    pub tracker: TaskTracker,
    /// Cancelled when the process is to stop.
    pub stop: CancellationToken,
}

impl Tasks {
    /// Starts a task that is waited for at the end.
    pub fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }
}
