//! The results of a batch, from the provider into the journal.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use claviger_claude_wire::price::CallKind;
use claviger_domain::clock::Clock;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    super::{
        journal::{Portion, portions},
        pace::Stop,
        record::{self, Ended, Known, Record},
    },
    Provider,
    calls::Spool,
};
use crate::clock::SystemClock;

/// Bytes of results that are written down together.
const TOGETHER: usize = 4 << 20;
/// No error is longer, in bytes.
const MAX_ERROR: usize = 64 << 10;

/// A line of results.
#[derive(Deserialize)]
struct Line<'a> {
    custom_id: String,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// What of a result is read.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// Why results could not be taken in.
enum Fault {
    /// They are another portion's.
    Strange,
    /// They cannot be read, or not kept.
    Broken(String),
}

/// A file that results pass through.
struct SpoolFile(io::Result<File>);

impl SpoolFile {
    fn create(path: &Path) -> Self {
        Self(OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path))
    }
}

impl Write for SpoolFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Ok(file) => file.write(bytes),
            Err(why) => Err(io::Error::new(why.kind(), why.to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Spool for SpoolFile {
    fn beginning(&self) -> Vec<u8> {
        let mut bytes = vec![0; MAX_ERROR];
        let read = self.0.as_ref().map_or(0, |file| file.read_at(&mut bytes, 0).unwrap_or(0));
        bytes.truncate(read);
        bytes
    }
}

impl Provider<'_> {
    /// Fetches the results of a portion into the journal; `None`: the run ends.
    pub(super) async fn fetch(&self, portion: &Portion, batch: &str, found: bool) -> Option<()> {
        let path = format!("/v1/messages/batches/{batch}/results");
        let (answer, spool) = self.get_to(&path, &mut || SpoolFile::create(&self.given.spool)).await?;
        let free = answer.headers.get("x-claviger-simulated").is_some_and(|value| value == "true");
        let taken = match spool.0 {
            Ok(file) if answer.status.is_success() => self.take_in(portion, batch, (file, free)).await,
            Ok(_) => Err(Fault::Broken(format!("{batch}: its results: status {}", answer.status.as_u16()))),
            Err(why) => Err(Fault::Broken(format!("{}: {why}", self.given.spool.display()))),
        };
        // It is made anew each time.
        drop(fs::remove_file(&self.given.spool));
        match taken {
            Ok(()) => self.lost(portion, &format!("the batch {batch} ended without a result for it")).await,
            Err(Fault::Strange) if found => {
                self.through.borrow_mut().remove(&portion.number);
                self.note(portions::strange(portion.number, batch)).await
            }
            Err(Fault::Strange) => {
                self.going
                    .pace
                    .stop(Stop::Failed(format!("{batch}: its results are not those of its requests")));
                None
            }
            Err(Fault::Broken(why)) => {
                self.going.pace.stop(Stop::Failed(why));
                None
            }
        }
    }

    async fn take_in(
        &self,
        portion: &Portion,
        batch: &str,
        (mut file, free): (File, bool),
    ) -> Result<(), Fault> {
        let broken = |error: &dyn std::fmt::Display| Fault::Broken(format!("{batch}: {error}"));
        file.rewind().map_err(|error| broken(&error))?;
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut lines = Vec::new();
        let (mut text, mut bytes) = (Vec::new(), 0);
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(|error| broken(&error))?;
            if bytes >= TOGETHER || read == 0 {
                self.write_down(std::mem::take(&mut lines)).await.map_err(|error| broken(&error))?;
                bytes = 0;
            }
            if read == 0 {
                return Ok(());
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let line: Line<'_> = serde_json::from_slice(&text).map_err(|error| broken(&error))?;
            let custom_id = self.whose(portion, &line.custom_id).ok_or(Fault::Strange)?;
            if let Some(index) = self.going.board.unanswered(&custom_id.0) {
                let written = self.line_of(batch, custom_id, (&line, free));
                bytes += written.len();
                lines.push((index, written));
            }
        }
    }

    /// The request of a portion that a result is of.
    fn whose<'p>(&self, portion: &'p Portion, wire_id: &str) -> Option<&'p (String, String)> {
        let index: usize = wire_id.rsplit_once('-')?.1.parse().ok()?;
        portion.requests.get(index).filter(|_| self.wire_id(portion.number, index) == wire_id)
    }

    fn line_of(&self, batch: &str, whose: &(String, String), (line, free): (&Line<'_>, bool)) -> Vec<u8> {
        let message = serde_json::from_str::<Outcome<'_>>(line.result.get()).ok().and_then(|o| o.message);
        let cost = |message: &RawValue| {
            record::cost(&self.prices, message.get().as_bytes(), CallKind::Batch, SystemClock.now())
        };
        Record {
            custom_id: &whose.0,
            request: &whose.1,
            result: record::on_one_line(line.result).into_owned(),
            cost: message.filter(|_| !free).map_or(0, cost),
            how: json!({"batch": batch, "batch_custom_id": line.custom_id}),
        }
        .line()
    }

    async fn write_down(
        &self,
        lines: Vec<(usize, Vec<u8>)>,
    ) -> Result<(), super::super::journal::JournalError> {
        let (indices, lines): (Vec<usize>, Vec<Vec<u8>>) = lines.into_iter().unzip();
        if lines.is_empty() {
            return Ok(());
        }
        let places = self.going.journal.append_all(&lines).await?;
        for ((index, line), place) in indices.into_iter().zip(&lines).zip(places) {
            let known = Known::read(line);
            let (ended, cost) = known.map_or((Ended::Errored, 0), |known| (known.ended, known.cost));
            self.going.board.set(index, ended, cost, place);
        }
        self.going.pace.answered();
        Ok(())
    }

    /// Nothing more comes of a portion: what of it is not answered failed with these words.
    pub(super) async fn lost(&self, portion: &Portion, why: &str) -> Option<()> {
        let mut lines = Vec::new();
        for (custom_id, request) in &portion.requests {
            if let Some(index) = self.going.board.unanswered(custom_id) {
                let result = record::errored(&[], why);
                let record = Record { custom_id, request, result, cost: 0, how: json!({}) };
                lines.push((index, record.line()));
            }
        }
        if let Err(error) = self.write_down(lines).await {
            self.going.pace.stop(Stop::Failed(error.to_string()));
            return None;
        }
        self.through.borrow_mut().remove(&portion.number);
        self.note(portions::over(portion.number)).await
    }
}
