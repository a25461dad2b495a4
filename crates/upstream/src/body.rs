//! Bodies: what can be sent, and the upstream's answer as it comes in.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::pool::{Lease, http2::StreamPlace};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body that can be sent.
pub trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

impl<B> RequestBody for B where B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

/// The body of an upstream's answer. Reading it drives the connection; when it has been read to its end the
/// connection goes back to the pool, and dropping it earlier closes the connection (or resets the stream).
pub struct UpstreamBody<B: RequestBody> {
    incoming: Incoming,
    carrier: Option<Carrier<B>>,
}

/// What brings the bytes in.
enum Carrier<B: RequestBody> {
    Http1(Lease<B>),
    Http2 { _place: StreamPlace },
}

impl<B: RequestBody> UpstreamBody<B> {
    pub(crate) fn http1(incoming: Incoming, lease: Lease<B>) -> Self {
        Self { incoming, carrier: Some(Carrier::Http1(lease)) }.settled()
    }

    pub(crate) fn http2(incoming: Incoming, place: StreamPlace) -> Self {
        Self { incoming, carrier: Some(Carrier::Http2 { _place: place }) }.settled()
    }

    /// An empty body is at its end from the start.
    fn settled(mut self) -> Self {
        self.settle_at_end();
        self
    }

    fn settle_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.settle();
        }
    }

    /// Lets the connection go for the next request.
    fn settle(&mut self) {
        match self.carrier.take() {
            Some(Carrier::Http1(lease)) => lease.finish(),
            Some(Carrier::Http2 { .. }) | None => {}
        }
    }
}

impl<B: RequestBody> Body for UpstreamBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut next = Pin::new(&mut this.incoming).poll_frame(cx);
        if next.is_pending()
            && let Some(Carrier::Http1(lease)) = &mut this.carrier
        {
            // The first poll told the connection that a frame is wanted, now it fetches one.
            lease.connection.drive(cx);
            next = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        match &next {
            Poll::Ready(Some(Ok(_))) => this.settle_at_end(),
            Poll::Ready(None) => this.settle(),
            // A broken connection is dropped with its place in the pool.
            Poll::Ready(Some(Err(_))) => this.carrier = None,
            Poll::Pending => {}
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B: RequestBody> std::fmt::Debug for UpstreamBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("UpstreamBody").field(&self.incoming).finish()
    }
}
