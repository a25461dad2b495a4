//! Notices that settings should be read again: SIGHUP, or a change in the folder of a watched file. The folder is
//! watched and not the file, because a mounted secret is swapped by its folder's link.

use std::{
    collections::BTreeSet,
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

/// Yields once for each time that settings should be read again.
pub struct Changes {
    hangups: tokio::signal::unix::Signal,
    touched: mpsc::Receiver<()>,
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
        Ok(Self { hangups, touched, _watcher: watcher })
    }

    /// Waits for the next change.
    pub async fn next(&mut self) {
        let closed = async {
            if self.touched.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = self.hangups.recv() => {}
            () = closed => {
                tokio::time::sleep(DEBOUNCE).await;
                // What came during the pause belongs to the same change.
                while self.touched.try_recv().is_ok() {}
            }
        }
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
