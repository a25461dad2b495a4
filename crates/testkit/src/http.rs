//! One HTTP/1.1 request exactly as it stood on the wire.

use std::io::{self, BufRead, Read};

/// How a request's body was delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// By `Content-Length`.
    Length,
    /// By `Transfer-Encoding: chunked`.
    Chunked,
}

/// A request as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRequest {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// Request line and header lines with the empty line that ends them, byte for byte.
    pub head: Vec<u8>,
    /// The body's bytes as framed on the wire, chunk sizes and trailers included.
    pub wire_body: Vec<u8>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// How it was framed.
    pub framing: Framing,
}

impl RawRequest {
    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// The request target as sent.
    #[must_use]
    pub fn target(&self) -> &str {
        self.word(1)
    }

    fn word(&self, n: usize) -> &str {
        let line = self.head.split(|b| *b == b'\r').next().unwrap_or_default();
        line.split(|b| *b == b' ').nth(n).and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default()
    }

    /// Names and values in their order, names as sent, values without the space around them.
    #[must_use]
    pub fn headers(&self) -> Vec<(&[u8], &[u8])> {
        let lines = self.head.split(|b| *b == b'\n').skip(1).map(<[u8]>::trim_ascii);
        lines
            .filter_map(|line| {
                let at = line.iter().position(|b| *b == b':')?;
                Some((&line[..at], line[at + 1..].trim_ascii()))
            })
            .collect()
    }

    /// All values of one header.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&[u8]> {
        let same = |n: &[u8]| n.eq_ignore_ascii_case(name.as_bytes());
        self.headers().into_iter().filter(|(n, _)| same(n)).map(|(_, value)| value).collect()
    }

    /// Reads the next request; `None` when the connection ended before it began.
    pub(crate) fn read(connection: usize, from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if from.read_until(b'\n', &mut head)? == 0 {
                return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
        let mut request =
            Self { connection, head, wire_body: Vec::new(), body: Vec::new(), framing: Framing::None };
        let chunked = request.header("transfer-encoding").iter().any(|v| v.eq_ignore_ascii_case(b"chunked"));
        let length = request.header("content-length").first().map(|v| number(v, 10)).transpose()?;
        match length {
            _ if chunked => request.read_chunks(from)?,
            Some(length) => {
                request.framing = Framing::Length;
                request.wire_body = exactly(from, length)?;
                request.body.clone_from(&request.wire_body);
            }
            None => {}
        }
        Ok(Some(request))
    }

    fn read_chunks(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        self.framing = Framing::Chunked;
        loop {
            let line = self.line(from)?;
            let size = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            let size = number(size, 16)?;
            if size == 0 {
                break;
            }
            let chunk = exactly(from, size)?;
            self.body.extend_from_slice(&chunk);
            self.wire_body.extend_from_slice(&chunk);
            self.line(from)?;
        }
        // Trailers, if any, to the empty line.
        while self.line(from)?.trim_ascii() != b"" {}
        Ok(())
    }

    fn line(&mut self, from: &mut impl BufRead) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.wire_body.extend_from_slice(&line);
        Ok(line)
    }
}

fn number(text: &[u8], radix: u32) -> io::Result<u64> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|t| u64::from_str_radix(t, radix).ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn exactly(from: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> RawRequest {
        RawRequest::read(0, &mut &bytes[..]).unwrap().unwrap()
    }

    #[test]
    fn a_request_is_kept_byte_for_byte() {
        let bytes =
            b"POST /v1/a%2e?x HTTP/1.1\r\nHost:  h \r\nX-a: 1\r\nx-A: 2\r\ncontent-length: 3\r\n\r\nabc";
        let request = read(bytes);
        assert_eq!([request.head.clone(), request.wire_body.clone()].concat(), bytes);
        assert_eq!((request.method(), request.target()), ("POST", "/v1/a%2e?x"));
        assert_eq!(request.header("x-a"), [b"1", b"2"]);
        assert_eq!((request.headers()[0], request.framing), ((&b"Host"[..], &b"h"[..]), Framing::Length));
    }

    #[test]
    fn chunks_are_kept_and_undone() {
        let body = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n";
        let request = read(&[b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", &body[..]].concat());
        assert_eq!(
            (request.body, request.wire_body, request.framing),
            (b"abcde".to_vec(), body.to_vec(), Framing::Chunked)
        );
    }

    #[test]
    fn a_broken_request_is_an_error_and_no_request_is_none() {
        assert_eq!(RawRequest::read(0, &mut &b""[..]).unwrap(), None);
        for bytes in [&b"GET / HT"[..], b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab"] {
            assert!(RawRequest::read(0, &mut &bytes[..]).is_err());
        }
    }
}
