//! Files that only their owner may read.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use futures_util::future::BoxFuture;

use super::{KeySource, tidy};
use crate::{
    dotenv,
    error::KeyError,
    secret::{self, Secret},
};

const MOST_DOTENV_BYTES: u64 = 1 << 20;
const OTHERS: u32 = 0o077;

/// A file with one line, of mode 0600 or stricter, read at each call: a rotated key is taken up at once.
#[derive(Debug, Clone)]
pub struct FileKey(PathBuf);

impl FileKey {
    /// By its path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl KeySource for FileKey {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        let read = read_private(&self.0, secret::MOST_BYTES as u64);
        Box::pin(async move { tidy(&read?, &self.0.to_string_lossy()) })
    }
}

/// A variable of a `.env` file of mode 0600. A variable of the process comes before the file's.
#[derive(Debug, Clone)]
pub struct DotenvKey {
    path: PathBuf,
    name: String,
}

impl DotenvKey {
    /// By the file's path and the variable's name.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self { path: path.into(), name: name.into() }
    }

    fn read(&self) -> Result<Secret, KeyError> {
        if let Ok(text) = std::env::var(&self.name)
            && !text.is_empty()
        {
            return tidy(&text, &self.name);
        }
        let path = || self.path.to_string_lossy().into_owned();
        let text = read_private(&self.path, MOST_DOTENV_BYTES)?;
        let values =
            dotenv::parse(&text).map_err(|error| KeyError::Dotenv { path: path(), line: error.line })?;
        tidy(values.get(&self.name).map_or("", String::as_str), &format!("{} in {}", self.name, path()))
    }
}

impl KeySource for DotenvKey {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        let read = self.read();
        Box::pin(async move { read })
    }
}

/// Judges the mode of the file that it has opened, so that none can be put in its place between.
pub(crate) fn read_private(path: &Path, most: u64) -> Result<String, KeyError> {
    let shown = || path.to_string_lossy().into_owned();
    let failed = |source| KeyError::File { path: shown(), source };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let mode = about.permissions().mode() & 0o7777;
    if !about.is_file() {
        return Err(KeyError::NoKey(shown()));
    }
    if mode & OTHERS != 0 {
        return Err(KeyError::OpenToOthers { path: shown(), mode });
    }
    read_text(file, most).map_err(failed)?.ok_or_else(|| KeyError::NoKey(shown()))
}

fn read_text(file: File, most: u64) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text)?;
    Ok((text.len() as u64 <= most).then_some(text))
}
