//! Where signed checkpoints go outside the database: one JSON line each, flushed to the disk.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use claviger_domain::audit::checkpoint::Checkpoint;
use claviger_service::checkpoints::CheckpointSink;

/// A file that checkpoints are appended to; best on another disk than the data.
pub struct FileSink {
    path: PathBuf,
}

impl FileSink {
    /// A sink for this file, which is made when the first checkpoint comes.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl CheckpointSink for FileSink {
    fn keep(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut line = serde_json::to_vec(checkpoint)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        file.write_all(&line)?;
        file.sync_data()
    }
}
