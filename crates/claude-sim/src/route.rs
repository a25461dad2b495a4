//! The table of paths.

use http::Method;

/// Where a request goes. Ids are borrowed from the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `HEAD /`, `/api/hello`: probes of clients and load balancers.
    Probe,
    Messages,
    CountTokens,
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
    /// `/__sim/…`: the simulator's own log and counters.
    Diagnostics(&'a str),
    /// A known path with another method.
    WrongMethod,
    Unknown,
}

/// Reads method and path (without query).
pub(crate) fn of<'a>(method: &Method, path: &'a str) -> Route<'a> {
    if let Some(rest) = path.strip_prefix("/__sim/") {
        return Route::Diagnostics(rest);
    }
    let Some(rest) = path.strip_prefix("/v1/") else {
        return if path == "/" || path == "/api/hello" { Route::Probe } else { Route::Unknown };
    };
    let parts = Parts::of(rest);
    let get = method == Method::GET;
    let post = method == Method::POST;
    let delete = method == Method::DELETE;
    let found = match (parts.0, parts.1, parts.2, parts.3) {
        ("messages", "", "", "") => post.then_some(Route::Messages),
        ("messages", "count_tokens", "", "") => post.then_some(Route::CountTokens),
        ("messages", "batches", "", "") if post => Some(Route::CreateBatch),
        ("messages", "batches", "", "") => get.then_some(Route::ListBatches),
        ("messages", "batches", id, "") if delete => Some(Route::DeleteBatch(id)),
        ("messages", "batches", id, "") => get.then_some(Route::GetBatch(id)),
        ("messages", "batches", id, "cancel") => post.then_some(Route::CancelBatch(id)),
        ("messages", "batches", id, "results") => get.then_some(Route::BatchResults(id)),
        ("models", "", "", "") => get.then_some(Route::ListModels),
        ("models", id, "", "") => get.then_some(Route::GetModel(id)),
        ("files", "", "", "") if post => Some(Route::CreateFile),
        ("files", "", "", "") => get.then_some(Route::ListFiles),
        ("files", id, "", "") if delete => Some(Route::DeleteFile(id)),
        ("files", id, "", "") => get.then_some(Route::GetFile(id)),
        ("files", id, "content", "") => get.then_some(Route::FileContent(id)),
        _ => return Route::Unknown,
    };
    found.unwrap_or(Route::WrongMethod)
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
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
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
            Self::Diagnostics(_) => "diagnostics",
            Self::WrongMethod => "wrong_method",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_api_puts_them() {
        assert_eq!(of(&Method::POST, "/v1/messages"), Route::Messages);
        assert_eq!(of(&Method::GET, "/v1/messages"), Route::WrongMethod);
        assert_eq!(of(&Method::POST, "/v1/messages/count_tokens"), Route::CountTokens);
        assert_eq!(of(&Method::GET, "/v1/messages/batches/b1"), Route::GetBatch("b1"));
        assert_eq!(of(&Method::GET, "/v1/messages/batches/b1/results"), Route::BatchResults("b1"));
        assert_eq!(of(&Method::GET, "/v1/files/f/content"), Route::FileContent("f"));
        assert_eq!(of(&Method::GET, "/v1/files/f/content/x"), Route::Unknown);
        assert_eq!(of(&Method::HEAD, "/"), Route::Probe);
        assert_eq!(of(&Method::GET, "/v2/messages"), Route::Unknown);
    }
}
