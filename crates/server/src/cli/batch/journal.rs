//! The journal beside the output: each answer is on disk before the next request takes its place, so that a run that was
//! killed goes on without asking again what was answered.

pub mod portions;
mod writer;

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::portions::{Portion, Portions, State};
use self::writer::Writer;
use super::record::Known;

/// What the first line says it is.
const VERSION: u32 = 1;

/// Why the journal, or an earlier output, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk refused.
    #[error("{}: {why}", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// Another process has it.
    #[error("{}: another `claviger batch run` is writing to it", .0.display())]
    Busy(PathBuf),
    /// It is a file of something else.
    #[error("{}: not written by `claviger batch run`: name another file with -o", .0.display())]
    Foreign(PathBuf),
    /// A newer version wrote it.
    #[error("{}: written by a newer version of claviger", .0.display())]
    Newer(PathBuf),
    /// The thread that writes it is gone.
    #[error("the journal is not written any more")]
    Ended,
}

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In which file.
    pub source: Source,
    at: u64,
    length: usize,
}

/// The files that hold lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The journal.
    Journal,
    /// The output of an earlier run.
    Output,
}

impl Place {
    /// The line, with its end.
    ///
    /// # Errors
    /// As the system says.
    pub fn read(self, from: &File) -> std::io::Result<Vec<u8>> {
        let mut line = vec![0; self.length];
        from.read_exact_at(&mut line, self.at)?;
        Ok(line)
    }
}

/// The answers of earlier runs, by `custom_id`; of several the last.
pub type Answers = HashMap<String, (Known, Place)>;

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Held {
    /// What all its runs are known by.
    pub run: String,
    /// How often it was opened, this time included.
    pub life: u32,
    /// What was answered.
    pub answers: Answers,
    /// What was given to the provider.
    pub portions: Portions,
    /// Lines that say nothing.
    pub unreadable: u64,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    run: String,
}

/// Any line but that of an answer.
#[derive(Deserialize)]
struct Line {
    claviger_batch: Option<Header>,
    life: Option<u32>,
    portion: Option<Value>,
}

/// An open journal. No other process has it.
pub struct Journal {
    path: PathBuf,
    file: File,
    writer: Writer,
}

impl Journal {
    /// Opens the journal at a path, made if there is none, and reads what it holds; `run` names a new one.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path, run: &str, room: usize) -> Result<(Self, Held), JournalError> {
        let disk = |why| JournalError::Disk { path: path.to_owned(), why };
        let mut file = locked(path)?;
        let (mut held, whole) = read(path, &file)?;
        // What was being written when the last run ended.
        file.set_len(whole).map_err(disk)?;
        file.seek(SeekFrom::End(0)).map_err(disk)?;
        if whole == 0 {
            run.clone_into(&mut held.run);
        }
        held.life += 1;
        let writer = Writer::start(file.try_clone().map_err(disk)?, whole, room).map_err(disk)?;
        let journal = Self { path: path.to_owned(), file, writer };
        let mut first = String::new();
        if whole == 0 {
            let header = Header { version: VERSION, run: held.run.clone() };
            first = format!("{}\n", json!({"claviger_batch": header}));
        }
        first.push_str(&format!("{}\n", json!({"life": held.life})));
        journal.writer.append_now(first.into_bytes()).map_err(|why| journal.fault(why))?;
        sync_folder(path).map_err(disk)?;
        Ok((journal, held))
    }

    /// Appends lines; they are on disk when this is over.
    ///
    /// # Errors
    /// [`JournalError`]: nobody knows whether they are there.
    pub async fn append(&self, lines: Vec<u8>) -> Result<Place, JournalError> {
        let length = lines.len();
        let at = self.writer.append(lines).await.map_err(|why| self.fault(why))?;
        Ok(Place { source: Source::Journal, at, length })
    }

    /// Appends many lines at once.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn append_all(&self, lines: &[Vec<u8>]) -> Result<Vec<Place>, JournalError> {
        let mut at = self.append(lines.concat()).await?.at;
        let mut places = Vec::with_capacity(lines.len());
        for line in lines {
            places.push(Place { source: Source::Journal, at, length: line.len() });
            at += line.len() as u64;
        }
        Ok(places)
    }

    /// Appends what is known of a portion.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn note(&self, portion: &Value) -> Result<(), JournalError> {
        self.append(format!("{}\n", json!({"portion": portion})).into_bytes()).await.map(drop)
    }

    /// The file, to read from.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Takes it away: all that it holds is in the output.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn remove(self) -> Result<(), JournalError> {
        let disk = |why| JournalError::Disk { path: self.path.clone(), why };
        std::fs::remove_file(&self.path).map_err(disk)?;
        sync_folder(&self.path).map_err(disk)
    }

    fn fault(&self, why: Option<std::io::Error>) -> JournalError {
        why.map_or(JournalError::Ended, |why| JournalError::Disk { path: self.path.clone(), why })
    }
}

