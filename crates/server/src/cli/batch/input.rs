//! The requests of a batch: a file of JSON lines, read once to judge it, and a line at a time to send it.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The Messages API takes no larger body, in bytes.
const MAX_BODY: usize = 32 << 20;
/// A line may be as much larger, for its `custom_id` and blanks.
const MAX_LINE: u64 = (MAX_BODY + (64 << 10)) as u64;
/// Bad lines that are named; more are counted.
pub const NAMED: usize = 20;
/// A mark that some editors put before the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a request is known by from run to run: the first half of its body's SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// That of a body.
    pub fn of(body: &[u8]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&digest(&SHA256, body).as_ref()[..16]);
        Self(half)
    }

    /// As it is written down.
    pub fn hex(self) -> String {
        hex::encode(self.0)
    }
}

/// One request of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What the answer is known by.
    pub custom_id: String,
    /// Where it stands in the file, from 1.
    pub line: u64,
    /// What it is.
    pub fingerprint: Fingerprint,
    /// Its body's place in the file.
    at: u64,
    /// Its body's length in bytes.
    pub length: usize,
}

/// A line that is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Which, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// The whole input, judged. The bodies stay in the file.
#[derive(Debug)]
pub struct Input {
    path: PathBuf,
    file: File,
    /// The requests, in the order of the file.
    pub items: Vec<Item>,
    /// The first of the lines that are none.
    pub bad: Vec<BadLine>,
    /// How many there are.
    pub bad_count: u64,
}

/// Why the input cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It cannot be read.
    #[error("{}: {why}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is read a second time to be sent, which needs a file.
    #[error("{}: not a regular file: each request is read again when it is sent", .0.display())]
    NotAFile(PathBuf),
    /// It is not what it was when it was judged.
    #[error("{}, line {line}: changed while it was being sent", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: u64,
    },
}

/// A line as Message Batches have it.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// What every request must have; the rest is for the API to judge.
#[derive(Deserialize)]
struct Params<'a> {
    model: Option<serde_json::Value>,
    max_tokens: Option<serde_json::Value>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    stream: Option<serde_json::Value>,
}

impl Input {
    /// Reads and judges a file.
    ///
    /// # Errors
    /// [`InputError`]; lines that are no requests are none of them.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let unreadable = |why| InputError::Unreadable { path: path.to_owned(), why };
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(InputError::NotAFile(path.to_owned()));
        }
        let mut input =
            Self { path: path.to_owned(), file, items: Vec::new(), bad: Vec::new(), bad_count: 0 };
        let mut lines = Lines::of(input.file.try_clone().map_err(unreadable)?);
        let mut seen: HashMap<String, u64> = HashMap::new();
        while let Some(line) = lines.next().map_err(unreadable)? {
            match judge(&line, &seen) {
                Ok(None) => {}
                Ok(Some(item)) => {
                    seen.insert(item.custom_id.clone(), item.line);
                    input.items.push(item);
                }
                Err(why) => {
                    input.bad_count += 1;
                    if input.bad.len() < NAMED {
                        input.bad.push(BadLine { line: line.number, why });
                    }
                }
            }
        }
        Ok(input)
    }

    /// A request's body.
    ///
    /// # Errors
    /// [`InputError`] when the file is another one by now.
    pub fn body(&self, item: &Item) -> Result<Vec<u8>, InputError> {
        let changed = || InputError::Changed { path: self.path.clone(), line: item.line };
        let mut body = vec![0; item.length];
        self.file.read_exact_at(&mut body, item.at).map_err(|_| changed())?;
        if Fingerprint::of(&body) == item.fingerprint { Ok(body) } else { Err(changed()) }
    }
}

/// One line, without its end.
struct Line {
    number: u64,
    at: u64,
    /// `None`: longer than any request.
    text: Option<Vec<u8>>,
}

struct Lines {
    reader: BufReader<File>,
    number: u64,
    at: u64,
}

