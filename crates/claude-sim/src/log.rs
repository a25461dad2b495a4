//! The request log: one JSON line for each request, written when its answer has ended one way or the other, and one
//! for each item of a batch. It is the input of whoever judges bills, so usage stands in it as it was sent.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::LogConfig;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// The caller went away before the head of the answer.
    GoneBeforeHead,
    /// The caller went away within the answer.
    Gone,
    /// The last byte was handed to the transport.
    Completed,
    /// The simulator aborted the connection.
    Cut,
    /// A clean end without `message_stop`.
    EndedEarly,
    /// `event: error` instead of the rest.
    ErrorEvent,
}

/// What a call to a model cost, and how much of that the caller could know.
#[derive(Debug, Serialize)]
pub(crate) struct Inference {
    pub(crate) requested_model: String,
    /// Model that is billed.
    pub(crate) model: String,
    pub(crate) message_id: String,
    pub(crate) stream: bool,
    pub(crate) billed: bool,
    pub(crate) stop_reason: String,
    /// The complete usage, as the client knows it after a complete answer.
    pub(crate) usage: Box<RawValue>,
    /// The usage of `message_start`, if it was sent.
    pub(crate) sent_start: Option<Box<RawValue>>,
    /// The usage of the last `message_delta` that was sent.
    pub(crate) sent_delta: Option<Box<RawValue>>,
    /// Output characters of the complete answer.
    pub(crate) chars: u64,
    /// Output characters handed to the transport (streams).
    pub(crate) sent_chars: u64,
    pub(crate) batch_id: Option<String>,
    pub(crate) custom_id: Option<String>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// `request` or `batch_item`.
    pub(crate) kind: &'static str,
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) route: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body_bytes: usize,
    pub(crate) body_sha256: String,
    pub(crate) request_id: String,
    pub(crate) workspace: Option<String>,
    /// Directives as given.
    pub(crate) fault: Option<String>,
    pub(crate) status: u16,
    pub(crate) ending: Ending,
    pub(crate) sent_events: u64,
    /// Body bytes handed to the transport.
    pub(crate) sent_bytes: u64,
    pub(crate) inference: Option<Inference>,
}

/// Totals since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) cut: AtomicU64,
    pub(crate) gone: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) inferences: AtomicU64,
    pub(crate) dropped_lines: AtomicU64,
}

/// The newest lines, and how many came before them.
#[derive(Debug, Default)]
struct Memory {
    lines: VecDeque<String>,
    gone: u64,
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct RequestLog {
    capacity: usize,
    memory: Mutex<Memory>,
    file: Option<Mutex<File>>,
    pub(crate) counters: Counters,
}

impl RequestLog {
    /// Opens the file, if one is named, for appending.
    pub(crate) fn open(config: &LogConfig) -> io::Result<Self> {
        let file = match &config.file {
            Some(path) => Some(Mutex::new(File::options().create(true).append(true).open(path)?)),
            None => None,
        };
        Ok(Self {
            capacity: config.memory_lines,
            memory: Mutex::default(),
            file,
            counters: Counters::default(),
        })
    }

    /// True when lines go anywhere.
    pub(crate) fn is_on(&self) -> bool {
        self.capacity > 0 || self.file.is_some()
    }

    pub(crate) fn write(&self, line: &Line) {
        let Ok(mut text) = serde_json::to_string(line) else { return };
        text.push('\n');
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if file.write_all(text.as_bytes()).is_err() {
                self.counters.dropped_lines.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.capacity == 0 {
            return;
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.lines.len() >= self.capacity {
            memory.lines.pop_front();
            memory.gone += 1;
            self.counters.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
        memory.lines.push_back(text);
    }

    /// Lines in memory after the first `skip` that were ever written, in the order in which their requests ended.
    pub(crate) fn lines(&self, skip: u64) -> String {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from(skip.saturating_sub(memory.gone)).unwrap_or(usize::MAX);
        memory.lines.iter().skip(skip).map(String::as_str).collect()
    }

    pub(crate) fn clear(&self) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Memory::default();
    }
}

/// The line of one request on its way; dropped unfinished, it says that the caller went away.
#[derive(Debug)]
pub(crate) struct Record {
    log: Arc<RequestLog>,
    pub(crate) line: Option<Box<Line>>,
    pub(crate) ending: Ending,
}

impl Record {
    pub(crate) fn begin(log: Arc<RequestLog>, line: Option<Box<Line>>) -> Self {
        log.counters.requests.fetch_add(1, Ordering::Relaxed);
        log.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { log, line, ending: Ending::GoneBeforeHead }
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        if let Some(line) = &mut self.line {
            line.sent_bytes += u64::try_from(bytes).unwrap_or(0);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let counters = &self.log.counters;
        counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        let ended = match self.ending {
            Ending::GoneBeforeHead | Ending::Gone => &counters.gone,
            Ending::Completed => &counters.completed,
            Ending::Cut | Ending::EndedEarly | Ending::ErrorEvent => &counters.cut,
        };
        ended.fetch_add(1, Ordering::Relaxed);
        if let Some(mut line) = self.line.take() {
            line.ending = self.ending;
            self.log.write(&line);
        }
    }
}

/// `json` as a raw value; `null` when it is none.
pub(crate) fn raw(json: String) -> Option<Box<RawValue>> {
    RawValue::from_string(json).ok()
}
