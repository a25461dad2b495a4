//! Strings: runs of plain bytes found by memchr and checked as a whole, escapes one byte at a time.

use super::{Event, Expect, JsonError, Partial, Position, Sink, Tokenizer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// After the backslash.
    Open,
    /// This many digits of `\u` are missing.
    Hex(u8),
}

/// How far a string has been read.
#[derive(Debug, Clone)]
pub(super) struct StringState {
    escape: Escape,
    escaped: bool,
    /// The first bytes of a UTF-8 sequence that the chunks have split.
    tail: [u8; 4],
    tail_len: usize,
}

/// What became of the string in this chunk.
enum Outcome {
    /// The closing quote stands here.
    Closed(usize),
    /// The chunk ended first.
    Open,
}

impl StringState {
    pub(super) const fn new() -> Self {
        Self { escape: Escape::None, escaped: false, tail: [0; 4], tail_len: 0 }
    }
}

impl Tokenizer {
    #[inline]
    pub(super) fn open_string<S: Sink>(
        &mut self,
        chunk: &[u8],
        at: usize,
        key: bool,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        self.begin(at + 1);
        self.string = StringState::new();
        self.string_from(chunk, at + 1, key, sink)
    }

    pub(super) fn string_from<S: Sink>(
        &mut self,
        chunk: &[u8],
        at: usize,
        key: bool,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        match self.scan_string(chunk, at)? {
            Outcome::Open => {
                self.partial = Partial::String { key };
                self.keep_tail(chunk);
                Ok(chunk.len())
            }
            Outcome::Closed(quote) => {
                self.partial = Partial::None;
                let place = Position { depth: self.depth, at: self.start - 1 };
                if key {
                    self.expect = Expect::Colon;
                } else {
                    self.after_value();
                }
                let text = self.text(chunk, quote, self.string.escaped);
                sink.event(place, if key { Event::Key(text) } else { Event::String(text) })?;
                Ok(quote + 1)
            }
        }
    }

    /// Reads string content from `at` to the closing quote or the chunk's end.
    #[inline]
    fn scan_string(&mut self, chunk: &[u8], mut at: usize) -> Result<Outcome, JsonError> {
        loop {
            if self.string.escape != Escape::None {
                let Some(&byte) = chunk.get(at) else { return Ok(Outcome::Open) };
                self.escape_byte(byte, at)?;
                at += 1;
                continue;
            }
            if self.string.tail_len == 0 {
                at += plain_run(chunk.get(at..).unwrap_or_default());
            }
            match chunk.get(at..) {
                Some([b'"', ..]) if self.string.tail_len == 0 => return Ok(Outcome::Closed(at)),
                // The escapes of everyday text, without a turn through the state machine.
                Some([b'\\', b'n' | b'"' | b'\\' | b't' | b'r' | b'/', ..]) if self.string.tail_len == 0 => {
                    self.string.escaped = true;
                    at += 2;
                }
                Some(rest) => {
                    let Some(stop) = self.long_run(rest, at)? else { return Ok(Outcome::Open) };
                    at += stop;
                }
                None => return Ok(Outcome::Open),
            }
        }
    }

    /// Reads plain content up to a quote, which is left, or a backslash, which is taken; `None` if the chunk
    /// ends first.
    fn long_run(&mut self, rest: &[u8], at: usize) -> Result<Option<usize>, JsonError> {
        let stop = memchr::memchr2(b'"', b'\\', rest);
        let run = rest.get(..stop.unwrap_or(rest.len())).unwrap_or_default();
        self.check_run(run, at, stop.is_some())?;
        let Some(length) = stop else { return Ok(None) };
        if rest.get(length) == Some(&b'"') {
            return Ok(Some(length));
        }
        self.string.escape = Escape::Open;
        self.string.escaped = true;
        Ok(Some(length + 1))
    }