impl Lines {
    fn of(file: File) -> Self {
        Self { reader: BufReader::with_capacity(256 << 10, file), number: 0, at: 0 }
    }

    fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut text = Vec::new();
        let read = std::io::Read::take(&mut self.reader, MAX_LINE).read_until(b'\n', &mut text)? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let (number, at) = (self.number, self.at);
        self.at += read;
        if text.pop_if(|last| *last == b'\n').is_none() && read == MAX_LINE {
            self.at += self.reader.skip_until(b'\n')? as u64;
            return Ok(Some(Line { number, at, text: None }));
        }
        Ok(Some(Line { number, at, text: Some(text) }))
    }
}

/// The request of a line, or what is wrong with it; nothing for a blank one.
fn judge(line: &Line, seen: &HashMap<String, u64>) -> Result<Option<Item>, String> {
    let Some(text) = &line.text else { return Err(format!("longer than {} MB", MAX_BODY >> 20)) };
    let bare = if line.number == 1 { text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text) } else { text };
    let bare = bare.trim_ascii();
    if bare.is_empty() {
        return Ok(None);
    }
    let bare = str::from_utf8(bare).map_err(|_| "not UTF-8".to_owned())?;
    let entry: Entry<'_> = serde_json::from_str(bare).map_err(|e| json_fault(&e))?;
    let (custom_id, body) = match (entry.custom_id, entry.params) {
        (Some(id), Some(params)) => (custom_id(id)?, params.get()),
        (Some(_), None) => return Err("`custom_id` without `params`".to_owned()),
        (None, Some(_)) => return Err("`params` without `custom_id`".to_owned()),
        (None, None) => (format!("line-{}", line.number), bare),
    };
    judge_body(body)?;
    if let Some(first) = seen.get(&custom_id) {
        return Err(format!("`custom_id` {custom_id} is that of line {first}, too"));
    }
    let inside = body.as_ptr() as usize - text.as_ptr() as usize;
    Ok(Some(Item {
        custom_id,
        line: line.number,
        fingerprint: Fingerprint::of(body.as_bytes()),
        at: line.at + inside as u64,
        length: body.len(),
    }))
}

fn custom_id(given: &RawValue) -> Result<String, String> {
    let wrong = || "`custom_id`: expected 1 to 64 letters, digits, `_` and `-`".to_owned();
    let id: String = serde_json::from_str(given.get()).map_err(|_| wrong())?;
    let fits = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fits { Ok(id) } else { Err(wrong()) }
}

fn judge_body(body: &str) -> Result<(), String> {
    if body.len() > MAX_BODY {
        return Err(format!("the request is longer than {} MB", MAX_BODY >> 20));
    }
    let params: Params<'_> = serde_json::from_str(body).map_err(|e| json_fault(&e))?;
    if params.model.is_none_or(|model| model.as_str().is_none_or(str::is_empty)) {
        return Err("`model` is missing or not a name".to_owned());
    }
    if params.max_tokens.is_none_or(|most| !most.is_u64()) {
        return Err("`max_tokens` is missing or not a whole number".to_owned());
    }
    if params.messages.is_none_or(|messages| !messages.get().starts_with('[')) {
        return Err("`messages` is missing or not a list".to_owned());
    }
    if params.stream.is_some_and(|stream| stream == true) {
        return Err("`stream` is true: answers of a batch are whole".to_owned());
    }
    Ok(())
}

