//! What a command asks whoever sits before it: passwords without echo, codes.

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::Path,
};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::output::CliError;

/// Longest secret that is read, in bytes.
const LONGEST: u64 = 4_096;

/// Whether somebody sits there who can be asked.
#[must_use]
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A secret from a file, from standard input (`-`), or asked for at the terminal without echo.
///
/// # Errors
/// [`CliError`] when nobody can be asked, or the file cannot be read.
pub fn secret(what: &str, file: Option<&Path>) -> Result<Zeroizing<String>, CliError> {
    let from: Box<dyn Read> = match file {
        Some(path) if path == Path::new("-") => Box::new(io::stdin()),
        Some(path) => {
            Box::new(File::open(path).map_err(|e| CliError::usage(format!("{}: {e}", path.display())))?)
        }
        None => return hidden(what),
    };
    let mut text = Zeroizing::new(String::new());
    let read = from.take(LONGEST).read_to_string(&mut text);
    read.map_err(|e| CliError::usage(format!("the {what} cannot be read: {e}")))?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    Ok(text)
}

/// A secret that is chosen now: asked for twice at the terminal.
///
/// # Errors
/// As [`secret`]; when the two are not the same.
pub fn new_secret(what: &str, file: Option<&Path>) -> Result<Zeroizing<String>, CliError> {
    let first = secret(what, file)?;
    if file.is_none() && *hidden(&format!("{what} once more"))? != *first {
        return Err(CliError::usage(format!("the two are not the same {what}")));
    }
    Ok(first)
}

/// A line that may be seen: a name, a code.
///
/// # Errors
/// [`CliError`] when nobody can be asked; `instead` says how it is given then.
pub fn line(what: &str, instead: &str) -> Result<String, CliError> {
    if !is_possible() {
        return Err(CliError::usage(format!("no {what}: give {instead}")));
    }
    prompt(what)?;
    let mut text = String::new();
    let read = io::stdin().lock().take(LONGEST).read_line(&mut text);
    read.map_err(|e| CliError::failed(e.to_string()))?;
    Ok(text.trim().to_owned())
}

fn prompt(what: &str) -> Result<(), CliError> {
    let mut out = io::stderr().lock();
    write!(out, "{what}: ").and_then(|()| out.flush()).map_err(|e| CliError::failed(e.to_string()))
}

fn hidden(what: &str) -> Result<Zeroizing<String>, CliError> {
    if !is_possible() {
        return Err(CliError::usage(format!("no {what}: at no terminal it comes from a file, or from `-`")));
    }
    prompt(what)?;
    let failed = |e: rustix::io::Errno| CliError::failed(e.to_string());
    let before = tcgetattr(io::stdin()).map_err(failed)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
    let mut text = Zeroizing::new(String::new());
    let read = io::stdin().lock().take(LONGEST).read_line(&mut text);
    tcsetattr(io::stdin(), OptionalActions::Flush, &before).map_err(failed)?;
    read.map_err(|e| CliError::failed(e.to_string()))?;
    // The line feed was not shown either.
    let mut out = io::stderr().lock();
    writeln!(out).map_err(|e| CliError::failed(e.to_string()))?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    Ok(text)
}
