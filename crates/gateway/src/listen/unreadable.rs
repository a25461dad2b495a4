//! Heads that cannot be read as HTTP/1: the parser refuses them before there is a request, with a head and nothing else.
//! Here its words are exchanged for the usual envelope.

use std::{sync::Arc, task::Context, task::Waker};

use bytes::Bytes;
use claviger_claude_wire::answers::Answer;
use http::{Method, Response};

use crate::{pipeline, receive::new_request_id, refuse::Refusal, reply::ReplyBody, worker::Worker};

/// How the parser's own refusals begin; no answer of ours does, as each has an id.
const BEGINS: &[u8] = b"HTTP/1.1 4";
/// All of their headers, in either order.
const BARE: [&[u8]; 2] =
    [b"connection: close\r\ncontent-length: 0\r\n\r\n", b"content-length: 0\r\nconnection: close\r\n\r\n"];

/// Why the parser refuses, if these bytes are such a refusal.
fn refused(written: &[u8]) -> Option<Refusal> {
    let rest = written.strip_prefix(BEGINS)?;
    let line = rest.windows(2).position(|end| end == b"\r\n")?;
    let (status, headers) = (rest.get(..2)?, rest.get(line + 2..)?);
    if !BARE.contains(&headers) {
        return None;
    }
    let refusal = match status {
        b"00" => {
            Refusal::new(Answer::InvalidRequest, "head_unreadable", "The request's head is not HTTP/1.1.")
        }
        b"14" | b"31" => Refusal::new(
            Answer::HeadTooLarge,
            "head_too_large",
            "The request's head is larger than is accepted.",
        ),
        _ => return None,
    };
    Some(Refusal { close: true, ..refusal })
}

/// What goes out in place of the parser's own refusals on one connection.
pub(super) struct Unreadable {
    worker: Arc<Worker>,
    /// What is left to be sent.
    left: Bytes,
    /// The length of what it stands for.
    stands_for: usize,
}

impl Unreadable {
    pub(super) const fn new(worker: Arc<Worker>) -> Self {
        Self { worker, left: Bytes::new(), stands_for: 0 }
    }

    /// What to send in place of these bytes; `None`: they are an answer.
    pub(super) fn in_place_of(&mut self, written: &[u8]) -> Option<&Bytes> {
        if self.left.is_empty() {
            self.left = self.envelope(&refused(written)?)?;
            self.stands_for = written.len();
        }
        Some(&self.left)
    }

    /// So many bytes of it were sent; how many of the parser's bytes they stand for, once it is all.
    pub(super) fn sent(&mut self, bytes: usize) -> Option<usize> {
        self.left = self.left.split_off(bytes.min(self.left.len()));
        self.left.is_empty().then_some(self.stands_for)
    }

    fn envelope(&self, refusal: &Refusal) -> Option<Bytes> {
        let shared = &self.worker.shared;
        let id = new_request_id(&self.worker.chance).ok()?;
        shared.metrics.refused(refusal.reason, &Method::default(), refusal.status().as_u16());
        let answer = pipeline::answer(refusal, &id, None);
        Some(on_the_wire(pipeline::dated(answer, shared.clock.now())))
    }
}

fn on_the_wire(answer: Response<ReplyBody>) -> Bytes {
    let (head, mut body) = answer.into_parts();
    let mut text = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    let mut cx = Context::from_waker(Waker::noop());
    if let std::task::Poll::Ready(Some(Ok(body))) = body.poll_data(&mut cx, false) {
        text.extend_from_slice(&body);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_parsers_own_words_are_exchanged() {
        let status = |text: &[u8]| refused(text).map(|refusal| refusal.status().as_u16());
        let bare = "connection: close\r\ncontent-length: 0\r\n\r\n";
        for (line, said) in [("400 Bad Request", 400), ("414 URI Too Long", 431), ("431 Too Large", 431)] {
            assert_eq!(status(format!("HTTP/1.1 {line}\r\n{bare}").as_bytes()), Some(said));
        }
        for other in [
            format!("HTTP/1.1 400 Bad Request\r\nrequest-id: r\r\n{bare}"),
            format!("HTTP/1.1 404 Not Found\r\n{bare}"),
            format!("HTTP/1.1 200 OK\r\n{bare}"),
            format!("HTTP/1.1 400 Bad Request\r\n{bare}more"),
            "HTTP/1.1 4".to_owned(),
            String::new(),
        ] {
            assert_eq!(status(other.as_bytes()), None, "{other}");
        }
    }
}
