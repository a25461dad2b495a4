//! What one fsync costs on a disk.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::process::now;

const ROUNDS: usize = 200;
/// A database page.
const PAGE: [u8; 4096] = [0x5a; 4096];

/// Appends a page and syncs it, over and over; the nanoseconds of each.
pub fn measure(folder: &Path) -> anyhow::Result<Vec<u64>> {
    fs::create_dir_all(folder)?;
    let path = folder.join("fsync.probe");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let mut taken = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        taken.push(u64::try_from(started.elapsed().as_nanos())?);
    }
    fs::remove_file(&path)?;
    Ok(taken)
}
