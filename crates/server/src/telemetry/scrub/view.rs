//! A text with its escapes undone, which remembers where each byte came from.

use std::ops::Range;

/// The text, and for each byte the piece of the source that it stood for.
pub struct View {
    bytes: Vec<u8>,
    from: Vec<(u32, u32)>,
}

impl View {
    /// The text.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The place in the source of a place in the text.
    pub fn source(&self, span: Range<usize>) -> Range<usize> {
        let start = self.from.get(span.start).map_or(0, |piece| piece.0 as usize);
        let end = span
            .end
            .checked_sub(1)
            .and_then(|last| self.from.get(last))
            .map_or(start, |piece| piece.1 as usize);
        start..end
    }

    fn push(&mut self, bytes: &[u8], start: usize, length: usize) {
        let piece =
            (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(start + length).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(bytes);
        self.from.resize(self.bytes.len(), piece);
    }
}

/// Undoes percent escapes and those of JSON and Rust, one level; `None` when there are none.
pub fn unescaped(text: &[u8]) -> Option<View> {
    if !text.iter().any(|b| matches!(b, b'%' | b'\\')) || u32::try_from(text.len()).is_err() {
        return None;
    }
    let mut view = View { bytes: Vec::with_capacity(text.len()), from: Vec::with_capacity(text.len()) };
    let mut at = 0;
    let mut changed = false;
    while at < text.len() {
        let read = match text[at] {
            b'%' => digits(&text[at + 1..], 2).map(|value| (Unit::Byte(value.to_le_bytes()[0]), 3)),
            b'\\' => backslash(&text[at..]),
            _ => None,
        };
        let (unit, length) = read.unwrap_or((Unit::Byte(text[at]), 1));
        changed |= length > 1;
        match unit {
            Unit::Byte(byte) => view.push(&[byte], at, length),
            Unit::Char(char) => view.push(char.encode_utf8(&mut [0; 4]).as_bytes(), at, length),
        }
        at += length;
    }
    changed.then_some(view)
}

enum Unit {
    Byte(u8),
    Char(char),
}

/// What an escape that begins with a backslash stands for, and its length.
fn backslash(text: &[u8]) -> Option<(Unit, usize)> {
    let plain = |byte: u8| Some((Unit::Byte(byte), 2));
    match text.get(1)? {
        b'n' => plain(b'\n'),
        b't' => plain(b'\t'),
        b'r' => plain(b'\r'),
        b'0' => plain(0),
        b'b' => plain(8),
        b'f' => plain(12),
        byte @ (b'"' | b'\\' | b'/' | b'\'') => plain(*byte),
        b'x' => digits(&text[2..], 2).map(|value| (Unit::Byte(value.to_le_bytes()[0]), 4)),
        b'u' if text.get(2) == Some(&b'{') => {
            let length = text[3..].iter().take(7).position(|b| *b == b'}')?;
            let char = char::from_u32(digits(&text[3..], length)?)?;
            Some((Unit::Char(char), length + 4))
        }
        b'u' => utf16(text),
        _ => None,
    }
}

/// `\u` and four digits, or two of these for one character.
fn utf16(text: &[u8]) -> Option<(Unit, usize)> {
    let high = digits(text.get(2..)?, 4)?;
    if let Some(char) = char::from_u32(high) {
        return Some((Unit::Char(char), 6));
    }
    let low = text.get(6..8).filter(|mark| *mark == b"\\u").and_then(|_| digits(&text[8..], 4))?;
    let units = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
    let char = char::decode_utf16(units).next()?.ok()?;
    Some((Unit::Char(char), 12))
}

/// A number of so many hexadecimal digits.
fn digits(text: &[u8], count: usize) -> Option<u32> {
    let digits = text.get(..count).filter(|_| count > 0)?;
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}
