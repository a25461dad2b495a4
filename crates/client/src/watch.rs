//! An answer on its way to the caller: what it used is read as it passes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use claviger_domain::clock::{BootInstant, Clock};
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::Body,
    cache::{self, Place},
    config::Config,
    error::BoxError,
    limiter::Turn,
    stats::Stats,
    usage::Meter,
};

/// One call's line in the figures; written once.
pub(crate) struct Figures {
    stats: Option<Stats>,
    clock: Arc<dyn Clock>,
    began: BootInstant,
}

impl Figures {
    pub(crate) fn begin(config: &Config) -> Self {
        Self { stats: config.stats.clone(), clock: Arc::clone(&config.clock), began: config.clock.boot() }
    }

    /// Hands the line over to whoever sees the end.
    pub(crate) fn take(&mut self) -> Self {
        Self { stats: self.stats.take(), clock: Arc::clone(&self.clock), began: self.began }
    }

    pub(crate) fn hit(&mut self) {
        if let Some(stats) = self.stats.take() {
            stats.hit();
        }
    }

    pub(crate) fn repeated(&self) {
        if let Some(stats) = &self.stats {
            stats.repeated();
        }
    }

    pub(crate) fn unanswered(&mut self) {
        self.end(true, &mut Meter::None);
    }

    fn end(&mut self, failed: bool, meter: &mut Meter) {
        if let Some(stats) = self.stats.take() {
            let took = Duration::from_micros(self.clock.boot().micros_since(self.began));
            stats.finished(took, failed, meter.end().as_ref());
        }
    }
}

/// The body of an answer.
pub(crate) struct Watched {
    inner: Body,
    meter: Meter,
    status: StatusCode,
    figures: Figures,
    turn: Option<Turn>,
    copy: Option<(Place, BytesMut)>,
}

impl Watched {
    pub(crate) fn over(
        answer: Response<Body>,
        path: &str,
        figures: Figures,
        turn: Option<Turn>,
        place: Option<Place>,
    ) -> Response<Body> {
        let (parts, inner) = answer.into_parts();
        let meter = Meter::of(path, parts.status, &parts.headers);
        let keepable = cache::is_keepable(parts.status, &parts.headers);
        let copy = place.filter(|_| keepable).map(|place| (place.with(&parts.headers), BytesMut::new()));
        let watched = Self { inner, meter, status: parts.status, figures, turn, copy };
        Response::from_parts(parts, Body::new(watched))
    }

    fn see(&mut self, data: &Bytes) {
        self.meter.write(data);
        let too_long = self.copy.as_mut().is_some_and(|(place, copy)| {
            copy.extend_from_slice(data);
            copy.len() > place.most_bytes()
        });
        if too_long {
            self.copy = None;
        }
    }

    fn end(&mut self, broken: bool) {
        self.turn = None;
        self.figures.end(broken || self.status.as_u16() >= 400, &mut self.meter);
        if let Some((place, copy)) = self.copy.take().filter(|_| !broken) {
            place.keep(copy.freeze());
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.see(data);
                }
            }
            Some(Err(_)) => self.end(true),
            None => self.end(false),
        }
        // Whoever knows the length does not ask for the end.
        if self.inner.is_end_stream() {
            self.end(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    /// The caller wants no more: what came counts, and is not kept.
    fn drop(&mut self) {
        self.copy = None;
        self.end(false);
    }
}
