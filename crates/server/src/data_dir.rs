//! The data folder: made 0700, locked so that one process owns it, with a ballast that gives way when the disk is full.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// Free disk below which no new call is admitted.
pub const MIN_FREE_BYTES: u64 = 256 << 20;
const BALLAST_BYTES: usize = 64 << 20;

/// The data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{} is in use by another claviger (it holds the lock): stop that one first, or give another --data", .0.display())]
    InUse(PathBuf),
    /// Others can read it.
    #[error("{} can be read by others (mode {mode:03o}): run `chmod 700 {0}`", path.display())]
    TooOpen {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to us", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The data folder, held.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes or opens the folder and takes its lock.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing was changed but for the folder itself.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |at: &Path| {
            let path = at.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io(path))?;
        }
        let meta = fs::metadata(path).map_err(io(path))?;
        let uid = rustix::process::geteuid().as_raw();
        if meta.uid() != uid {
            return Err(DataDirError::Foreign { path: path.to_owned(), owner: meta.uid() });
        }
        if meta.mode() & 0o077 != 0 {
            tighten(path, meta.mode() & 0o777)?;
        }
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| DataDirError::InUse(path.to_owned()))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// An empty folder in the folder, for what does not outlive the process: whatever an earlier one left is removed.
    ///
    /// # Errors
    /// As the system says.
    pub fn scratch(&self, name: &str) -> io::Result<()> {
        let path = self.file(name);
        match fs::remove_dir_all(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        DirBuilder::new().mode(0o700).create(path)
    }

    /// Writes a file that only we may read; it must not be there yet.
    ///
    /// # Errors
    /// As the system says.
    pub fn write_private(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.file(name);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(path)
    }

    /// Puts an empty file there, which outlives a loss of power; one that is there already stays.
    ///
    /// # Errors
    /// As the system says.
    pub fn mark(&self, name: &str) -> io::Result<()> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(self.file(name))?.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// Removes a file, for good even after a loss of power; not being there is as good.
    ///
    /// # Errors
    /// As the system says.
    pub fn unmark(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => File::open(&self.path)?.sync_all(),
        }
    }

    /// Lays 64 MB aside, so that a full disk can be relieved for as long as it takes to stop in order. Does nothing
    /// when it is there already or the disk is short anyway.
    pub fn lay_ballast(&self) {
        let path = self.file("ballast");
        if path.exists() || free_bytes(&self.path).is_none_or(|free| free < 2 * MIN_FREE_BYTES) {
            return;
        }
        let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
        let zeros = vec![0_u8; 1 << 20];
        let filled = made.and_then(|mut f| (0..BALLAST_BYTES >> 20).try_for_each(|_| f.write_all(&zeros)));
        if let Err(error) = filled {
            tracing::warn!(%error, "the ballast file could not be laid");
            self.drop_ballast();
        }
    }

    /// Gives the ballast's room back to the disk.
    pub fn drop_ballast(&self) {
        // Not being there is as good as being removed.
        let _ = fs::remove_file(self.file("ballast"));
    }
}

/// An empty folder is made ours alone; one that already holds something was readable for who knows how long.
fn tighten(path: &Path, mode: u32) -> Result<(), DataDirError> {
    let io = |source| DataDirError::Io { path: path.to_owned(), source };
    if fs::read_dir(path).map_err(io)?.next().is_some() {
        return Err(DataDirError::TooOpen { path: path.to_owned(), mode });
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io)
}

/// Free bytes on the disk that holds `path`; `None` when the system does not say.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let s = rustix::fs::statvfs(path).ok()?;
    Some(s.f_bavail.saturating_mul(s.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let first = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::InUse(_))));
        drop(first);
        assert!(DataDir::open(&path).is_ok());
    }

    #[test]
    fn an_empty_folder_is_made_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        drop(DataDir::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        drop(DataDir::open(&path).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(path.join("lock").exists());
        assert!(matches!(DataDir::open(&path), Err(DataDirError::TooOpen { mode: 0o750, .. })));
    }
}
