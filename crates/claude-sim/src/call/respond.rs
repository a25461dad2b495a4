//! From the outcome of a route to a response.

use std::io::Write as _;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::{Call, Full, Hangup, Reply};
use crate::body::{BodyPlan, SimBody};
use crate::directive::fault::Gzip;
use crate::error::{ApiError, Hints};
use crate::events::EventWriter;
use crate::headers::{Kind, retry};

impl Call {
    /// Turns the outcome into a response.
    pub(crate) fn respond(self, result: Result<Reply, ApiError>) -> Response<SimBody> {
        match result {
            Ok(Reply::Full(full)) => self.full(full, None),
            Ok(Reply::Stream(writer)) => self.stream(*writer),
            Ok(Reply::Hangup) => self.hang_up(),
            Err(error) => {
                self.core.log.counters.refused.fetch_add(1, Ordering::Relaxed);
                let (kind, text) = match error.hints.as_ref().and_then(|hints| hints.raw.as_ref()) {
                    Some(raw) => (Kind::Html, raw.clone()),
                    None => (Kind::Json, error.envelope(&self.request_id)),
                };
                let full = Full { status: error.status, kind, bytes: text.into(), content_type: None };
                self.full(full, error.hints.as_deref())
            }
        }
    }

    fn full(mut self, full: Full, hints: Option<&Hints>) -> Response<SimBody> {
        let Full { status, kind, mut bytes, content_type } = full;
        let mut headers = self.headers(kind);
        if let Some(value) = content_type {
            headers.insert(CONTENT_TYPE, value);
        }
        if let Some(hints) = hints {
            retry(&mut headers, hints);
        }
        if self.compresses() && !bytes.is_empty() {
            bytes = gzip(&bytes);
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(line) = &mut self.record.line {
            line.status = status.as_u16();
        }
        if self.head.method == Method::HEAD {
            bytes = Bytes::new();
        }
        let plan = self.body_plan();
        let mut response = Response::new(SimBody::bytes(bytes, plan, self.record));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn stream(mut self, writer: EventWriter) -> Response<SimBody> {
        let mut headers = self.headers(Kind::Events);
        let gzip = self.compresses();
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(line) = &mut self.record.line {
            line.status = StatusCode::OK.as_u16();
        }
        let plan = self.body_plan();
        let mut response = Response::new(SimBody::events(writer, plan, gzip, self.record));
        *response.headers_mut() = headers;
        response
    }

    fn hang_up(mut self) -> Response<SimBody> {
        if let Some(line) = &mut self.record.line {
            line.status = 0;
        }
        let mut response = Response::new(SimBody::bytes(Bytes::new(), BodyPlan::default(), self.record));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response.extensions_mut().insert(Hangup);
        response
    }

    fn headers(&self, kind: Kind) -> HeaderMap {
        let workspace = self.workspace.as_ref().map(|workspace| &workspace.id);
        let mut headers = self.core.dresser.base(&self.request_id, kind, workspace);
        if let Some(window) = self.window {
            self.core.dresser.limits(&mut headers, window);
        }
        for (name, value) in &self.steer.shape.headers {
            headers.insert(name, value.clone());
        }
        headers
    }

    fn body_plan(&mut self) -> BodyPlan {
        let config = &self.core.config;
        let mut plan = BodyPlan::new(&self.steer.pace, &self.steer.cut, config.limits.wait, config.event_gap);
        plan.flush_each_event = config.flush_each_event;
        plan.request_id = std::mem::take(&mut self.request_id);
        plan
    }

    fn compresses(&self) -> bool {
        let accepted = || {
            let values = self.head.headers.get_all(ACCEPT_ENCODING).into_iter();
            values.filter_map(|value| value.to_str().ok()).any(|value| value.contains("gzip"))
        };
        match self.steer.pace.gzip {
            Some(Gzip::Unasked) => true,
            Some(Gzip::IfAccepted) => accepted(),
            None => self.core.config.gzip && accepted(),
        }
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}
