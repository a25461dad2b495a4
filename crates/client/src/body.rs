//! The one body type, for requests on their way out and answers on their way in.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use aws_lc_rs::digest;
use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use crate::error::{BoxError, ClientError};

/// A body of bytes, whole or streamed.
pub struct Body(Inner);

enum Inner {
    /// `None` once it was given.
    Whole(Option<Bytes>),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// None.
    #[must_use]
    pub fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// All of it at once.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty())))
    }

    /// Any other body.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self(Inner::Stream(Bytewise(Box::pin(body)).boxed_unsync()))
    }

    /// All of it, where it is at hand.
    ///
    /// # Errors
    /// The body itself, when it is a stream.
    pub fn into_whole(self) -> Result<Bytes, Self> {
        match self.0 {
            Inner::Whole(bytes) => Ok(bytes.unwrap_or_default()),
            Inner::Stream(_) => Err(self),
        }
    }
}

/// Any body as one of bytes; its length is known as well as it was.
struct Bytewise<B>(Pin<Box<B>>);

impl<B> HttpBody for Bytewise<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        let frame = ready!(self.0.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(bytes)).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::whole(text)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::whole(text)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::whole(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_none(),
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}

/// The SHA-256 of a body that is streamed once, put into the request's extensions: it is signed in place of the body,
/// and the stream is compared with it on its way out. One that differs is broken off before its end. Not with
/// profile v1, which signs the body itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentDigest(pub [u8; 32]);

impl ContentDigest {
    /// Of a body that is at hand, in an earlier pass.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
        Self(hash)
    }
}

/// Compares a stream with its digest. The last byte is given only when it holds, so that a body that differs never
/// looks whole to the gateway.
pub(crate) struct Checked {
    inner: Body,
    want: [u8; 32],
    hash: Option<digest::Context>,
    held: Bytes,
}

impl Checked {
    pub(crate) fn new(inner: Body, want: ContentDigest) -> Self {
        let hash = Some(digest::Context::new(&digest::SHA256));
        Self { inner, want: want.0, hash, held: Bytes::new() }
    }

    /// What may go out now that `data` came in: all but the last byte.
    fn advance(&mut self, data: &Bytes) -> Option<Bytes> {
        if let Some(hash) = &mut self.hash {
            hash.update(data);
        }
        let last = data.len().checked_sub(1)?;
        let mut out = BytesMut::with_capacity(self.held.len() + last);
        out.extend_from_slice(&self.held);
        out.extend_from_slice(&data[..last]);
        self.held = data.slice(last..);
        (!out.is_empty()).then(|| out.freeze())
    }

    fn end(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        let hash = self.hash.take()?.finish();
        if hash.as_ref() != self.want {
            return Some(Err(ClientError::DigestMismatch.into()));
        }
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| Ok(Frame::data(held)))
    }
}

impl HttpBody for Checked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                None => return Poll::Ready(self.end()),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => frame,
            };
            // Trailers are not signed: they are left out.
            let Ok(data) = frame.into_data() else { continue };
            if let Some(out) = self.advance(&data) {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if let Some(exact) = self.inner.size_hint().exact() {
            hint.set_exact(exact + self.held.len() as u64);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn through(pieces: &[&'static str], want: ContentDigest) -> Result<Bytes, (BoxError, usize)> {
        let frames: Vec<_> =
            pieces.iter().map(|p| Ok::<_, BoxError>(Frame::data(Bytes::from_static(p.as_bytes())))).collect();
        let stream = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let mut checked = Checked::new(Body::new(stream), want);
        let mut out = BytesMut::new();
        while let Some(frame) = checked.frame().await {
            match frame {
                Ok(frame) => out.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => return Err((error, out.len())),
            }
        }
        Ok(out.freeze())
    }

    #[test]
    fn a_length_that_was_known_stays_known() {
        let body = Body::new(Body::new(http_body_util::Full::new(Bytes::from_static(b"hello"))));
        assert_eq!(body.size_hint().exact(), Some(5));
    }

    #[tokio::test]
    async fn a_stream_of_its_digest_passes_in_whatever_pieces() {
        for pieces in [&["hello"][..], &["h", "e", "", "llo"], &["hell", "o"]] {
            assert_eq!(through(pieces, ContentDigest::of(b"hello")).await.unwrap(), "hello");
        }
        assert_eq!(through(&[], ContentDigest::of(b"")).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_stream_that_differs_never_looks_whole() {
        for pieces in [&["hello"][..], &["hel", "lo"], &["x"]] {
            let (error, passed) = through(pieces, ContentDigest::of(b"other")).await.unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(ClientError::DigestMismatch)));
            assert!(passed < pieces.concat().len());
        }
    }
}