/// Reads the output of an earlier run.
///
/// # Errors
/// [`JournalError`]; a file with any line that is not an answer is somebody else's.
pub fn read_output(path: &Path) -> Result<Option<(File, Answers)>, JournalError> {
    let disk = |why| JournalError::Disk { path: path.to_owned(), why };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(disk(why)),
    };
    let about = file.metadata().map_err(disk)?;
    if !about.is_file() {
        return Err(JournalError::Foreign(path.to_owned()));
    }
    let mut answers = Answers::new();
    let whole = each_line(&file, |at, line| {
        let known = Known::read(line).ok_or_else(|| JournalError::Foreign(path.to_owned()))?;
        let place = Place { source: Source::Output, at, length: line.len() };
        answers.insert(known.custom_id.clone(), (known, place));
        Ok(())
    })
    .map_err(|fault| fault.at(path))?;
    if whole != about.len() {
        return Err(JournalError::Foreign(path.to_owned()));
    }
    Ok(Some((file, answers)))
}

/// Makes a folder remember a file that came, or went.
///
/// # Errors
/// As the system says.
pub fn sync_folder(of: &Path) -> std::io::Result<()> {
    let folder = of.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

fn locked(path: &Path) -> Result<File, JournalError> {
    let disk = |why| JournalError::Disk { path: path.to_owned(), why };
    loop {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(disk)?;
        if !file.metadata().map_err(disk)?.is_file() {
            return Err(JournalError::Foreign(path.to_owned()));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| JournalError::Busy(path.to_owned()))?;
        // A run that ended meanwhile may have taken the file away.
        let ours = file.metadata().map_err(disk)?;
        if std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
}

/// What a journal holds, and the length of its whole lines.
fn read(path: &Path, file: &File) -> Result<(Held, u64), JournalError> {
    let mut held = Held::default();
    let mut is_first = true;
    let whole = each_line(file, |at, line| {
        if std::mem::take(&mut is_first) {
            let header = serde_json::from_slice::<Line>(line).ok().and_then(|line| line.claviger_batch);
            let header = header.ok_or_else(|| JournalError::Foreign(path.to_owned()))?;
            if header.version > VERSION {
                return Err(JournalError::Newer(path.to_owned()));
            }
            held.run = header.run;
            return Ok(());
        }
        if let Some(known) = Known::read(line) {
            let place = Place { source: Source::Journal, at, length: line.len() };
            held.answers.insert(known.custom_id.clone(), (known, place));
        } else if let Ok(Line { life, portion, .. }) = serde_json::from_slice(line) {
            held.life = held.life.max(life.unwrap_or_default());
            if portion.is_some_and(|portion| held.portions.learn(portion).is_none()) {
                held.unreadable += 1;
            }
        } else {
            held.unreadable += 1;
        }
        Ok(())
    })
    .map_err(|fault| fault.at(path))?;
    Ok((held, whole))
}

/// What ended the reading of lines.
enum Fault {
    Disk(std::io::Error),
    Ours(JournalError),
}

impl Fault {
    fn at(self, path: &Path) -> JournalError {
        match self {
            Self::Disk(why) => JournalError::Disk { path: path.to_owned(), why },
            Self::Ours(error) => error,
        }
    }
}

/// Shows every line that has an end, with its place; the length of them all.
fn each_line(
    file: &File,
    mut show: impl FnMut(u64, &[u8]) -> Result<(), JournalError>,
) -> Result<u64, Fault> {
    let mut reader = BufReader::with_capacity(256 << 10, file);
    reader.rewind().map_err(Fault::Disk)?;
    let (mut at, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(Fault::Disk)?;
        if !line.ends_with(b"\n") {
            return Ok(at);
        }
        show(at, &line).map_err(Fault::Ours)?;
        at += read as u64;
    }
}

#[cfg(test)]
mod tests;
