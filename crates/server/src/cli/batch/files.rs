//! The files of a run: the input's answers beside the input's order.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use super::journal::{Answers, Held, Journal, JournalError, Place, Source, read_output, sync_folder};

/// Where a run's answers go.
pub struct Files {
    output: PathBuf,
    journal: Journal,
    /// The output of an earlier run.
    earlier: Option<File>,
}

/// What was there before.
#[derive(Debug, Default)]
pub struct Found {
    /// In the journal.
    pub held: Held,
    /// In the output.
    pub output: Answers,
}

impl Files {
    /// Opens the journal of an output and reads what is there; `run` names what begins.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(output: &Path, run: &str, room: usize) -> Result<(Self, Found), JournalError> {
        let path = beside(output, "journal");
        let (journal, held) = Journal::open(&path, run, room)?;
        match read_output(output) {
            Ok(read) => {
                let (earlier, answers) = read.map_or((None, Answers::new()), |(file, of)| (Some(file), of));
                let files = Self { output: output.to_owned(), journal, earlier };
                Ok((files, Found { held, output: answers }))
            }
            Err(error) => {
                if held.life == 1 {
                    journal.remove()?;
                }
                Err(error)
            }
        }
    }

    /// Where answers are written down.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Writes the output whole, in this order, then takes the journal away.
    ///
    /// # Errors
    /// [`JournalError`]: what was there before is still there.
    pub fn finish(self, places: &[Place]) -> Result<(), JournalError> {
        self.publish(places)?;
        self.journal.remove()
    }

    /// Writes the output in this order; the journal stays, for there is more to come.
    ///
    /// # Errors
    /// As [`Files::finish`].
    pub fn publish(&self, places: &[Place]) -> Result<(), JournalError> {
        let partial = beside(&self.output, "partial");
        let disk = |why| JournalError::Disk { path: partial.clone(), why };
        let mut writer = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(disk)?);
        for place in places {
            let from = match (place.source, &self.earlier) {
                (Source::Output, Some(earlier)) => earlier,
                (Source::Output | Source::Journal, _) => self.journal.file(),
            };
            let line = place.read(from).map_err(disk)?;
            writer.write_all(&line).map_err(disk)?;
        }
        let file = writer.into_inner().map_err(|error| disk(error.into_error()))?;
        file.sync_all().map_err(disk)?;
        fs::rename(&partial, &self.output).map_err(disk)?;
        sync_folder(&self.output).map_err(disk)
    }

    /// Nothing is new: only the journal goes.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn leave(self) -> Result<(), JournalError> {
        self.journal.remove()
    }
}

/// Takes an output away with all that belongs to it.
///
/// # Errors
/// [`JournalError`].
pub fn forget(output: &Path, run: &str) -> Result<(), JournalError> {
    // Whoever writes to it is not disturbed, and what is somebody else's stays.
    let (files, _) = Files::open(output, run, 1)?;
    if files.earlier.is_some() {
        fs::remove_file(output).map_err(|why| JournalError::Disk { path: output.to_owned(), why })?;
    }
    files.journal.remove()
}

/// `out.jsonl.journal` beside `out.jsonl`.
pub fn beside(output: &Path, what: &str) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    output.with_file_name(name)
}