fn json_fault(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => {
            "not a request: expected a JSON object, and no field twice".to_owned()
        }
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => {
            format!("not JSON (column {})", error.column())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#"{"model":"claude-opus-5-5","max_tokens":8,"messages":[{"role":"user","content":"Hi"}]}"#;

    fn read(text: &[u8]) -> Input {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Input::read(file.path()).unwrap()
    }

    #[test]
    fn both_kinds_of_lines_are_taken_and_bodies_are_read_byte_for_byte() {
        let spaced = BODY.replace(':', " : ");
        let text = format!(
            "\u{feff}{{\"custom_id\":\"a-1\", \"params\" : {spaced} }}\r\n\n  {BODY}  \r\n{{\"params\":{BODY},\"custom_id\":\"b\"}}"
        );
        let input = read(text.as_bytes());
        assert_eq!(input.bad, []);
        let ids: Vec<(&str, u64)> = input.items.iter().map(|i| (i.custom_id.as_str(), i.line)).collect();
        assert_eq!(ids, [("a-1", 1), ("line-3", 3), ("b", 4)]);
        let bodies: Vec<Vec<u8>> = input.items.iter().map(|i| input.body(i).unwrap()).collect();
        assert_eq!(bodies, [spaced.as_bytes(), BODY.as_bytes(), BODY.as_bytes()]);
        assert_eq!(input.items[1].fingerprint, input.items[2].fingerprint);
        assert_ne!(input.items[0].fingerprint, input.items[1].fingerprint);
    }

    #[test]
    fn bad_lines_are_named_with_what_is_wrong() {
        let entry = |id: &str| format!(r#"{{"custom_id":{id},"params":{BODY}}}"#);
        let lines = [
            (entry("\"same\""), None),
            (entry("\"same\""), Some("`custom_id` same is that of line 1, too")),
            (entry("\"no blanks\""), Some("`custom_id`: expected 1 to 64 letters, digits, `_` and `-`")),
            (entry("7"), Some("`custom_id`: expected 1 to 64 letters, digits, `_` and `-`")),
            (r#"{"custom_id":"x"}"#.to_owned(), Some("`custom_id` without `params`")),
            (format!(r#"{{"params":{BODY}}}"#), Some("`params` without `custom_id`")),
            ("{\"model\":".to_owned(), Some("not JSON (column 9)")),
            ("7".to_owned(), Some("not a request: expected a JSON object, and no field twice")),
            (BODY.replace("\"claude-opus-5-5\"", "\"\""), Some("`model` is missing or not a name")),
            (BODY.replace("8,", "-1,"), Some("`max_tokens` is missing or not a whole number")),
            (BODY.replace("messages", "message"), Some("`messages` is missing or not a list")),
            (
                BODY.replace("{\"model\"", "{\"stream\":true,\"model\""),
                Some("`stream` is true: answers of a batch are whole"),
            ),
            // Refused before as well: the first of them counts.
            (entry("\"line-14\""), None),
            (BODY.to_owned(), Some("`custom_id` line-14 is that of line 13, too")),
        ];
        let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        let input = read(text.as_bytes());
        let found: Vec<(u64, &str)> = input.bad.iter().map(|b| (b.line, b.why.as_str())).collect();
        let expected: Vec<(u64, &str)> =
            (1..).zip(&lines).filter_map(|(number, (_, why))| why.map(|why| (number, why))).collect();
        assert_eq!(found, expected);
        assert_eq!(input.bad_count, expected.len() as u64);
        assert_eq!(read(b"\xff\xfe{}\n").bad[0].why, "not UTF-8");
    }

    #[test]
    fn a_line_longer_than_any_request_is_passed_over() {
        let mut text = vec![b' '; usize::try_from(MAX_LINE).unwrap() + 5];
        text.extend_from_slice(format!("\n{BODY}\n").as_bytes());
        let input = read(&text);
        assert_eq!((input.bad[0].line, input.bad[0].why.as_str()), (1, "longer than 32 MB"));
        assert_eq!(input.body(&input.items[0]).unwrap(), BODY.as_bytes());
        assert_eq!(input.items[0].line, 2);
    }

    #[test]
    fn a_file_that_changed_is_not_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), BODY).unwrap();
        let input = Input::read(file.path()).unwrap();
        std::fs::write(file.path(), BODY.replace("Hi", "Ho")).unwrap();
        let error = input.body(&input.items[0]).unwrap_err();
        assert!(matches!(error, InputError::Changed { line: 1, .. }), "{error}");
    }
}
