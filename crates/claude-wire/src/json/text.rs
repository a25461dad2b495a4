//! A string or number of a JSON text, still as it was written.

use std::borrow::Cow;
use std::ops::Range;

/// A surrogate escape without its other half: such a string has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a \\u escape is half of a surrogate pair")]
pub struct Unpaired;

/// A string (without its quotes) or a number, as written. Numbers never have escapes.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    pub(super) raw: &'a [u8],
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    /// Whether all of it is at hand: a text longer than [`MAX_CAPTURE`](super::MAX_CAPTURE) that chunks
    /// split is not.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.raw.len() as u64 == self.end - self.start
    }

    /// Where it stands in the whole text; for a string, inside its quotes.
    #[must_use]
    pub const fn span(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Its bytes as written, or as many as were kept.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether it contains an escape.
    #[must_use]
    pub const fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// Whether it says `name` once its escapes are resolved.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        if self.escaped {
            // Every character takes at most six bytes as written, twelve for a pair that makes four.
            return self.raw.len() <= name.len() * 6 && self.decode().is_ok_and(|t| t == name);
        }
        self.raw == name.as_bytes() && self.is_whole()
    }

    /// Whether it holds the character NUL, which some stores cannot keep. Only an escape can write it.
    #[must_use]
    pub fn has_nul(&self) -> bool {
        self.escaped && self.decode().is_ok_and(|text| text.contains('\0'))
    }

    /// The text with its escapes resolved; `None` when not all of it is at hand.
    ///
    /// # Errors
    /// [`Unpaired`] for half of a surrogate pair.
    pub fn text(&self) -> Result<Option<Cow<'a, str>>, Unpaired> {
        if self.is_whole() { self.decode().map(Some) } else { Ok(None) }
    }

    /// A number as an unsigned integer: `None` when it has a sign, a fraction, an exponent, or does not fit.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if !self.is_whole() {
            return None;
        }
        std::str::from_utf8(self.raw).ok()?.parse().ok()
    }

    /// As [`Text::text`], in bytes: the cheapest form for comparing it with many names.
    ///
    /// # Errors
    /// [`Unpaired`] for half of a surrogate pair.
    pub fn bytes(&self) -> Result<Option<Cow<'a, [u8]>>, Unpaired> {
        if !self.is_whole() {
            return Ok(None);
        }
        if !self.escaped {
            return Ok(Some(Cow::Borrowed(self.raw)));
        }
        self.decode().map(|text| Some(Cow::Owned(text.into_owned().into_bytes())))
    }

    fn decode(&self) -> Result<Cow<'a, str>, Unpaired> {
        decode(self.raw, self.escaped)
    }
}

/// Resolves the escapes of a string that the lexer has accepted.
pub(crate) fn decode(raw: &[u8], escaped: bool) -> Result<Cow<'_, str>, Unpaired> {
    if !escaped {
        // Looked at by whole words, which the way through `lossy` is not.
        return Ok(std::str::from_utf8(raw).map_or_else(|_| String::from_utf8_lossy(raw), Cow::Borrowed));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.push_str(&String::from_utf8_lossy(rest.get(..at).unwrap_or_default()));
        rest = unescape_one(rest.get(at + 1..).unwrap_or_default(), &mut out)?;
    }
    out.push_str(&String::from_utf8_lossy(rest));
    Ok(Cow::Owned(out))
}

/// Resolves the escape whose backslash has been read; returns what follows it.
fn unescape_one<'r>(rest: &'r [u8], out: &mut String) -> Result<&'r [u8], Unpaired> {
    let Some((&kind, after)) = rest.split_first() else { return Err(Unpaired) };
    let plain = match kind {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unescape_unicode(after, out),
        other => char::from(other),
    };
    out.push(plain);
    Ok(after)
}

fn unescape_unicode<'r>(rest: &'r [u8], out: &mut String) -> Result<&'r [u8], Unpaired> {
    let (first, rest) = hex4(rest).ok_or(Unpaired)?;
    if let Some(c) = char::from_u32(first) {
        out.push(c);
        return Ok(rest);
    }
    let (second, rest) = rest.strip_prefix(b"\\u").and_then(hex4).ok_or(Unpaired)?;
    if first >= 0xDC00 || !(0xDC00..0xE000).contains(&second) {
        return Err(Unpaired);
    }
    let c = char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or(Unpaired)?;
    out.push(c);
    Ok(rest)
}

fn hex4(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = rest.split_at_checked(4)?;
    let value = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((value, rest))
}

/// Appends `text` as it must stand between the quotes of a JSON string.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
            plain => out.push(plain),
        }
    }
}
