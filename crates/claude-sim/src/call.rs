//! One request from its head to the head of its answer.

mod obey;
mod respond;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Buf, Bytes};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body::Body;

pub(crate) use self::obey::lists_in;
use crate::arrival::read;
use crate::directive::Directives;
use crate::error::ApiError;
use crate::events::EventWriter;
use crate::headers::Kind;
use crate::log::{Ending, Line, Record};
use crate::request::{MessagesRequest, NEW_VERSION};
use crate::route::{self, PromptRoute, Resource, Route};
use crate::seed::Rng;
use crate::simulator::Core;
use crate::workspace::{Window, Workspace};
use crate::{admin, auth, batch, diagnostics, file, messages, models, page};

/// Marks a response in whose place the connection is to be closed without a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hangup;

/// What a route answers.
pub(crate) enum Reply {
    Full(Full),
    Stream(Box<EventWriter>),
    Hangup,
}

/// An answer that is there as a whole.
pub(crate) struct Full {
    pub(crate) status: StatusCode,
    pub(crate) kind: Kind,
    pub(crate) bytes: Bytes,
    /// Instead of the one that belongs to `kind`.
    pub(crate) content_type: Option<HeaderValue>,
}

impl Reply {
    pub(crate) fn json(text: String) -> Self {
        Self::of(Kind::Json, text.into())
    }

    pub(crate) fn of(kind: Kind, bytes: Bytes) -> Self {
        Self::Full(Full { status: StatusCode::OK, kind, bytes, content_type: None })
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
            Route::Prompt(kind) => self.prompted(kind, &path, &bytes).await,
            Route::Probe
            | Route::Diagnostics(_)
            | Route::Resource(_)
            | Route::Admin(_)
            | Route::WrongMethod
            | Route::Unknown => {
                self.obey(&path, &bytes).await?;
                if self.hangup { Ok(Reply::Hangup) } else { self.unprompted(route, &bytes) }
            }
        }
    }

    async fn prompted(&mut self, kind: PromptRoute, path: &str, body: &Bytes) -> Result<Reply, ApiError> {
        let request = MessagesRequest::of(body);
        let prompt = request.as_ref().map(MessagesRequest::prompt).unwrap_or_default();
        if let Ok(request) = &request {
            self.steer_by_body(request, &prompt, body)?;
        }
        let subject = prompt.marked.as_ref().map_or(body.as_ref(), String::as_bytes);
        self.obey(path, subject).await?;
        if self.hangup {
            return Ok(Reply::Hangup);
        }
        let workspace = self.enter()?;
        let inbound = messages::Inbound { request: &request?, prompt: &prompt, body };
        match kind {
            PromptRoute::Messages => messages::create(self, &inbound, &workspace),
            PromptRoute::CountTokens => messages::count(self, &inbound),
        }
    }

    fn unprompted(&mut self, route: Route<'_>, body: &Bytes) -> Result<Reply, ApiError> {
        match route {
            Route::Probe => Ok(Reply::json(r#"{"message":"hello"}"#.to_owned())),
            Route::Resource(resource) => self.resource(resource, body),
            Route::Admin(question) => admin::answer(self, question),
            Route::WrongMethod => {
                self.enter()?;
                Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
            }
            Route::Unknown | Route::Diagnostics(_) | Route::Prompt(_) => {
                self.enter()?;
                Err(ApiError::not_found("Not found"))
            }
        }
    }

    fn resource(&mut self, resource: Resource<'_>, body: &Bytes) -> Result<Reply, ApiError> {
        let workspace = self.enter()?;
        let new_shape = self.version() == NEW_VERSION;
        let query = page::PageQuery::of(self.head.uri.query());
        let extra = &self.core.config.extra_models;
        match resource {
            Resource::ListModels => models::list(&query, extra, new_shape).map(Reply::json),
            Resource::GetModel(id) => models::get(id, extra, new_shape).map(Reply::json),
            Resource::CreateBatch => batch::create(self, &workspace, body),
            Resource::ListBatches => batch::list(self, &workspace, &query),
            Resource::GetBatch(id) => batch::get(self, &workspace, id),
            Resource::DeleteBatch(id) => batch::delete(self, &workspace, id),
            Resource::CancelBatch(id) => batch::cancel(self, &workspace, id),
            Resource::BatchResults(id) => batch::results(self, &workspace, id),
            Resource::CreateFile => file::create(self, &workspace, body),
            Resource::ListFiles => file::list(&workspace, &query),
            Resource::GetFile(id) => file::get(&workspace, id),
            Resource::DeleteFile(id) => file::delete(&workspace, id),
            Resource::FileContent(id) => file::content(&workspace, id),
        }
    }

    /// Authenticates and checks the version headers.
    fn enter(&mut self) -> Result<Arc<Workspace>, ApiError> {
        let key = auth::presented(&self.head.headers);
        if key.is_some_and(admin::is_admin_key) {
            return Err(ApiError::unauthenticated("invalid x-api-key"));
        }
        let name = auth::workspace_of(&self.core.config.keys, key)?;
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
            Route::Resource(Resource::CreateBatch) => limits.batch_bytes,
            Route::Resource(Resource::CreateFile) => limits.file_bytes,
            Route::Resource(_)
            | Route::Admin(_)
            | Route::Prompt(_)
            | Route::Probe
            | Route::Diagnostics(_)
            | Route::WrongMethod
            | Route::Unknown => limits.message_bytes,
        }
    }

    fn note_body(&mut self, body: &Bytes) {
        if let Some(line) = &mut self.record.line {
            line.body_bytes = body.len();
            line.body_sha256 = hex::encode(digest(&SHA256, body));
        }
    }
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
