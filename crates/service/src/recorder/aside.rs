//! Where records lie that the store refuses for good: one file a chain in the spool's folder, a line a record, synced
//! before the rest of their group is committed. Nothing takes them in again by itself: a person has to look.
//!
//! ```text
//! {"chain":"…","number":17,"at":…,"row":{…}}        or "intent", or "resource"
//! ```
//! A group that is committed again after a crash sets its records aside again: the same lines may stand there twice.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use claviger_domain::{
    clock::Timestamp,
    id::NodeId,
    ledger::{Group, Intent, LedgerRow},
    tenancy::Resource,
};
use serde::Serialize;

use super::sift::LeftOut;
use crate::lock::lock;

const EXTENSION: &str = "refused";

/// The records that the store refuses.
pub(crate) struct Aside {
    /// `None`: nothing can be set aside.
    dir: Option<PathBuf>,
    max_bytes: u64,
    /// What was left out of which group last.
    last: Mutex<Option<(NodeId, i64, LeftOut)>>,
    rows: AtomicU64,
    lines: AtomicU64,
    /// Records that earlier starts had set aside.
    before: u64,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    chain: &'a NodeId,
    number: i64,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<&'a LedgerRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<&'a Intent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a Resource>,
}

impl Aside {
    pub(crate) fn new(dir: Option<PathBuf>, max_bytes: u64) -> Self {
        let before = dir.as_deref().map_or(0, |dir| count(dir).unwrap_or_default());
        Self {
            dir,
            max_bytes,
            last: Mutex::new(None),
            rows: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            before,
        }
    }

    /// Ledger rows that this start has set aside.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Records that wait for somebody to look at them.
    pub(super) fn waiting(&self) -> u64 {
        self.before + self.lines.load(Ordering::Relaxed)
    }

    /// Keeps what is left out of the group, durably.
    pub(super) fn keep(&self, group: &Group, left_out: &LeftOut) -> io::Result<()> {
        let mut last = lock(&self.last);
        let now = (group.chain.clone(), group.number, left_out.clone());
        if last.as_ref() == Some(&now) {
            return Ok(());
        }
        let dir = self.dir.as_deref().ok_or_else(|| io::Error::other("there is no folder for it"))?;
        append(dir, &group.chain, &lines(group, left_out)?, self.max_bytes)?;
        self.rows.fetch_add(left_out.rows.len() as u64, Ordering::Relaxed);
        let lines = left_out.rows.len() + left_out.intents.len() + left_out.resources.len();
        self.lines.fetch_add(lines as u64, Ordering::Relaxed);
        *last = Some(now);
        Ok(())
    }

    /// What was left out of this group.
    pub(super) fn left_out_of(&self, group: &Group) -> LeftOut {
        match &*lock(&self.last) {
            Some((chain, number, left_out)) if (chain, *number) == (&group.chain, group.number) => {
                left_out.clone()
            }
            Some(_) | None => LeftOut::default(),
        }
    }
}

fn lines(group: &Group, left_out: &LeftOut) -> io::Result<Vec<u8>> {
    let Group { chain, number, at, rows, intents, resources, .. } = group;
    let bare = || Line { chain, number: *number, at: *at, row: None, intent: None, resource: None };
    let rows = left_out.rows.iter().map(|i| Line { row: rows.get(*i), ..bare() });
    let intents = left_out.intents.iter().map(|i| Line { intent: intents.get(*i), ..bare() });
    let resources = left_out.resources.iter().map(|i| Line { resource: resources.get(*i), ..bare() });
    let mut text = Vec::new();
    for line in rows.chain(intents).chain(resources) {
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// After an error the file is as it was.
fn append(dir: &Path, chain: &NodeId, text: &[u8], max_bytes: u64) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{chain}.{EXTENSION}"));
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let end = file.metadata()?.len();
    if end.saturating_add(text.len() as u64) > max_bytes {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "too much is set aside"));
    }
    if let Err(error) = file.write_all(text).and_then(|()| file.sync_data()) {
        let _ = file.set_len(end);
        return Err(error);
    }
    match end {
        0 => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

/// Lines in all files.
fn count(dir: &Path) -> io::Result<u64> {
    let mut lines = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == EXTENSION) {
            lines += fs::read(path)?.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }
    Ok(lines)
}
