//! What commands print: tables and colours on a terminal, plain lines in a pipe, JSON when asked.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this module is for")]

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::telemetry::scrub::Scrubber;

/// Why a command ended without having done its work, with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// What went wrong and what to do next.
    pub message: String,
    /// The process's exit code.
    pub code: u8,
    /// What programs want to know of it.
    pub answer: Option<Box<Value>>,
}

impl CliError {
    /// Something failed (1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, answer: None }
    }

    /// The command was used wrongly (2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2, answer: None }
    }

    /// Nothing answers on the socket (3).
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 3, answer: None }
    }

    /// The request was refused (4).
    pub fn refused(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 4, answer: None }
    }

    /// It waits for a second person (6).
    pub fn pending(message: impl Into<String>, answer: Value) -> Self {
        Self { message: message.into(), code: 6, answer: Some(Box::new(answer)) }
    }

    /// A proof did not hold (5).
    pub fn unproven(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 5, answer: None }
    }
}

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON was asked for.
    pub json: bool,
    terminal: bool,
}

/// A table's shape: for each column its heading and the JSON field it shows.
pub type Columns = &'static [(&'static str, &'static str)];

impl Output {
    /// Output for this process.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal() }
    }

    /// Whether somebody reads along.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.terminal && !self.json
    }

    /// One line of text; not with `--json`.
    pub fn line(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    /// Text as it is, whatever was asked.
    pub fn raw(&self, text: &str) {
        print!("{text}");
    }

    /// A value as JSON: indented on a terminal, else on one line.
    pub fn value(&self, value: &Value) {
        if self.terminal {
            println!("{value:#}");
        } else {
            println!("{value}");
        }
    }

    /// Rows: JSON when asked, a table on a terminal, tab-separated lines in a pipe.
    pub fn rows(&self, columns: Columns, rows: &Value) {
        let list = rows.as_array().map(Vec::as_slice).unwrap_or_default();
        if self.json {
            self.value(rows);
        } else if self.terminal {
            println!("{}", table(columns, list));
        } else {
            for row in list {
                let cells: Vec<String> = columns.iter().map(|(_, field)| text(&row[*field])).collect();
                println!("{}", cells.join("\t"));
            }
        }
    }

    /// One object: JSON when asked, else a line for each field that says something.
    pub fn object(&self, value: &Value) {
        if self.json {
            return self.value(value);
        }
        for (name, field) in value.as_object().into_iter().flatten() {
            let shown = text(field);
            if !shown.is_empty() {
                println!("{name}: {shown}");
            }
        }
    }

    /// Something that the reader must not miss, on standard error.
    pub fn note(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// A JSON value as a cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, v)| !v.is_null());
            set.map(|(k, v)| format!("{k}={}", text(v))).collect::<Vec<_>>().join(" ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn table(columns: Columns, rows: &[Value]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|(name, _)| Cell::new(name).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(columns.iter().map(|(_, field)| Cell::new(text(&row[*field]))));
    }
    table
}

/// The last word of a command that failed, without what looks like a secret.
pub fn report(error: &CliError, json: bool, scrubber: &Scrubber) {
    if json {
        let mut said = serde_json::json!({"error": error.message, "exit_code": error.code});
        if let (Some(fields), Some(Value::Object(answer))) = (said.as_object_mut(), error.answer.as_deref()) {
            fields.extend(answer.clone());
        }
        eprintln!("{}", scrubber.text(&said.to_string()));
    } else {
        eprintln!("error: {}", scrubber.text(&error.message));
    }
}

/// What clap has to say: help as it is, complaints without the secret that somebody typed in a wrong place.
pub fn usage(error: &clap::Error, scrubber: &Scrubber) -> ExitCode {
    if !error.use_stderr() {
        // A reader that went away missed nothing.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render();
    let text = if io::stderr().is_terminal() { text.ansi().to_string() } else { text.to_string() };
    eprint!("{}", scrubber.text(&text));
    ExitCode::from(2)
}

/// A warning that belongs to no command.
pub fn warn(text: &str) {
    eprintln!("warning: {text}");
}
