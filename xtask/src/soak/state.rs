//! How far a soak has come, kept so that a stopped run goes on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One run: a soak, a commit, a seed.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    commit: String,
    rounds: u64,
    /// Portions with a failure in them.
    failures: u64,
    #[serde(skip)]
    file: PathBuf,
}

impl State {
    /// The state of an earlier run of the same soak, commit and seed, else a new one.
    pub fn open(target: &Path, soak: &str, commit: &str, seed: u64) -> anyhow::Result<Self> {
        let file = target.join("soak").join(format!("{soak}-{commit}-{seed}.json"));
        let kept = match fs::read(&file) {
            Ok(bytes) => Some(serde_json::from_slice::<Self>(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        };
        let fresh = Self { commit: commit.to_owned(), rounds: 0, failures: 0, file: file.clone() };
        Ok(kept.map_or(fresh, |kept| Self { file, ..kept }))
    }

    /// Counts a portion and saves.
    pub fn add(&mut self, rounds: u64, failed: bool) -> anyhow::Result<()> {
        self.rounds += rounds;
        self.failures += u64::from(failed);
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.file, serde_json::to_vec(self)?)
            .with_context(|| format!("write {}", self.file.display()))
    }

    pub fn commit(&self) -> &str {
        &self.commit
    }

    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    pub fn failures(&self) -> u64 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_run_goes_on_and_another_seed_starts_anew() {
        let target = tempfile::tempdir().unwrap();
        State::open(target.path(), "kill", "abc", 1).unwrap().add(20, true).unwrap();
        let resumed = State::open(target.path(), "kill", "abc", 1).unwrap();
        assert_eq!((resumed.rounds(), resumed.failures()), (20, 1));
        assert_eq!(State::open(target.path(), "kill", "abc", 2).unwrap().rounds(), 0);
    }
}
