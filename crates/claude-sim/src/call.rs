//! One request from its head to the head of its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body;

use crate::arrival::read;
use crate::body::{BodyPlan, SimBody};
use crate::directive::fault::Gzip;
use crate::directive::{Directives, phrases};
use crate::error::{ApiError, kind_of};
use crate::events::EventWriter;
use crate::headers::{Kind, retry};
use crate::log::{Ending, Line, Record};
use crate::request::{MessagesRequest, Prompt};
use crate::route::{self, Route};
use crate::seed::Rng;
use crate::simulator::{Core, series_token};
use crate::workspace::{Window, Workspace};
use crate::{auth, batch, diagnostics, file, messages, models, page};

/// Marks a response in whose place the connection is to be closed without a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hangup;

/// What a route answers.
pub(crate) enum Reply {
    Full { status: StatusCode, kind: Kind, bytes: Bytes, content_type: Option<HeaderValue> },
    Stream(Box<EventWriter>),
    Hangup,
}

impl Reply {
    pub(crate) fn json(text: String) -> Self {
        Self::of(Kind::Json, text.into())
    }

    pub(crate) fn of(kind: Kind, bytes: Bytes) -> Self {
        Self::Full { status: StatusCode::OK, kind, bytes, content_type: None }
    }
}

/// One request and what is known of it so far.
pub(crate) struct Call {
    pub(crate) core: Arc<Core>,
    pub(crate) head: Parts,
    pub(crate) request_id: String,
    pub(crate) now_ms: u64,
    pub(crate) ids: Rng,
    pub(crate) steer: Directives,
    pub(crate) record: Record,
    /// Set on messages: the rate-limit window after this request.
    pub(crate) window: Option<Window>,
    workspace: Option<Arc<Workspace>>,
    hangup: bool,
}

impl Call {
    pub(crate) fn begin(core: Arc<Core>, head: Parts) -> Self {
        let seq = core.next_seq();
        let mut ids = core.ids(seq);
        let request_id = ids.id("req_011C");
        let now_ms = core.config.clock.now_ms();
        let line = core.log.is_on().then(|| Box::new(line(&head, seq, now_ms, &request_id)));
        let record = Record::begin(Arc::clone(&core.log), line);
        Self {
            core,
            head,
            request_id,
            now_ms,
            ids,
            steer: Directives::default(),
            record,
            window: None,
            workspace: None,
            hangup: false,
        }
    }

    /// Reads the body, obeys the directives, then lets the route answer.
    pub(crate) async fn run<B>(&mut self, body: B) -> Result<Reply, ApiError>
    where
        B: Body,
        B::Data: Buf,
    {
        let path = self.head.uri.path().to_owned();
        let route = route::of(&self.head.method, &path);
        if let Some(line) = &mut self.record.line {
            line.route = route.name();
        }
        let bytes = read(body, self.body_limit(route)).await?;
        self.note_body(&bytes);
        if let Route::Diagnostics(rest) = route {
            self.record.line = None;
            return diagnostics::answer(self, rest, &bytes);
        }
        self.steer_by_head()?;
        match route {
            Route::Messages | Route::CountTokens => {
                let request = MessagesRequest::of(&bytes);
                let prompt = request.as_ref().map(MessagesRequest::prompt).unwrap_or_default();
                if let Ok(request) = &request {
                    self.steer_by_body(request, &prompt, &bytes)?;
                }
                self.obey(&path, &bytes).await?;
                if self.hangup {
                    return Ok(Reply::Hangup);
                }
                let workspace = self.enter()?;
                let inbound = messages::Inbound { request: &request?, prompt: &prompt, body: &bytes };
                match route {
                    Route::CountTokens => messages::count(self, &inbound),
                    _ => messages::create(self, &inbound, &workspace),
                }
            }
            route => {
                self.obey(&path, &bytes).await?;
                if self.hangup {
                    return Ok(Reply::Hangup);
                }
                self.resource(route, &bytes)
            }
        }
    }

