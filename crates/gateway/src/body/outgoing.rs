//! The body of a request on its way to the upstream, in the client's own framing.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{BodyError, Pace, spool::SpoolReader};
use crate::{config::PaceLimits, prove::guard::Guard};

/// What is sent.
#[derive(Debug)]
pub enum Outgoing {
    /// Nothing.
    Empty,
    /// A body that is in memory.
    Whole {
        /// The bytes, until they are sent.
        bytes: Option<Bytes>,
        /// The client sent it in chunks, so it goes on in chunks, an empty one too.
        chunked: bool,
    },
    /// A body in a spool file.
    Spooled {
        /// The file.
        reader: SpoolReader,
        /// As above.
        chunked: bool,
    },
    /// A body that is passed on while it comes.
    Streamed {
        /// The client's body.
        body: Incoming,
        /// It must keep coming.
        pace: Pace,
        /// Bytes that it may still have.
        left: u64,
        /// The limit that `left` began with.
        limit: u64,
        /// Holds its last piece back until it is proved.
        guard: Option<Box<Guard>>,
    },
}

impl Outgoing {
    /// A body in memory.
    #[must_use]
    pub fn whole(bytes: Bytes, chunked: bool) -> Self {
        if bytes.is_empty() && !chunked { Self::Empty } else { Self::Whole { bytes: Some(bytes), chunked } }
    }

    /// A body to be passed on while it comes, of at most `limit` bytes.
    #[must_use]
    pub const fn streamed(body: Incoming, limit: u64, pace: PaceLimits, guard: Option<Box<Guard>>) -> Self {
        Self::Streamed { body, pace: Pace::new(pace), left: limit, limit, guard }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole { bytes, .. } => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Spooled { reader, .. } => {
                let next = ready!(reader.poll_chunk(cx)).map_err(BodyError::Spool).transpose();
                Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
            }
            Self::Streamed { body, pace, left, limit, guard } => loop {
                if let Some(guard) = guard.as_mut().filter(|guard| !guard.is_reading()) {
                    let last = ready!(guard.poll_end(cx)).map_err(BodyError::Unproven).transpose();
                    return Poll::Ready(last.map(|piece| piece.map(Frame::data)));
                }
                let Poll::Ready(next) = Pin::new(&mut *body).poll_frame(cx) else {
                    return pace.poll_limit(cx).map(|()| Some(Err(BodyError::TooSlow)));
                };
                let Some(frame) = next else {
                    let Some(guard) = guard else { return Poll::Ready(None) };
                    guard.end();
                    continue;
                };
                let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
                pace.came(data.len());
                let Some(rest) = left.checked_sub(data.len() as u64) else {
                    return Poll::Ready(Some(Err(BodyError::TooLarge { limit: *limit })));
                };
                *left = rest;
                let Some(guard) = guard else { return Poll::Ready(Some(Ok(Frame::data(data)))) };
                if let Some(before) = guard.pass(data) {
                    return Poll::Ready(Some(Ok(Frame::data(before))));
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole { bytes, .. } => bytes.is_none(),
            // Asked before the head is written: chunks are announced by not being at the end.
            Self::Spooled { reader, chunked } => reader.is_at_end() && !chunked,
            Self::Streamed { guard: Some(guard), .. } => guard.is_ended(),
            Self::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole { bytes: Some(bytes), chunked: false } => SizeHint::with_exact(bytes.len() as u64),
            Self::Spooled { reader, chunked: false } => SizeHint::with_exact(reader.left()),
            Self::Whole { .. } | Self::Spooled { .. } => SizeHint::default(),
            Self::Streamed { body, .. } => body.size_hint(),
        }
    }
}
