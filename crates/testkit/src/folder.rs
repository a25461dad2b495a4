//! Folders that go away with the test.

use tempfile::TempDir;

/// An empty folder of mode 0700, as `--data` wants it. Removed when dropped.
#[must_use]
pub fn data_folder() -> TempDir {
    tempfile::Builder::new().prefix("claviger-test-").tempdir().expect("a temporary folder")
}