    fn resource(&mut self, route: Route<'_>, body: &Bytes) -> Result<Reply, ApiError> {
        if route == Route::Probe {
            return Ok(Reply::json(r#"{"message":"hello"}"#.to_owned()));
        }
        let workspace = self.enter()?;
        let new_shape = self.is_new_version();
        let query = page::PageQuery::of(self.head.uri.query());
        let extra = &self.core.config.extra_models;
        match route {
            Route::ListModels => models::list(&query, extra, new_shape).map(Reply::json),
            Route::GetModel(id) => models::get(id, extra, new_shape).map(Reply::json),
            Route::CreateBatch => batch::create(self, &workspace, body),
            Route::ListBatches => batch::list(self, &workspace, &query),
            Route::GetBatch(id) => batch::get(self, &workspace, id),
            Route::DeleteBatch(id) => batch::delete(self, &workspace, id),
            Route::CancelBatch(id) => batch::cancel(self, &workspace, id),
            Route::BatchResults(id) => batch::results(self, &workspace, id),
            Route::CreateFile => file::create(self, &workspace, body),
            Route::ListFiles => file::list(&workspace, &query),
            Route::GetFile(id) => file::get(&workspace, id),
            Route::DeleteFile(id) => file::delete(&workspace, id),
            Route::FileContent(id) => file::content(&workspace, id),
            Route::WrongMethod => Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")),
            Route::Unknown | Route::Probe | Route::Messages | Route::CountTokens | Route::Diagnostics(_) => {
                Err(ApiError::not_found("Not found"))
            }
        }
    }

    /// Authenticates and checks the version headers.
    fn enter(&mut self) -> Result<Arc<Workspace>, ApiError> {
        let name = auth::workspace_of(&self.core.config.keys, auth::presented(&self.head.headers))?;
        let workspace = self.core.workspace(name);
        if let Some(line) = &mut self.record.line {
            line.workspace = Some(workspace.name.clone());
        }
        self.workspace = Some(Arc::clone(&workspace));
        auth::version(&self.head.headers)?;
        Ok(workspace)
    }

    pub(crate) fn version(&self) -> &str {
        self.head.headers.get("anthropic-version").and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    fn is_new_version(&self) -> bool {
        self.version() == crate::request::NEW_VERSION
    }

    /// Origin for absolute URLs.
    pub(crate) fn origin(&self) -> String {
        if let Some(url) = &self.core.config.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let host = self.head.headers.get(HOST).and_then(|value| value.to_str().ok());
        let host = host.or_else(|| self.head.uri.authority().map(http::uri::Authority::as_str));
        format!("http://{}", host.unwrap_or("localhost"))
    }

    fn body_limit(&self, route: Route<'_>) -> usize {
        let limits = &self.core.config.limits;
        match route {
            Route::CreateBatch => limits.batch_bytes,
            Route::CreateFile => limits.file_bytes,
            _ => limits.message_bytes,
        }
    }

    fn note_body(&mut self, body: &Bytes) {
        if let Some(line) = &mut self.record.line {
            line.body_bytes = body.len();
            line.body_sha256 = hex::encode(digest(&SHA256, body));
        }
    }
}

// === impl Call: directives ===

impl Call {
    fn steer_by_head(&mut self) -> Result<(), ApiError> {
        let refuse = |error: crate::directive::DirectiveError| ApiError::invalid(error.to_string());
        let key = auth::presented(&self.head.headers);
        self.core.standing.apply(key, &mut self.steer).map_err(refuse)?;
        for value in self.head.headers.get_all("x-sim-fault") {
            self.steer.add(value.to_str().unwrap_or("not-ascii")).map_err(refuse)?;
        }
        Ok(())
    }

    fn steer_by_body(
        &mut self,
        request: &MessagesRequest<'_>,
        prompt: &Prompt,
        body: &[u8],
    ) -> Result<(), ApiError> {
        let refuse = |error: crate::directive::DirectiveError| ApiError::invalid(error.to_string());
        for list in lists_in(request, prompt, body) {
            self.steer.add(&list).map_err(refuse)?;
        }
        Ok(())
    }

    /// Waits, hangs up or refuses as told.
    async fn obey(&mut self, path: &str, body: &[u8]) -> Result<(), ApiError> {
        if let Some(line) = self.record.line.as_mut().filter(|_| !self.steer.given.is_empty()) {
            line.fault = Some(self.steer.given.clone());
        }
        if self.steer.trigger.counts() {
            let token = series_token(self.steer.trigger.token.as_deref(), path, body);
            if !self.steer.trigger.holds(self.core.series.count(token)) {
                self.steer.disarm();
            }
        }
        let latency = self.steer.pace.latency.unwrap_or(self.core.config.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency.min(self.core.config.limits.wait)).await;
        }
        self.hangup = self.steer.refusal.hangup;
        let refusal = &self.steer.refusal;
        let Some(status) = refusal.status.and_then(|code| StatusCode::from_u16(code).ok()) else {
            return Ok(());
        };
        let message =
            refusal.message.clone().unwrap_or_else(|| format!("Simulated status {}", status.as_u16()));
        Err(ApiError {
            kind: refusal.kind.clone().map_or(kind_of(status).into(), Into::into),
            code: refusal.code.clone(),
            retry_after: refusal.retry_after.clone(),
            retry_after_ms: refusal.retry_after_ms,
            should_retry: refusal.should_retry,
            raw: refusal.raw.clone(),
            ..ApiError::new(status, message)
        })
    }
}

/// The directive lists in a body: `metadata.user_id`, then phrases in `system` and in the prompt.
pub(crate) fn lists_in(request: &MessagesRequest<'_>, prompt: &Prompt, body: &[u8]) -> Vec<String> {
    let mut lists = Vec::new();
    let user_id = request.metadata.as_ref().and_then(|metadata| metadata.user_id.as_deref());
    if let Some(list) = user_id.and_then(|id| id.strip_prefix("sim:")) {
        lists.push(list.to_owned());
    }
    if memchr::memmem::find(body, b"[[sim:").is_some() {
        for text in [user_id.unwrap_or(""), &request.system_text(), &prompt.text] {
            lists.extend(phrases(text).map(str::to_owned));
        }
    }
    lists
}

// === impl Call: answers ===

impl Call {
    /// Turns the outcome into a response.
    pub(crate) fn respond(self, result: Result<Reply, ApiError>) -> Response<SimBody> {
        match result {
            Ok(Reply::Full { status, kind, bytes, content_type }) => {
                self.full(status, kind, bytes, content_type, None)
            }
            Ok(Reply::Stream(writer)) => self.stream(writer),
            Ok(Reply::Hangup) => self.hang_up(),
            Err(error) => {
                self.core.log.counters.refused.fetch_add(1, Ordering::Relaxed);
                let (kind, text) = match &error.raw {
                    Some(raw) => (Kind::Html, raw.clone()),
                    None => (Kind::Json, error.envelope(&self.request_id)),
                };
                self.full(error.status, kind, text.into(), None, Some(&error))
            }
        }
    }

    fn full(
        mut self,
        status: StatusCode,
        kind: Kind,
        mut bytes: Bytes,
        content_type: Option<HeaderValue>,
        error: Option<&ApiError>,
    ) -> Response<SimBody> {
        let mut headers = self.headers(kind);
        if let Some(value) = content_type {
            headers.insert(CONTENT_TYPE, value);
        }
        if let Some(error) = error {
            retry(&mut headers, error);
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

    fn stream(mut self, writer: Box<EventWriter>) -> Response<SimBody> {
        let mut headers = self.headers(Kind::Events);
        let gzip = self.compresses();
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(line) = &mut self.record.line {
            line.status = StatusCode::OK.as_u16();
        }
        let plan = self.body_plan();
        let mut response = Response::new(SimBody::events(*writer, plan, gzip, self.record));
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

    fn headers(&self, kind: Kind) -> http::HeaderMap {
        let workspace = self.workspace.as_ref().map(|workspace| &workspace.id);
        let mut headers = self.core.dresser.base(&self.request_id, kind, workspace);
        if let Some(window) = self.window {
            self.core.dresser.limits(&mut headers, window);
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
    use std::io::Write as _;

    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

fn line(head: &Parts, seq: u64, at_ms: u64, request_id: &str) -> Line {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Line {
        kind: "request",
        seq,
        at_ms,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        route: "",
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body_bytes: 0,
        body_sha256: String::new(),
        request_id: request_id.to_owned(),
        workspace: None,
        fault: None,
        status: 0,
        ending: Ending::GoneBeforeHead,
        sent_events: 0,
        sent_bytes: 0,
        inference: None,
    }
}
