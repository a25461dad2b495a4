//! One HTTP/1.1 connection, driven by the task of the request that uses it.
//!
//! Hyper expects a connection's driver to be spawned as a task of its own. Here it is polled from the request
//! and body futures instead: a proxied request then costs no task and no wake-up from one task to another. An
//! idle connection is not driven by anybody, so it is looked at again before each use.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Waker},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, Connection, SendRequest},
    },
};
use hyper_util::rt::TokioIo;

use crate::{body::RequestBody, stream::Stream};

pub(crate) struct Http1<B: RequestBody> {
    sender: SendRequest<B>,
    driver: Option<Connection<TokioIo<Stream>, B>>,
    used: bool,
}

impl<B: RequestBody> Http1<B> {
    pub(crate) async fn open(stream: Stream) -> Result<Box<Self>, hyper::Error> {
        let (sender, driver) = Builder::new().handshake(TokioIo::new(stream)).await?;
        Ok(Box::new(Self { sender, driver: Some(driver), used: false }))
    }

    /// Whether it has carried a request before.
    pub(crate) const fn was_used(&self) -> bool {
        self.used
    }

    /// Reads and writes what can be read and written now.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && let std::task::Poll::Ready(end) = Pin::new(driver).poll(cx)
        {
            if let Err(error) = end {
                tracing::debug!(%error, "upstream connection ended");
            }
            self.driver = None;
        }
    }

    /// Whether it is open, with nothing of an earlier exchange left on it, as far as can be known without
    /// waiting.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the answer's head. The request comes back with the error if none of it
    /// was written. Dropping the future leaves a connection that is not at rest, which is then closed.
    pub(crate) async fn send(
        &mut self,
        request: Request<B>,
    ) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        self.used = true;
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && Pin::new(driver).poll(cx).is_ready()
            {
                // Dropping the driver resolves the answer, with an error if there was none.
                self.driver = None;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }
}
