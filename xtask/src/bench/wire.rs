//! HTTP/1.1 messages as far as a load generator must know them: where the head ends and where the body does.

use std::fmt;

/// Longest head that is accepted.
const HEAD_BYTES: usize = 64 << 10;

/// Reads one message after the other from a connection.
pub struct MessageReader {
    state: State,
    head: Vec<u8>,
    /// A message without a length has no body (requests); otherwise that is an error (responses).
    may_lack_body: bool,
}

enum State {
    Head,
    /// Bytes that are still to come.
    Length(u64),
    Chunked(Chunk),
    Done,
}

/// Where in a chunked body (RFC 9112, section 7.1) the next byte falls.
enum Chunk {
    Size(u64),
    Extension(u64),
    Data(u64),
    DataEnd,
    /// Bytes of the trailer line so far.
    Trailer(u64),
}

/// The peer does not speak HTTP as expected.
#[derive(Debug, PartialEq, Eq)]
pub enum WireError {
    HeadTooLong,
    NoLength,
    BadLength,
    BadChunk,
    BytesAfterEnd,
}

impl fmt::Display for WireError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HeadTooLong => "the head is too long",
            Self::NoLength => "neither content-length nor chunked",
            Self::BadLength => "content-length is no number",
            Self::BadChunk => "a chunk size is no number",
            Self::BytesAfterEnd => "bytes follow the end of the message",
        })
    }
}

impl std::error::Error for WireError {}

impl MessageReader {
    pub fn of_responses() -> Self {
        Self { state: State::Head, head: Vec::with_capacity(1024), may_lack_body: false }
    }

    pub fn of_requests() -> Self {
        Self { may_lack_body: true, ..Self::of_responses() }
    }

    /// Forgets the message.
    pub fn restart(&mut self) {
        self.state = State::Head;
        self.head.clear();
    }

    /// Takes the bytes that arrived; true when the message is complete.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<bool, WireError> {
        if matches!(self.state, State::Head) {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let from = before.saturating_sub(3);
            let end =
                self.head.get(from..).and_then(|tail| tail.windows(4).position(|four| four == b"\r\n\r\n"));
            let Some(end) = end.map(|at| from + at + 4) else {
                return if self.head.len() > HEAD_BYTES { Err(WireError::HeadTooLong) } else { Ok(false) };
            };
            bytes = bytes.get(end - before..).unwrap_or_default();
            self.head.truncate(end);
            self.state = self.framing()?;
        }
        self.body(bytes)
    }

    fn body(&mut self, bytes: &[u8]) -> Result<bool, WireError> {
        let rest = match &mut self.state {
            State::Head => return Ok(false),
            State::Done => bytes,
            State::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left > 0 {
                    return Ok(false);
                }
                bytes.get(taken..).unwrap_or_default()
            }
            State::Chunked(chunk) => match chunk.feed(bytes)? {
                Some(rest) => rest,
                None => return Ok(false),
            },
        };
        self.state = State::Done;
        if rest.is_empty() { Ok(true) } else { Err(WireError::BytesAfterEnd) }
    }

    fn framing(&self) -> Result<State, WireError> {
        let is_chunked = |value: &str| value.eq_ignore_ascii_case("chunked");
        if self.field("transfer-encoding").is_some_and(is_chunked) {
            return Ok(State::Chunked(Chunk::Size(0)));
        }
        match self.field("content-length") {
            Some(value) => value.parse().map(State::Length).map_err(|_| WireError::BadLength),
            None if self.may_lack_body => Ok(State::Length(0)),
            None => Err(WireError::NoLength),
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(&self.head).ok()?;
        let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The status of the response whose head is there.
    pub fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.head.get(9..12)?).ok()?.parse().ok()
    }

    /// The head as text, for an error message.
    pub fn head(&self) -> String {
        String::from_utf8_lossy(&self.head).trim_end().to_owned()
    }
}

impl Chunk {
    /// `Some(rest)` when the body has ended before `rest`.
    fn feed<'a>(&mut self, mut bytes: &'a [u8]) -> Result<Option<&'a [u8]>, WireError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Self::Data(left) = self {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            if byte == b'\r' {
                continue;
            }
            *self = match (&*self, byte) {
                (Self::Size(0) | Self::Extension(0), b'\n') => Self::Trailer(0),
                (&(Self::Size(size) | Self::Extension(size)), b'\n') => Self::Data(size),
                (&Self::Size(size), b';') | (&Self::Extension(size), _) => Self::Extension(size),
                (&Self::Size(size), digit) => {
                    let digit = char::from(digit).to_digit(16).ok_or(WireError::BadChunk)?;
                    let size = size.checked_mul(16).ok_or(WireError::BadChunk)?;
                    Self::Size(size | u64::from(digit))
                }
                (Self::DataEnd, b'\n') => Self::Size(0),
                (Self::DataEnd | Self::Data(_), _) => return Err(WireError::BadChunk),
                (Self::Trailer(0), b'\n') => return Ok(Some(rest)),
                (Self::Trailer(_), b'\n') => Self::Trailer(0),
                (Self::Trailer(length), _) => Self::Trailer(length + 1),
            };
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_at_the_last_byte_whatever_the_split(message: &[u8]) {
        for split in 1..message.len() {
            let mut reader = MessageReader::of_responses();
            let (front, back) = message.split_at(split);
            assert_eq!(reader.feed(front), Ok(false), "split at {split}");
            assert_eq!(reader.feed(back), Ok(true), "split at {split}");
            assert_eq!(reader.status(), Some(200));
        }
    }

    #[test]
    fn a_length_ends_the_message() {
        ends_at_the_last_byte_whatever_the_split(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world");
    }

    #[test]
    fn the_last_chunk_ends_the_message() {
        ends_at_the_last_byte_whatever_the_split(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1a;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\na: b\r\n\r\n",
        );
    }

    #[test]
    fn a_request_without_a_length_ends_with_its_head() {
        assert_eq!(MessageReader::of_requests().feed(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"), Ok(true));
        let unframed = b"HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(MessageReader::of_responses().feed(unframed), Err(WireError::NoLength));
    }

    #[test]
    fn a_chunk_size_that_is_no_number_is_refused() {
        let bad = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
        assert_eq!(MessageReader::of_responses().feed(bad), Err(WireError::BadChunk));
    }
}
