//! Logs: sentences with fields, for people or as JSON, scrubbed as bytes on their last step out.

pub mod scrub;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
};

use tracing_subscriber::{
    EnvFilter, Registry, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::config::{LogConfig, LogFormat};
use scrub::Scrubber;

/// Lets the level be changed while running.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// The logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a level and not directives.
    #[error("log level `{level}`: {why}")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody set logs up before.
    #[error("logs are already set up")]
    Already,
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|e| LogError::Level { level: level.to_owned(), why: e.to_string() })
}

/// Starts logging to standard error.
///
/// # Errors
/// [`LogError`] for a level that cannot be read, or a second call.
pub fn start(config: &LogConfig, scrubber: Scrubber) -> Result<LogLevel, LogError> {
    let (level, handle) = reload::Layer::new(filter(&config.level)?);
    let terminal = io::stderr().is_terminal();
    let format = config.format.unwrap_or(if terminal { LogFormat::Human } else { LogFormat::Json });
    let writer = ScrubbedStderr(scrubber);
    let registry = tracing_subscriber::registry().with(level);
    let done = match format {
        LogFormat::Human => {
            let layer = tracing_subscriber::fmt::layer().with_ansi(terminal).with_writer(writer);
            registry.with(layer.with_target(false)).try_init()
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer);
            registry.with(layer).try_init()
        }
    };
    done.map_err(|_| LogError::Already)?;
    Ok(LogLevel(handle))
}

impl LogLevel {
    /// Changes the level.
    ///
    /// # Errors
    /// [`LogError::Level`].
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(|e| LogError::Level { level: level.to_owned(), why: e.to_string() })
    }
}

/// Lets a panic, too, say nothing secret.
pub fn guard_panics(scrubber: Scrubber) {
    std::panic::set_hook(Box::new(move |panic| {
        let trace = Backtrace::capture();
        let trace =
            if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
        let thread = std::thread::current();
        let text = format!("thread '{}' {panic}{trace}\n", thread.name().unwrap_or("without a name"));
        // Nowhere else to say it.
        let _ = io::stderr().lock().write_all(&scrubber.line(text.as_bytes()));
    }));
}

#[derive(Clone)]
struct ScrubbedStderr(Scrubber);

struct Line<'a> {
    scrubber: &'a Scrubber,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for ScrubbedStderr {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Self::Writer {
        Line { scrubber: &self.0, bytes: Vec::with_capacity(256) }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let clean = self.scrubber.line(&self.bytes);
        // A log line that cannot be written has nowhere else to go.
        let _ = io::stderr().lock().write_all(&clean);
    }
}
