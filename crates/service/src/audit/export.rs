//! The audit log as a file: lines of JSON that can be verified without the store.
//!
//! The first line names the format, the last says how many lines there are, so that a cut file is noticed.

use std::io::BufRead;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{AuditReader, Line, ReadError};

const FORMAT: &str = "claviger/audit-export/v1";
/// No line is longer: a group is bounded.
const MAX_LINE: usize = 256 << 20;

/// What stands around the lines of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame {
    Export { format: String },
    End { lines: u64 },
}

/// Writes the log line by line; the number of its lines.
///
/// # Errors
/// [`ReadError`] of the reader, or what `write` returned.
pub async fn export<R, W>(reader: &mut R, mut write: W) -> Result<u64, ReadError>
where
    R: AuditReader,
    W: FnMut(&[u8]) -> std::io::Result<()> + Send,
{
    let mut put = |line: serde_json::Result<Vec<u8>>| {
        let mut line = line.map_err(|e| ReadError::Io(e.to_string()))?;
        line.push(b'\n');
        write(&line).map_err(|e| ReadError::Io(e.to_string()))
    };
    put(serde_json::to_vec(&Frame::Export { format: FORMAT.to_owned() }))?;
    let mut lines = 0;
    while let Some(line) = reader.next().await? {
        put(serde_json::to_vec(&line))?;
        lines += 1;
    }
    put(serde_json::to_vec(&Frame::End { lines }))?;
    Ok(lines)
}

/// Reads an export.
pub struct ExportFile<B> {
    from: B,
    lines: u64,
    has_begun: bool,
    has_ended: bool,
}

impl<B: BufRead + Send> ExportFile<B> {
    /// Reads from the beginning of an export.
    #[must_use]
    pub const fn new(from: B) -> Self {
        Self { from, lines: 0, has_begun: false, has_ended: false }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let mut line = Vec::new();
        let mut limited = std::io::Read::take(&mut self.from, MAX_LINE as u64);
        let read = limited.read_until(b'\n', &mut line).map_err(|e| ReadError::Io(e.to_string()))?;
        Ok((read > 0).then_some(line))
    }

    fn begin(&mut self) -> Result<(), ReadError> {
        let first = self.line()?.unwrap_or_default();
        match serde_json::from_slice(&first) {
            Ok(Frame::Export { format }) if format == FORMAT => {
                self.has_begun = true;
                Ok(())
            }
            Ok(_) | Err(_) => Err(ReadError::Unreadable(format!("this is not an export ({FORMAT})"))),
        }
    }
}

#[async_trait]
impl<B: BufRead + Send> AuditReader for ExportFile<B> {
    async fn next(&mut self) -> Result<Option<Line>, ReadError> {
        if self.has_ended {
            return Ok(None);
        }
        if !self.has_begun {
            self.begin()?;
        }
        let cut = || ReadError::Unreadable("the export was cut: its last line is missing".to_owned());
        let text = self.line()?.ok_or_else(cut)?;
        if let Ok(Frame::End { lines }) = serde_json::from_slice(&text) {
            self.has_ended = true;
            let counted = self.lines;
            return if lines == counted {
                Ok(None)
            } else {
                Err(ReadError::Unreadable(format!("the export has {counted} lines instead of {lines}")))
            };
        }
        self.lines += 1;
        let number = self.lines + 1;
        let unreadable = |error| ReadError::Unreadable(format!("line {number} of the export: {error}"));
        serde_json::from_slice(&text).map(Some).map_err(unreadable)
    }
}
