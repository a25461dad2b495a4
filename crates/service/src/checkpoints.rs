//! Signed checkpoints over the heads of all chains.

use claviger_domain::audit::checkpoint::Checkpoint;

/// Where checkpoints are kept outside the database, so that a store that was cut or rolled back is found out.
pub trait CheckpointSink: Send + Sync + 'static {
    /// Keeps one checkpoint durably.
    ///
    /// # Errors
    /// Any IO error; it is reported and tried again with the next checkpoint.
    fn keep(&self, checkpoint: &Checkpoint) -> std::io::Result<()>;
}
