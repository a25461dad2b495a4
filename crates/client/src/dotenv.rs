//! `.env` files: lines NAME=VALUE. Nothing is expanded or run.

use std::collections::BTreeMap;

/// A line that is not NAME=VALUE. Its text is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not NAME=VALUE")]
pub struct DotenvError {
    /// Counts from 1.
    pub line: usize,
}

/// Reads a file's text; the last of equal names counts.
///
/// # Errors
/// [`DotenvError`] for the first line that cannot be read.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, DotenvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = BTreeMap::new();
    for (number, line) in text.split('\n').enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = assignment(line).ok_or(DotenvError { line: number + 1 })?;
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

fn assignment(line: &str) -> Option<(&str, String)> {
    let (name, rest) = line.split_once('=')?;
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let mut letters = name.bytes();
    let begins = letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !begins || !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    Some((name, value(rest)?))
}

fn value(rest: &str) -> Option<String> {
    let text = rest.trim();
    match text.chars().next() {
        Some(quote @ ('\'' | '"')) => quoted(&text[1..], quote),
        _ => Some(bare(rest).to_owned()),
    }
}

/// A bare value ends at a # that follows a blank.
fn bare(rest: &str) -> &str {
    let comment = rest.match_indices('#').find(|(at, _)| rest[..*at].ends_with([' ', '\t']));
    rest[..comment.map_or(rest.len(), |(at, _)| at)].trim()
}

fn quoted(text: &str, quote: char) -> Option<String> {
    let mut value = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            _ if letter == quote => {
                let after = letters.as_str().trim_start();
                return (after.is_empty() || after.starts_with('#')).then_some(value);
            }
            '\\' if quote == '"' => escaped(letters.next()?, &mut value),
            _ => value.push(letter),
        }
    }
    None
}

fn escaped(letter: char, value: &mut String) {
    match letter {
        'n' => value.push('\n'),
        'r' => value.push('\r'),
        't' => value.push('\t'),
        '"' | '\\' | '$' => value.push(letter),
        other => value.extend(['\\', other]),
    }
}
