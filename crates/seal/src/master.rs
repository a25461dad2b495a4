//! The master key: 32 random bytes in a file that only its owner can read.
//!
//! A new file is written under another name, flushed, and linked to its own: it is there whole or not at all, whenever
//! the process dies, and an existing file is never overwritten.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::hmac;
use claviger_domain::clock::Entropy;
use rustix::{fs::OFlags, process::geteuid};
use zeroize::Zeroizing;

use crate::aead::{KEY_LEN, Key};

const ID_LEN: usize = 8;
const ID_DOMAIN: &[u8] = b"claviger/master-key-id/v1";

/// Tells master keys apart without giving anything of them away: the first bytes of an HMAC-SHA256 under the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MasterKeyId([u8; ID_LEN]);

impl MasterKeyId {
    pub(crate) const LEN: usize = ID_LEN;

    pub(crate) const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeyId({self})")
    }
}

/// The key that wraps data keys.
pub struct MasterKey {
    key: Key,
    id: MasterKeyId,
    is_new: bool,
}

/// Why a master key cannot be had. No variant holds any of its bytes.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// There is no such file.
    #[error("there is no master key at {}", .0.display())]
    Missing(PathBuf),
    /// It is a symbolic link, a folder, a device …
    #[error("the master key {} is not a regular file (symbolic links are refused)", .0.display())]
    NotAFile(PathBuf),
    /// Others can read or write it.
    #[error("the master key {} can be used by others (mode {mode:03o}): run `chmod 600` on it", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("the master key {} belongs to user {owner}, not to us", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The user's id.
        owner: u32,
    },
    /// It is not 32 bytes long.
    #[error("the master key {} has {length} bytes, not {KEY_LEN}: it is damaged, or another file", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// The system's random source failed, or the cryptography library refused.
    #[error("no master key can be made: the system's random source failed")]
    Entropy,
    /// The system said no.
    #[error("the master key {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl MasterKey {
    /// From its bytes.
    ///
    /// # Errors
    /// [`MasterKeyError::Entropy`] only if the cryptography library refuses.
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Result<Self, MasterKeyError> {
        let key = Key::new(bytes).ok_or(MasterKeyError::Entropy)?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), ID_DOMAIN);
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&tag.as_ref()[..ID_LEN]);
        Ok(Self { key, id: MasterKeyId(id), is_new: false })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`MasterKeyError::Missing`], and every way in which the file is not what [`MasterKey::create_or_open`] makes.
    pub fn open(path: &Path) -> Result<Self, MasterKeyError> {
        let io = |source| MasterKeyError::Io { path: path.to_owned(), source };
        let file = open_no_follow(path)?;
        let meta = file.metadata().map_err(io)?;
        let path = path.to_owned();
        if !meta.is_file() {
            return Err(MasterKeyError::NotAFile(path));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(MasterKeyError::TooOpen { path, mode: meta.mode() & 0o777 });
        }
        if meta.uid() != geteuid().as_raw() {
            return Err(MasterKeyError::Foreign { path, owner: meta.uid() });
        }
        if meta.len() != KEY_LEN as u64 {
            return Err(MasterKeyError::Length { path, length: meta.len() });
        }
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        (&file).read_exact(&mut *bytes).map_err(io)?;
        Self::from_bytes(&bytes)
    }

    /// Reads the file, or makes it (0600) when there is none.
    ///
    /// # Errors
    /// As [`MasterKey::open`], or when it cannot be written.
    pub fn create_or_open(path: &Path, entropy: &dyn Entropy) -> Result<Self, MasterKeyError> {
        match Self::open(path) {
            Err(MasterKeyError::Missing(_)) => {}
            opened => return opened,
        }
        create(path, entropy)?;
        // Read back what is there now: if another process was first, its key counts.
        Ok(Self { is_new: true, ..Self::open(path)? })
    }

    /// What tells this key from others.
    #[must_use]
    pub const fn id(&self) -> MasterKeyId {
        self.id
    }

    /// Whether [`MasterKey::create_or_open`] made the file: its user must be told to keep a copy.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    pub(crate) const fn key(&self) -> &Key {
        &self.key
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// Never through a symbolic link, and never waiting for the other end of a pipe.
fn open_no_follow(path: &Path) -> Result<File, MasterKeyError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            MasterKeyError::Missing(path)
        } else if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            MasterKeyError::NotAFile(path)
        } else {
            MasterKeyError::Io { path, source }
        }
    })
}

fn create(path: &Path, entropy: &dyn Entropy) -> Result<(), MasterKeyError> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    entropy.fill(&mut *bytes).map_err(|_| MasterKeyError::Entropy)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = folder.join(name);
    write_linked(&draft, path, &bytes)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|source| MasterKeyError::Io { path: path.to_owned(), source })
}

fn write_linked(draft: &Path, path: &Path, bytes: &[u8; KEY_LEN]) -> io::Result<()> {
    // Left over when the process died here; the folder is ours alone.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = fs::hard_link(draft, path);
    fs::remove_file(draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
