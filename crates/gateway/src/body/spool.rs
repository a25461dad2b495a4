//! Large bodies in an unnamed file while they are read: memory stays flat, and a retry can read them again.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use claviger_domain::clock::Entropy;
use tokio::task::{JoinHandle, spawn_blocking};

/// What is written and read at a time.
const CHUNK: usize = 256 * 1024;

/// A spooled body.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    length: u64,
}

/// A spool that is being written.
#[derive(Debug)]
pub struct SpoolWriter {
    file: Arc<File>,
    buffer: Vec<u8>,
    written: u64,
}

/// Reads a spool from its start.
#[derive(Debug)]
pub struct SpoolReader {
    spool: Spool,
    at: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl SpoolWriter {
    /// Makes the file in `folder`; its name is taken away at once, so that nothing is left behind whatever
    /// happens.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub async fn open(folder: &Path, entropy: &dyn Entropy) -> io::Result<Self> {
        let mut random = [0_u8; 16];
        entropy.fill(&mut random).map_err(io::Error::other)?;
        let path = folder.join(format!("claviger-spool-{:032x}", u128::from_le_bytes(random)));
        let open = move || {
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok::<_, io::Error>(file)
        };
        let file = blocking(open).await?;
        Ok(Self { file: Arc::new(file), buffer: Vec::with_capacity(CHUNK), written: 0 })
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// Whatever the file system says, a full disk above all.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (file, at) = (Arc::clone(&self.file), self.written);
        let buffer = std::mem::take(&mut self.buffer);
        let write = move || file.write_all_at(&buffer, at).map(|()| buffer);
        self.buffer = blocking(write).await?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`SpoolWriter::write`].
    pub async fn finish(mut self) -> io::Result<Spool> {
        self.flush().await?;
        Ok(Spool { file: self.file, length: self.written })
    }
}

impl Spool {
    /// Its length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Reads it from the start.
    #[must_use]
    pub fn reader(&self) -> SpoolReader {
        SpoolReader { spool: self.clone(), at: 0, reading: None }
    }
}

impl SpoolReader {
    /// Bytes not yet read.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.spool.length - self.at
    }

    /// Whether all was read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.left() == 0
    }

    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if self.is_at_end() {
            return Poll::Ready(Ok(None));
        }
        let (file, at) = (&self.spool.file, self.at);
        let size = usize::try_from(self.left()).map_or(CHUNK, |left| left.min(CHUNK));
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            spawn_blocking(move || {
                let mut chunk = vec![0; size];
                file.read_exact_at(&mut chunk, at).map(|()| chunk)
            })
        });
        let done = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let chunk = done.map_err(io::Error::other)??;
        self.at += chunk.len() as u64;
        Poll::Ready(Ok(Some(Bytes::from(chunk))))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_domain::clock::EntropyError;

    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
            out.fill(7);
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_spooled_is_read_twice_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SpoolWriter::open(folder.path(), &Zeros).await.unwrap();
        let body: Vec<u8> = (0..CHUNK * 2 + 5).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for piece in body.chunks(100_000) {
            writer.write(piece).await.unwrap();
        }
        let spool = writer.finish().await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        for _ in 0..2 {
            let mut reader = spool.reader();
            let mut read = Vec::new();
            while let Some(chunk) = std::future::poll_fn(|cx| reader.poll_chunk(cx)).await.unwrap() {
                read.extend_from_slice(&chunk);
            }
            assert!(read == body);
        }
    }
}
