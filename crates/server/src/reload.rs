//! Notices that settings should be read again: SIGHUP, or a change of a watched file. Its folder is watched and not the
//! file, because a mounted secret is swapped by its folder's link; what else happens there, such as a log that is
//! written beside it, is no change.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecursiveMode, Watcher};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Quiet time after a change before it is acted on: editors and mounts write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// What differs when a file was written or another was put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file to which a path leads; `None` when there is none.
    fn of(file: &Path) -> Option<Self> {
        let found = fs::metadata(file).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Yields once for each time that settings should be read again.
pub struct Changes {
    hangups: tokio::signal::unix::Signal,
    touched: mpsc::Receiver<()>,
    files: Vec<PathBuf>,
    /// The files as they were when they were last found changed.
    seen: Vec<Option<Stamp>>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Changes {
    /// Watches SIGHUP and the folders of these files.
    ///
    /// # Errors
    /// When the signal cannot be taken. Folders that cannot be watched are a warning: SIGHUP still works.
    pub fn watch(files: &[&Path]) -> std::io::Result<Self> {
        let hangups = signal(SignalKind::hangup())?;
        let (tell, touched) = mpsc::channel(1);
        let watcher = if files.is_empty() { None } else { watcher(files, tell) };
        let files: Vec<PathBuf> = files.iter().map(|file| file.to_path_buf()).collect();
        let seen = files.iter().map(|file| Stamp::of(file)).collect();
        Ok(Self { hangups, touched, files, seen, _watcher: watcher })
    }

    /// Waits for the next change.
    pub async fn next(&mut self) {
        loop {
            let touched = async {
                if self.touched.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                _ = self.hangups.recv() => return,
                () = touched => tokio::time::sleep(DEBOUNCE).await,
            }
            // What came during the pause belongs to the same change.
            while self.touched.try_recv().is_ok() {}
            if self.has_changed() {
                return;
            }
        }
    }

    /// Whether a file is not what it was when this was asked last.
    fn has_changed(&mut self) -> bool {
        let now: Vec<_> = self.files.iter().map(|file| Stamp::of(file)).collect();
        let before = std::mem::replace(&mut self.seen, now);
        before != self.seen
    }
}

fn watcher(files: &[&Path], tell: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let names: BTreeSet<PathBuf> = files.iter().map(|f| f.to_path_buf()).collect();
    let folders: BTreeSet<PathBuf> = names.iter().filter_map(|f| f.parent().map(folder_or_here)).collect();
    let on_event = move |event: notify::Result<notify::Event>| {
        let relevant = event.is_ok_and(|e| !e.kind.is_access());
        if relevant {
            // A full channel already says what this would.
            let _ = tell.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(on_event) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "files are not watched; send SIGHUP after a change");
            return None;
        }
    };
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::warn!(folder = %folder.display(), %error, "not watched; send SIGHUP after a change");
        }
    }
    Some(watcher)
}

fn folder_or_here(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_watched_file_is_a_change_however_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("one"), "a").unwrap();
        fs::write(path("two"), "b").unwrap();
        std::os::unix::fs::symlink(path("one"), path("link")).unwrap();
        let (file, link) = (path("one"), path("link"));
        let mut changes = Changes::watch(&[&file, &link]).unwrap();
        assert!(!changes.has_changed());

        fs::write(path("log"), "a line").unwrap();
        fs::write(path("two"), "bb").unwrap();
        assert!(!changes.has_changed());

        fs::write(path("one"), "longer").unwrap();
        assert!(changes.has_changed());
        assert!(!changes.has_changed());

        std::os::unix::fs::symlink(path("two"), path("swap")).unwrap();
        fs::rename(path("swap"), path("link")).unwrap();
        assert!(changes.has_changed());

        fs::remove_file(path("one")).unwrap();
        assert!(changes.has_changed());
        assert!(!changes.has_changed());
    }
}
