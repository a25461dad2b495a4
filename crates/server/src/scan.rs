//! Looking through files for keys that should not be there: bounded memory whatever their size, no judgement.

use std::{
    io::{self, Read},
    path::Path,
};

use claviger_domain::token::{MAX_KEY_LEN, TokenKind, find_keys, masked};
use ignore::{WalkBuilder, overrides::OverrideBuilder};

/// How much of a file is looked at in one piece.
const PIECE: usize = 64 << 10;
/// A zero byte in so many first bytes makes a file a binary one, as git has it.
const SNIFFED: usize = 8_000;

/// A key in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its line, from 1.
    pub line: u64,
    /// Its first character in the line, from 1.
    pub column: u64,
    /// What it is.
    pub kind: TokenKind,
    /// What may be shown of it.
    pub masked: String,
}

/// What a file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Text, read to its end.
    Text,
    /// Not text: nothing was looked for.
    Binary,
}

/// Looks through one text and tells every key in it.
///
/// # Errors
/// As reading fails.
pub fn look_through(mut text: impl Read, mut tell: impl FnMut(Sighting)) -> io::Result<Looked> {
    let mut window = vec![0_u8; PIECE + MAX_KEY_LEN + 1];
    let mut place = Place { line: 1, column: 1 };
    // Bytes of the window that are filled, and how many of them were looked at in the window before.
    let (mut filled, mut seen) = (0, 0);
    let mut first = true;
    loop {
        let got = fill(&mut text, &mut window[filled..])?;
        filled += got;
        let at_end = filled < window.len();
        if first && window[..filled.min(SNIFFED)].contains(&0) {
            return Ok(Looked::Binary);
        }
        first = false;
        // A key that begins in the tail may go on in the next piece.
        let ripe = if at_end { filled } else { filled - MAX_KEY_LEN };
        let mut counted = seen;
        for found in find_keys(&window[..filled], seen).into_iter().take_while(|f| f.start < ripe) {
            place.pass(&window[counted..found.start]);
            counted = found.start;
            let key = &window[found.start..found.start + found.len];
            let Place { line, column } = place;
            tell(Sighting { line, column, kind: found.kind, masked: masked(key) });
        }
        place.pass(&window[counted..ripe]);
        if at_end {
            return Ok(Looked::Text);
        }
        // One byte more, to see where a word begins.
        window.copy_within(ripe - 1..filled, 0);
        filled -= ripe - 1;
        seen = 1;
    }
}

/// Reads until the buffer is full or the text ends.
fn fill(text: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match text.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Where in a text one stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: u64,
    column: u64,
}

impl Place {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => *self = Self { line: self.line + 1, column: 1 },
                // The bytes of a character after its first.
                0x80..=0xBF => {}
                _ => self.column += 1,
            }
        }
    }
}

/// The files under a path, in the order of their names: hidden ones too, what `.gitignore` names not, nor git's own.
///
/// # Errors
/// When a pattern of `exclude` is not a glob.
pub fn files(
    path: &Path,
    exclude: &[String],
    all: bool,
) -> Result<impl Iterator<Item = Result<ignore::DirEntry, ignore::Error>>, ignore::Error> {
    let mut overrides = OverrideBuilder::new(path);
    for glob in exclude {
        overrides.add(&format!("!{glob}"))?;
    }
    let walk = WalkBuilder::new(path)
        .standard_filters(!all)
        .hidden(false)
        .require_git(false)
        .overrides(overrides.build()?)
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git")
        .build();
    let is_file = |entry: &ignore::DirEntry| entry.file_type().is_none_or(|kind| kind.is_file());
    Ok(walk.filter(move |entry| entry.as_ref().map_or(true, is_file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";

    fn look(text: &[u8]) -> (Looked, Vec<(u64, u64)>) {
        let mut seen = Vec::new();
        let looked = look_through(text, |s| seen.push((s.line, s.column))).unwrap();
        (looked, seen)
    }

    #[test]
    fn a_sighting_says_line_and_character() {
        let text = format!("ä = '{LIVE}'\r\n\n\tx{LIVE}");
        assert_eq!(look(text.as_bytes()), (Looked::Text, vec![(1, 6), (3, 3)]));
    }

    #[test]
    fn a_key_is_found_once_wherever_pieces_meet() {
        for shift in (PIECE - 60..PIECE + 4).chain(PIECE + MAX_KEY_LEN - 60..PIECE + MAX_KEY_LEN + 4) {
            let text = [&vec![b'.'; shift], b"\n".as_slice(), LIVE.as_bytes()].concat();
            assert_eq!(look(&text).1, [(2, 1)], "{shift}");
            let text =
                [&vec![b'.'; shift], b"\n".as_slice(), LIVE.as_bytes(), &vec![b' '; 2 * PIECE]].concat();
            assert_eq!(look(&text).1, [(2, 1)], "{shift}");
        }
    }

    #[test]
    fn where_pieces_meet_no_word_begins() {
        let word = b"task-ant-api03-0123456789abcdef0123";
        for shift in PIECE - 8..PIECE + 8 {
            let text = [&vec![b' '; shift], word.as_slice(), &vec![b' '; PIECE]].concat();
            assert_eq!(look(&text).1, [], "{shift}");
        }
    }

    #[test]
    fn binary_files_are_left_alone() {
        assert_eq!(look(&[b"\0", LIVE.as_bytes()].concat()), (Looked::Binary, vec![]));
        assert_eq!(look(b""), (Looked::Text, vec![]));
    }

    fn walked(path: &Path, exclude: &[&str], all: bool) -> Vec<String> {
        let exclude: Vec<String> = exclude.iter().map(|&s| s.to_owned()).collect();
        let found = files(path, &exclude, all).unwrap().map(Result::unwrap);
        found.map(|e| e.path().strip_prefix(path).unwrap().display().to_string()).collect()
    }

    #[test]
    fn ignored_files_are_passed_over_and_hidden_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(".gitignore", "target/\n.env*\n!.env.example\n");
        for name in [".git/config", ".env", ".env.example", ".hidden/a", "b.txt", "target/c"] {
            put(name, "x");
        }
        assert_eq!(walked(dir.path(), &[], false), [".env.example", ".gitignore", ".hidden/a", "b.txt"]);
        assert_eq!(walked(dir.path(), &["*.txt", ".hidden"], false), [".env.example", ".gitignore"]);
        assert!(walked(dir.path(), &[], true).contains(&"target/c".to_owned()));
        assert!(!walked(dir.path(), &[], true).contains(&".git/config".to_owned()));
        let file = dir.path().join(".env");
        assert_eq!(files(&file, &[], false).unwrap().count(), 1, "a file that is named is looked at");
    }
}