    fn escape_byte(&mut self, byte: u8, at: usize) -> Result<(), JsonError> {
        self.string.escape = match (self.string.escape, byte) {
            (Escape::Open, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::None,
            (Escape::Open, b'u') => Escape::Hex(4),
            (Escape::Hex(left), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if left > 1 {
                    Escape::Hex(left - 1)
                } else {
                    Escape::None
                }
            }
            (Escape::Hex(_), _) => return Err(self.unexpected(at, "a hexadecimal digit")),
            (Escape::Open | Escape::None, _) => return Err(self.unexpected(at, "an escape character")),
        };
        Ok(())
    }

    /// Checks a run without quotes and backslashes: no control characters, valid UTF-8. A sequence that
    /// the chunk's end breaks off is remembered; one that a quote or backslash breaks off is an error.
    fn check_run(&mut self, run: &[u8], at: usize, ends_here: bool) -> Result<(), JsonError> {
        let run_at = self.base + at as u64;
        // No early exit: this form is what the compiler turns into wide compares.
        if run.iter().fold(false, |found, &b| found | (b < 0x20)) {
            let bad = run.iter().position(|&b| b < 0x20).unwrap_or_default();
            return Err(self.unexpected(at + bad, "no control character in a string"));
        }
        let joined = self.join_tail(run).ok_or(JsonError::Utf8 { at: run_at })?;
        let rest = run.get(joined..).unwrap_or_default();
        if let Err(fault) = std::str::from_utf8(rest) {
            let valid = fault.valid_up_to();
            if fault.error_len().is_some() {
                return Err(JsonError::Utf8 { at: run_at + (joined + valid) as u64 });
            }
            let tail = rest.get(valid..).unwrap_or_default();
            for (slot, &byte) in self.string.tail.iter_mut().zip(tail) {
                *slot = byte;
            }
            self.string.tail_len = tail.len();
        }
        if ends_here && self.string.tail_len > 0 {
            return Err(JsonError::Utf8 { at: run_at + run.len() as u64 });
        }
        Ok(())
    }

    /// Completes the sequence that the last chunk broke off; returns how many bytes of the run it took,
    /// `None` if they do not complete it.
    fn join_tail(&mut self, run: &[u8]) -> Option<usize> {
        let mut taken = 0;
        while self.string.tail_len > 0 {
            let Some(&byte) = run.get(taken) else { return Some(taken) };
            *self.string.tail.get_mut(self.string.tail_len)? = byte;
            self.string.tail_len += 1;
            taken += 1;
            match std::str::from_utf8(self.string.tail.get(..self.string.tail_len)?) {
                Ok(_) => self.string.tail_len = 0,
                Err(fault) if fault.error_len().is_some() => return None,
                Err(_) => {}
            }
        }
        Some(taken)
    }
}

/// Plain ASCII at the start of `rest`: a few words first, for names are short, then wide blocks.
#[inline]
fn plain_run(rest: &[u8]) -> usize {
    const NEAR: usize = 16;
    let near = words_run(rest.get(..NEAR).unwrap_or(rest));
    if near < NEAR {
        return near;
    }
    let (blocks, _) = rest.get(NEAR..).unwrap_or_default().as_chunks::<32>();
    let far = NEAR + 32 * blocks.iter().take_while(|block| is_plain(block)).count();
    far + words_run(rest.get(far..).unwrap_or_default())
}

/// No early exit: this form is what the compiler turns into wide compares.
#[inline]
#[expect(clippy::manual_range_contains, reason = "one compare a side is what becomes a wide compare")]
fn is_plain(block: &[u8; 32]) -> bool {
    let special = |b: u8| (b < 0x20) | (b >= 0x80) | (b == b'"') | (b == b'\\');
    !block.iter().fold(false, |found, &b| found | special(b))
}

/// Plain ASCII at the start of `rest`, eight bytes at a time. In each word the sign of a byte is set where it is none;
/// a borrow may set more of them, but only behind the first.
#[inline]
fn words_run(rest: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const SIGNS: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, tail) = rest.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zeros(word ^ (ONES * 0x22));
        let backslash = zeros(word ^ (ONES * 0x5C));
        let special = (control | quote | backslash | word) & SIGNS;
        if special != 0 {
            return i * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let plain = |b: &u8| matches!(b, 0x20..0x80) && *b != b'"' && *b != b'\\';
    words.len() * 8 + tail.iter().take_while(|b| plain(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slowly(rest: &[u8]) -> usize {
        rest.iter().take_while(|b| matches!(b, 0x20..0x80) && !matches!(b, b'"' | b'\\')).count()
    }

    #[test]
    fn every_byte_ends_a_plain_run_wherever_it_stands_or_does_not() {
        for byte in 0..=u8::MAX {
            for at in 0..120 {
                let mut text = vec![b'a'; 120];
                text[at] = byte;
                assert_eq!(plain_run(&text), slowly(&text), "{byte:#x} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn plain_runs_are_as_long_as_byte_by_byte(text in prop::collection::vec(prop_oneof![20 => 0x20_u8..0x80, 1 => any::<u8>()], 0..200)) {
            prop_assert_eq!(plain_run(&text), slowly(&text));
        }
    }
}
