//! The door to encryption at rest.

use crate::secret::SecretBytes;

/// What a sealed value is bound to: moved to another row, it does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// The table it lives in.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The row's id.
    pub row: &'a str,
}

/// Sealing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The value cannot be opened: it was changed, moved, or sealed under another key.
    #[error("a sealed value cannot be opened: changed, moved, or sealed under another master key")]
    CannotOpen,
    /// The value names a data key that is not there.
    #[error("a sealed value names data key {0}, which is not there")]
    UnknownDataKey(u32),
    /// No randomness.
    #[error("the system's random source failed")]
    Entropy,
    /// The data key has sealed as much as one key safely may: a new one is needed.
    #[error("data key {0} has sealed as much as one key safely may: make a new one")]
    WornOut(u32),
}

/// Seals what is stored, each value for its own row.
pub trait Sealer: Send + Sync + 'static {
    /// Seals bytes for one row.
    ///
    /// # Errors
    /// [`SealError::Entropy`], [`SealError::WornOut`].
    fn seal(&self, context: SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError>;
    /// Opens what [`Sealer::seal`] made for the same row.
    ///
    /// # Errors
    /// [`SealError::CannotOpen`], [`SealError::UnknownDataKey`].
    fn open(&self, context: SealContext<'_>, sealed: &[u8]) -> Result<SecretBytes, SealError>;
}
