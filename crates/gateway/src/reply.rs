//! The body of what a client gets.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    connection::Serving,
    relay::{early::EarlyRelay, plain::PlainRelay, replay::Replay, stream::StreamRelay},
};

/// Why an answer ends with an aborted connection: never cleanly, so that nobody takes a part for the whole.
#[derive(Debug, thiserror::Error)]
pub enum Aborted {
    /// The upstream broke off.
    #[error("the upstream broke off: {0}")]
    Upstream(String),
    /// The record could not be kept.
    #[error(transparent)]
    Record(#[from] claviger_service::recorder::RecordError),
    /// The key was revoked, or we are shutting down.
    #[error("the answer was cut off")]
    Cut,
}

/// A body of an answer.
pub struct ReplyBody {
    kind: Kind,
    serving: Option<Serving>,
}

enum Kind {
    Once(Option<Bytes>),
    Plain(Box<PlainRelay>),
    Stream(Box<StreamRelay>),
    Early(Box<EarlyRelay>),
    Replay(Box<Replay>),
}

impl ReplyBody {
    /// A body of ours, in one piece.
    #[must_use]
    pub fn once(bytes: Bytes) -> Self {
        Self { kind: Kind::Once(Some(bytes).filter(|b| !b.is_empty())), serving: None }
    }

    /// The body of an answer to HEAD: there is none. HTTP/1.1 leaves one out, HTTP/2 would send it and break.
    #[must_use]
    pub fn left_out(self) -> Self {
        match self.kind {
            Kind::Once(_) => Self::once(Bytes::new()),
            Kind::Plain(_) | Kind::Stream(_) | Kind::Early(_) | Kind::Replay(_) => self,
        }
    }

    /// An answer that is relayed as it is.
    #[must_use]
    pub fn plain(relay: PlainRelay) -> Self {
        Self { kind: Kind::Plain(Box::new(relay)), serving: None }
    }

    /// An event stream.
    #[must_use]
    pub fn stream(relay: StreamRelay) -> Self {
        Self { kind: Kind::Stream(Box::new(relay)), serving: None }
    }

    /// An event stream that is open before the upstream has answered.
    #[must_use]
    pub fn early(relay: EarlyRelay) -> Self {
        Self { kind: Kind::Early(Box::new(relay)), serving: None }
    }

    /// An event stream out of the response cache.
    #[must_use]
    pub fn replay(replay: Replay) -> Self {
        Self { kind: Kind::Replay(Box::new(replay)), serving: None }
    }

    /// The next bytes; `cut` when the connection must end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>, cut: bool) -> Poll<Option<Result<Bytes, Aborted>>> {
        match &mut self.kind {
            Kind::Once(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Kind::Plain(relay) => relay.poll_data(cx, cut),
            Kind::Stream(relay) => relay.poll_data(cx, cut),
            Kind::Early(relay) => relay.poll_data(cx, cut),
            Kind::Replay(replay) => replay.poll_data(cx, cut),
        }
    }

    /// The connection counts the request as being served until the body is over.
    #[must_use]
    pub fn while_serving(mut self, serving: Serving) -> Self {
        self.serving = Some(serving);
        self
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let cut = self.serving.as_ref().is_some_and(|serving| serving.is_cut(cx));
        let next = self.poll_data(cx, cut);
        next.map(|data| data.map(|d| d.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Once(bytes) => bytes.is_none(),
            Kind::Plain(relay) => relay.is_over(),
            Kind::Stream(relay) => relay.is_over(),
            Kind::Early(relay) => relay.is_over(),
            Kind::Replay(replay) => replay.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Once(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Kind::Plain(relay) => relay.size_hint(),
            Kind::Stream(_) | Kind::Early(_) | Kind::Replay(_) => SizeHint::default(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.kind, Kind::Once(None)) {
            // What is dropped before the upstream has answered says so by itself; what is replayed is recorded.
            Kind::Once(_) | Kind::Early(_) | Kind::Replay(_) => {}
            Kind::Plain(relay) => PlainRelay::abandon(relay),
            Kind::Stream(relay) => StreamRelay::abandon(relay),
        }
    }
}
