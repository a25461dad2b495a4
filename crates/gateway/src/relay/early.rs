//! Streams that are opened before the upstream has answered, where the operator wants it so: proxies on the way
//! give up on silent requests. It fixes the status at 200, so whatever else comes is an `error` event.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use claviger_claude_wire::error::{ErrorBody, ErrorType, PING_EVENT};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body;

use super::silence::Silence;
use crate::{
    headers::{Own, client_headers},
    refuse::Refusal,
    reply::{Aborted, ReplyBody},
};

/// An error answer is far smaller.
const MOST: usize = 256 * 1024;

/// What the rest of the pipeline makes of the request.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<ReplyBody>, Refusal>> + Send>>;

/// A stream that is open already.
pub struct EarlyRelay {
    phase: Phase,
    silence: Silence,
    ping_after: Duration,
    /// As the head of the answer has it.
    request_id: Box<str>,
}

enum Phase {
    /// There is no answer yet.
    Waiting(Answering),
    /// The answer is a stream.
    Streaming(Box<ReplyBody>),
    /// The answer is something else, read until it can be told.
    Failing(Box<ReplyBody>, StatusCode, BytesMut),
    Over,
}

/// Opens the stream.
#[must_use]
pub fn open(answering: Answering, own: &Own<'_>, ping_after: Duration) -> Response<ReplyBody> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let (phase, silence) = (Phase::Waiting(answering), Silence::begins());
    let relay = EarlyRelay { phase, silence, ping_after, request_id: own.request_id.into() };
    let mut response = Response::new(ReplyBody::early(relay));
    *response.headers_mut() = client_headers(headers, own);
    response
}

impl EarlyRelay {
    /// The next bytes for the client.
    pub fn poll_data(&mut self, cx: &mut Context<'_>, cut: bool) -> Poll<Option<Result<Bytes, Aborted>>> {
        loop {
            match &mut self.phase {
                Phase::Waiting(_) if cut => {
                    self.phase = Phase::Over;
                    return event(
                        ErrorType::Permission,
                        "The stream was cut off by the gateway.",
                        &self.request_id,
                    );
                }
                Phase::Waiting(answering) => match answering.as_mut().poll(cx) {
                    Poll::Ready(Ok(response)) => self.phase = Phase::of(response),
                    Poll::Ready(Err(refusal)) => {
                        self.phase = Phase::Over;
                        return event(refusal.answer.row().kind, &refusal.message, &self.request_id);
                    }
                    Poll::Pending => {
                        ready!(self.silence.poll(cx, self.ping_after));
                        self.silence.ends();
                        return Poll::Ready(Some(Ok(Bytes::from_static(PING_EVENT))));
                    }
                },
                Phase::Streaming(body) => return body.poll_data(cx, cut),
                Phase::Failing(body, status, read) => match ready!(body.poll_data(cx, cut)) {
                    Some(Ok(data)) if read.len() + data.len() <= MOST => read.extend_from_slice(&data),
                    Some(Ok(_)) | Some(Err(_)) | None => {
                        let told = failed(*status, read, &self.request_id);
                        self.phase = Phase::Over;
                        return told;
                    }
                },
                Phase::Over => return Poll::Ready(None),
            }
        }
    }

    /// Whether nothing more comes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.phase {
            Phase::Waiting(_) | Phase::Failing(..) => false,
            Phase::Streaming(body) => body.is_end_stream(),
            Phase::Over => true,
        }
    }
}

impl Phase {
    fn of(response: Response<ReplyBody>) -> Self {
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            Self::Streaming(Box::new(body))
        } else {
            Self::Failing(Box::new(body), parts.status, BytesMut::new())
        }
    }
}

/// The upstream's error as an event: its own envelope where that fits on one line.
fn failed(status: StatusCode, body: &[u8], request_id: &str) -> Poll<Option<Result<Bytes, Aborted>>> {
    let is_envelope = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    if is_envelope && !body.contains(&b'\n') && !body.contains(&b'\r') {
        let event = [b"event: error\ndata: ", body, b"\n\n"].concat();
        return Poll::Ready(Some(Ok(Bytes::from(event))));
    }
    event(ErrorType::Api, &format!("The upstream answered {}.", status.as_u16()), request_id)
}

fn event(kind: ErrorType, message: &str, id: &str) -> Poll<Option<Result<Bytes, Aborted>>> {
    let request_id = Some(id);
    let event = ErrorBody { kind, message, error_code: None, oauth_error: None, request_id }.to_sse();
    Poll::Ready(Some(Ok(Bytes::from(event))))
}
