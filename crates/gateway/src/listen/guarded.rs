//! A socket that tells its connection's state when bytes move, and when they cannot, and says in our words what the
//! HTTP/1 parser says in its own.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::unreadable::Unreadable;
use crate::connection::ConnectionState;

pub(super) struct Guarded<S> {
    stream: S,
    state: Arc<ConnectionState>,
    unreadable: Unreadable,
}

impl<S> Guarded<S> {
    pub(super) const fn new(stream: S, state: Arc<ConnectionState>, unreadable: Unreadable) -> Self {
        Self { stream, state, unreadable }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        self.state.wrote(written.is_pending());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.state.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    /// Writes what is to be said in place of these bytes; `None`: they are an answer.
    fn exchange(&mut self, cx: &mut Context<'_>, written: &[u8]) -> Option<Poll<io::Result<usize>>> {
        loop {
            let text = self.unreadable.in_place_of(written)?;
            match Pin::new(&mut self.stream).poll_write(cx, text) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Ok(0))),
                Poll::Ready(Ok(sent)) => {
                    if let Some(all) = self.unreadable.sent(sent) {
                        return Some(Poll::Ready(Ok(all)));
                    }
                }
                not_sent @ (Poll::Pending | Poll::Ready(Err(_))) => return Some(not_sent),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let exchanged = self.exchange(cx, buf);
        let written = exchanged.unwrap_or_else(|| Pin::new(&mut self.stream).poll_write(cx, buf));
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let exchanged = bufs.first().and_then(|first| self.exchange(cx, first));
        let written = exchanged.unwrap_or_else(|| Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
