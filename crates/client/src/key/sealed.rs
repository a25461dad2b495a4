//! What `claviger seal-key` sealed for a key management service.

use std::{fs, path::PathBuf};

use futures_util::future::BoxFuture;

use super::{KeySource, tidy};
use crate::{
    error::{BoxError, KeyError},
    secret::Secret,
};

const MOST_BYTES: usize = 64 << 10;

/// Opens a blob: one call of a key management service's decryption. The blob carries its own encryption context;
/// pass it on unread.
pub trait BlobOpener: Send + Sync + 'static {
    /// The key's text.
    fn open<'a>(&'a self, blob: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, BoxError>>;
}

/// Reads a blob from a file and has it opened. Wrap it in [`super::Kept`], for an hour; the key stays in memory.
pub struct SealedKey<O> {
    path: PathBuf,
    opener: O,
}

impl<O: BlobOpener> SealedKey<O> {
    /// By the blob's path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, opener: O) -> Self {
        Self { path: path.into(), opener }
    }
}

impl<O> std::fmt::Debug for SealedKey<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedKey")
    }
}

impl<O: BlobOpener> KeySource for SealedKey<O> {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        Box::pin(async {
            let path = || self.path.to_string_lossy().into_owned();
            let blob = fs::read(&self.path).map_err(|source| KeyError::File { path: path(), source })?;
            if blob.len() > MOST_BYTES {
                return Err(KeyError::NoKey(path()));
            }
            let opened = self.opener.open(&blob).await.map_err(KeyError::Sealed)?;
            tidy(std::str::from_utf8(&opened).unwrap_or_default(), "the sealed key")
        })
    }
}
