//! The table of paths.

use http::Method;

use crate::admin::Question;

/// Where a request goes. Ids are borrowed from the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `HEAD /`, `/api/hello`: probes of clients and load balancers.
    Probe,
    /// `/__sim/…`: the simulator's own log and counters.
    Diagnostics(&'a str),
    Prompt(PromptRoute),
    Resource(Resource<'a>),
    /// The Admin API.
    Admin(Question<'a>),
    /// A known path with another method.
    WrongMethod,
    Unknown,
}

/// Routes whose body is a prompt, and may hold directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PromptRoute {
    Messages,
    CountTokens,
}

/// Everything that is listed, kept or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    CreateBatch,
    ListBatches,
    GetBatch(&'a str),
    DeleteBatch(&'a str),
    CancelBatch(&'a str),
    BatchResults(&'a str),
    ListModels,
    GetModel(&'a str),
    CreateFile,
    ListFiles,
    GetFile(&'a str),
    DeleteFile(&'a str),
    FileContent(&'a str),
}

/// Reads method and path (without query).
pub(crate) fn of<'a>(method: &Method, path: &'a str) -> Route<'a> {
    if let Some(rest) = path.strip_prefix("/__sim/") {
        return Route::Diagnostics(rest);
    }
    let Some(rest) = path.strip_prefix("/v1/") else {
        return if path == "/" || path == "/api/hello" { Route::Probe } else { Route::Unknown };
    };
    use Resource as R;

    let parts = Parts::of(rest);
    let get = method == Method::GET;
    let post = method == Method::POST;
    let delete = method == Method::DELETE;
    let prompt = |kind| if post { Route::Prompt(kind) } else { Route::WrongMethod };
    let found = match (parts.0, parts.1, parts.2, parts.3) {
        ("organizations", ..) => return admin(parts, get),
        ("messages", "", "", "") => return prompt(PromptRoute::Messages),
        ("messages", "count_tokens", "", "") => return prompt(PromptRoute::CountTokens),
        ("messages", "batches", "", "") if post => Some(R::CreateBatch),
        ("messages", "batches", "", "") => get.then_some(R::ListBatches),
        ("messages", "batches", id, "") if delete => Some(R::DeleteBatch(id)),
        ("messages", "batches", id, "") => get.then_some(R::GetBatch(id)),
        ("messages", "batches", id, "cancel") => post.then_some(R::CancelBatch(id)),
        ("messages", "batches", id, "results") => get.then_some(R::BatchResults(id)),
        ("models", "", "", "") => get.then_some(R::ListModels),
        ("models", id, "", "") => get.then_some(R::GetModel(id)),
        ("files", "", "", "") if post => Some(R::CreateFile),
        ("files", "", "", "") => get.then_some(R::ListFiles),
        ("files", id, "", "") if delete => Some(R::DeleteFile(id)),
        ("files", id, "", "") => get.then_some(R::GetFile(id)),
        ("files", id, "content", "") => get.then_some(R::FileContent(id)),
        _ => return Route::Unknown,
    };
    found.map_or(Route::WrongMethod, Route::Resource)
}

/// Below `/v1/organizations`.
fn admin(parts: Parts<'_>, get: bool) -> Route<'_> {
    let question = match (parts.1, parts.2, parts.3) {
        ("api_keys", "", "") => Question::ListApiKeys,
        ("api_keys", id, "") => Question::GetApiKey(id),
        ("usage_report", "messages", "") => Question::UsageReport,
        ("cost_report", "", "") => Question::CostReport,
        _ => return Route::Unknown,
    };
    if get { Route::Admin(question) } else { Route::WrongMethod }
}

/// Up to four segments; missing ones are empty, a fifth makes the path unknown.
struct Parts<'a>(&'a str, &'a str, &'a str, &'a str);

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        let mut segments = rest.trim_end_matches('/').splitn(4, '/');
        let mut next = || segments.next().unwrap_or("");
        Self(next(), next(), next(), next())
    }
}

impl Route<'_> {
    /// The name in the request log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Diagnostics(_) => "diagnostics",
            Self::Prompt(PromptRoute::Messages) => "messages",
            Self::Prompt(PromptRoute::CountTokens) => "count_tokens",
            Self::Resource(resource) => resource.name(),
            Self::Admin(question) => question.name(),
            Self::WrongMethod => "wrong_method",
            Self::Unknown => "unknown",
        }
    }
}

impl Resource<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::CreateBatch => "batch.create",
            Self::ListBatches => "batch.list",
            Self::GetBatch(_) => "batch.get",
            Self::DeleteBatch(_) => "batch.delete",
            Self::CancelBatch(_) => "batch.cancel",
            Self::BatchResults(_) => "batch.results",
            Self::ListModels => "model.list",
            Self::GetModel(_) => "model.get",
            Self::CreateFile => "file.create",
            Self::ListFiles => "file.list",
            Self::GetFile(_) => "file.get",
            Self::DeleteFile(_) => "file.delete",
            Self::FileContent(_) => "file.content",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_api_puts_them() {
        assert_eq!(of(&Method::POST, "/v1/messages"), Route::Prompt(PromptRoute::Messages));
        assert_eq!(of(&Method::GET, "/v1/messages"), Route::WrongMethod);
        assert_eq!(of(&Method::POST, "/v1/messages/count_tokens"), Route::Prompt(PromptRoute::CountTokens));
        assert_eq!(of(&Method::GET, "/v1/messages/batches/b1"), Route::Resource(Resource::GetBatch("b1")));
        assert_eq!(
            of(&Method::GET, "/v1/messages/batches/b1/results"),
            Route::Resource(Resource::BatchResults("b1"))
        );
        assert_eq!(of(&Method::GET, "/v1/files/f/content"), Route::Resource(Resource::FileContent("f")));
        assert_eq!(of(&Method::GET, "/v1/files/f/content/x"), Route::Unknown);
        assert_eq!(
            of(&Method::GET, "/v1/organizations/usage_report/messages"),
            Route::Admin(Question::UsageReport)
        );
        assert_eq!(of(&Method::GET, "/v1/organizations/cost_report"), Route::Admin(Question::CostReport));
        assert_eq!(of(&Method::GET, "/v1/organizations/api_keys/k"), Route::Admin(Question::GetApiKey("k")));
        assert_eq!(of(&Method::POST, "/v1/organizations/api_keys"), Route::WrongMethod);
        assert_eq!(of(&Method::HEAD, "/"), Route::Probe);
        assert_eq!(of(&Method::GET, "/v2/messages"), Route::Unknown);
    }
}
