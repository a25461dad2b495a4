//! Where an answer's bytes come from, with limits on their time.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use claviger_upstream::{
    UpstreamBody,
    timed::{BodyTimeouts, TimedBody},
};
use http_body::Body;

use crate::{
    body::outgoing::Outgoing,
    config::UpstreamTimeouts,
    simulate::{BoxError, SimulatedBody},
};

/// The body of an answer.
pub enum Source {
    /// From an upstream.
    Upstream(TimedBody<UpstreamBody<Outgoing>>),
    /// From the simulator.
    Simulated(SimulatedBody),
}

impl Source {
    /// From an upstream: a stream may be as long as it likes but never silent, anything else has a time to end.
    #[must_use]
    pub fn upstream(body: UpstreamBody<Outgoing>, is_stream: bool, limits: UpstreamTimeouts) -> Self {
        let timeouts = if is_stream {
            BodyTimeouts { idle: Some(limits.stream_idle), total: None }
        } else {
            BodyTimeouts { idle: Some(limits.stream_idle), total: Some(limits.total) }
        };
        Self::Upstream(TimedBody::new(body, timeouts))
    }

    /// From the simulator.
    #[must_use]
    pub const fn simulated(body: SimulatedBody) -> Self {
        Self::Simulated(body)
    }

    /// The next bytes; trailers are dropped.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            let frame = match self {
                Self::Upstream(body) => {
                    ready!(Pin::new(body).poll_frame(cx)).map(|f| f.map_err(BoxError::from))
                }
                Self::Simulated(body) => ready!(Pin::new(body).poll_frame(cx)),
            };
            match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        match self {
            Self::Upstream(body) => body.is_end_stream(),
            Self::Simulated(body) => body.is_end_stream(),
        }
    }
}
