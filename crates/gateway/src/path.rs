//! What a request asks for, by method and path alone. The path is matched as it was sent; a path that means
//! something else once it is decoded or its dots are resolved is never taken for a known route.

use std::borrow::Cow;

use claviger_domain::{
    limit::Bucket,
    permission::{Access, Endpoint},
};
use http::Method;

use crate::{
    auth::{self, AuthRoute},
    own::{self, OwnRoute},
};

/// One thing that can be asked of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A start-up probe of a client: `HEAD /`, `/api/hello`.
    Probe,
    /// `GET /healthz`.
    Health,
    /// `GET /readyz`.
    Ready,
    /// `POST /v1/messages`.
    CreateMessage,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `POST /v1/messages/batches`.
    CreateBatch,
    /// `GET /v1/messages/batches`.
    ListBatches,
    /// `GET /v1/messages/batches/{id}`.
    RetrieveBatch(Box<str>),
    /// `POST /v1/messages/batches/{id}/cancel`.
    CancelBatch(Box<str>),
    /// `DELETE /v1/messages/batches/{id}`.
    DeleteBatch(Box<str>),
    /// `GET /v1/messages/batches/{id}/results`.
    BatchResults(Box<str>),
    /// `GET /v1/models`.
    ListModels,
    /// `GET /v1/models/{id}`.
    RetrieveModel(Box<str>),
    /// `POST /v1/files`.
    UploadFile,
    /// `GET /v1/files`.
    ListFiles,
    /// `GET /v1/files/{id}`.
    RetrieveFile(Box<str>),
    /// `DELETE /v1/files/{id}`.
    DeleteFile(Box<str>),
    /// `GET /v1/files/{id}/content`.
    FileContent(Box<str>),
    /// What the gateway answers by itself to holders of keys.
    Own(OwnRoute),
    /// The token counter.
    Auth(AuthRoute),
    /// Anything else: passes only where the credential belongs to the caller's workspace.
    Other,
    /// The provider's administration and token exchange: never forwarded.
    Never,
}

/// What kind of answer an operation gets, as far as the gateway has to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// A message or a stream of one: metered.
    Message,
    /// Something to read, passed on as it is.
    Object,
    /// A batch: its `results_url` is rewritten; if it is new, whose it is is kept.
    Batch {
        /// Whether it was just made.
        new: bool,
    },
    /// A new file: whose it is is kept.
    NewFile,
    /// A list of which callers see their own.
    List,
    /// Batch results: billed.
    Results,
    /// Bytes of the caller's own.
    Content,
    /// Nobody knows: metered if it looks like a message.
    Unknown,
}

/// Paths that are never forwarded, in any spelling.
const NEVER: [&str; 2] = ["/v1/organizations", "/v1/oauth/token"];

impl Operation {
    /// Reads method and path (without its query).
    #[must_use]
    pub fn of(method: &Method, path: &str) -> Self {
        match path {
            "/v1/messages" if method == Method::POST => return Self::CreateMessage,
            "/v1/messages/count_tokens" if method == Method::POST => return Self::CountTokens,
            _ => {}
        }
        if let Some(route) = AuthRoute::of(method, path) {
            return Self::Auth(route);
        }
        let plain = resolve(path);
        if NEVER.iter().any(|never| plain.starts_with(never)) {
            return Self::Never;
        }
        if plain.strip_prefix(own::PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Self::Own(if is_plain(path) { OwnRoute::of(method, path) } else { OwnRoute::Nowhere });
        }
        if plain.strip_prefix(auth::PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Self::Auth(AuthRoute::Nowhere);
        }
        if !is_plain(path) {
            return Self::Other;
        }
        known(method, path).unwrap_or(Self::Other)
    }

    /// The group of routes that permissions and reports speak of.
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        match self {
            Self::CreateMessage => Endpoint::Messages,
            Self::CountTokens => Endpoint::CountTokens,
            Self::CreateBatch
            | Self::ListBatches
            | Self::RetrieveBatch(_)
            | Self::CancelBatch(_)
            | Self::DeleteBatch(_)
            | Self::BatchResults(_) => Endpoint::Batches,
            Self::ListModels | Self::RetrieveModel(_) => Endpoint::Models,
            Self::UploadFile
            | Self::ListFiles
            | Self::RetrieveFile(_)
            | Self::DeleteFile(_)
            | Self::FileContent(_) => Endpoint::Files,
            Self::Probe
            | Self::Health
            | Self::Ready
            | Self::Own(_)
            | Self::Auth(_)
            | Self::Other
            | Self::Never => Endpoint::Other,
        }
    }

    /// What kind of answer it gets.
    #[must_use]
    pub const fn answer(&self) -> AnswerKind {
        match self {
            Self::CreateMessage => AnswerKind::Message,
            Self::CountTokens
            | Self::DeleteBatch(_)
            | Self::RetrieveModel(_)
            | Self::RetrieveFile(_)
            | Self::DeleteFile(_)
            | Self::Probe
            | Self::Health
            | Self::Ready
            | Self::Own(_)
            | Self::Auth(_) => AnswerKind::Object,
            Self::CreateBatch => AnswerKind::Batch { new: true },
            Self::RetrieveBatch(_) | Self::CancelBatch(_) => AnswerKind::Batch { new: false },
            Self::ListBatches | Self::ListFiles | Self::ListModels => AnswerKind::List,
            Self::BatchResults(_) => AnswerKind::Results,
            Self::UploadFile => AnswerKind::NewFile,
            Self::FileContent(_) => AnswerKind::Content,
            Self::Other | Self::Never => AnswerKind::Unknown,
        }
    }

    /// Whether the request can be sent again although the provider may have seen it: it makes nothing lasting there.
    #[must_use]
    pub fn is_repeatable(&self, method: &Method) -> bool {
        matches!(self, Self::CreateMessage | Self::CountTokens)
            || matches!(*method, Method::GET | Method::HEAD)
    }

    /// Whether the request only looks.
    #[must_use]
    pub fn access(&self, method: &Method) -> Access {
        let looks = matches!(self, Self::CountTokens) || matches!(*method, Method::GET | Method::HEAD);
        if looks { Access::Read } else { Access::Write }
    }

    /// Which bucket of limits the request is taken from.
    #[must_use]
    pub fn bucket(&self, method: &Method) -> Bucket {
        match self.access(method) {
            Access::Read => Bucket::Look,
            Access::Write => Bucket::Work,
        }
    }

    /// The id of a resource at the provider that the path names.
    #[must_use]
    pub fn resource_id(&self) -> Option<&str> {
        match self {
            Self::RetrieveBatch(id)
            | Self::CancelBatch(id)
            | Self::DeleteBatch(id)
            | Self::BatchResults(id)
            | Self::RetrieveFile(id)
            | Self::DeleteFile(id)
            | Self::FileContent(id) => Some(id),
            Self::Probe
            | Self::Health
            | Self::Ready
            | Self::CreateMessage
            | Self::CountTokens
            | Self::CreateBatch
            | Self::ListBatches
            | Self::ListModels
            | Self::RetrieveModel(_)
            | Self::UploadFile
            | Self::ListFiles
            | Self::Own(_)
            | Self::Auth(_)
            | Self::Other
            | Self::Never => None,
        }
    }
}

/// The ids and tokens from which on a list is asked for: the values of `after_id`, `before_id` and `page`, decoded.
pub fn cursors(query: Option<&str>) -> impl Iterator<Item = (&'static str, String)> {
    query.unwrap_or_default().split('&').filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        let name = percent_decode(name.as_bytes());
        let name = ["after_id", "before_id", "page"].into_iter().find(|known| known.as_bytes() == name)?;
        Some((name, String::from_utf8_lossy(&percent_decode(value.as_bytes())).into_owned()))
    })
}

fn known(method: &Method, path: &str) -> Option<Operation> {
    let get = method == Method::GET;
    let post = method == Method::POST;
    let delete = method == Method::DELETE;
    match path {
        "/" if method == Method::HEAD => return Some(Operation::Probe),
        "/api/hello" if get || method == Method::HEAD => return Some(Operation::Probe),
        "/healthz" if get || method == Method::HEAD => return Some(Operation::Health),
        "/readyz" if get || method == Method::HEAD => return Some(Operation::Ready),
        _ => {}
    }
    let rest = path.strip_prefix("/v1/")?;
    if let Some(rest) = rest.strip_prefix("messages/batches") {
        return match segments(rest)? {
            (None, None) if post => Some(Operation::CreateBatch),
            (None, None) if get => Some(Operation::ListBatches),
            (Some(id), None) if get => Some(Operation::RetrieveBatch(id.into())),
            (Some(id), None) if delete => Some(Operation::DeleteBatch(id.into())),
            (Some(id), Some("cancel")) if post => Some(Operation::CancelBatch(id.into())),
            (Some(id), Some("results")) if get => Some(Operation::BatchResults(id.into())),
            _ => None,
        };
    }
    if let Some(rest) = rest.strip_prefix("models") {
        return match segments(rest)? {
            (None, None) if get => Some(Operation::ListModels),
            (Some(id), None) if get => Some(Operation::RetrieveModel(id.into())),
            _ => None,
        };
    }
    match segments(rest.strip_prefix("files")?)? {
        (None, None) if post => Some(Operation::UploadFile),
        (None, None) if get => Some(Operation::ListFiles),
        (Some(id), None) if get => Some(Operation::RetrieveFile(id.into())),
        (Some(id), None) if delete => Some(Operation::DeleteFile(id.into())),
        (Some(id), Some("content")) if get => Some(Operation::FileContent(id.into())),
        _ => None,
    }
}

/// At most two segments behind a prefix; `None` when there is more, or when one is empty.
fn segments(rest: &str) -> Option<(Option<&str>, Option<&str>)> {
    if rest.is_empty() {
        return Some((None, None));
    }
    let mut parts = rest.strip_prefix('/')?.split('/');
    let found = (parts.next(), parts.next());
    let filled = found.0 != Some("") && found.1 != Some("");
    (filled && parts.next().is_none()).then_some(found)
}

/// Whether nobody on the way could read the path differently: no escapes, no dot segments, no empty segments,
/// no backslashes, no parameters.
fn is_plain(path: &str) -> bool {
    let odd = |b: u8| matches!(b, b'%' | b'\\' | b';') || !b.is_ascii_graphic();
    !path.bytes().any(odd) && !path.contains("//") && !path.contains("/.")
}

/// The path as a lenient server could read it: escapes decoded until there are none, backslashes turned, empty
/// and dot segments resolved, lower-case. For refusing only; never sent.
fn resolve(path: &str) -> Cow<'_, str> {
    if is_plain(path) && !path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Cow::Borrowed(path);
    }
    let mut bytes = path.as_bytes().to_vec();
    // No server decodes more often than that.
    for _ in 0..16 {
        let decoded = percent_decode(&bytes);
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase().replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        // Some servers cut a segment's parameters off.
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%'
            && let [high, low, tail @ ..] = behind
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high << 4 | low);
            rest = tail;
            continue;
        }
        out.push(*first);
        rest = behind;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> Operation {
        Operation::of(&method.parse().unwrap(), path)
    }

    #[test]
    fn known_routes_are_told_by_method_and_path() {
        assert_eq!(of("POST", "/v1/messages"), Operation::CreateMessage);
        assert_eq!(of("POST", "/v1/messages/count_tokens"), Operation::CountTokens);
        assert_eq!(of("POST", "/v1/messages/batches"), Operation::CreateBatch);
        assert_eq!(of("GET", "/v1/messages/batches"), Operation::ListBatches);
        assert_eq!(of("GET", "/v1/messages/batches/b1"), Operation::RetrieveBatch("b1".into()));
        assert_eq!(of("DELETE", "/v1/messages/batches/b1"), Operation::DeleteBatch("b1".into()));
        assert_eq!(of("POST", "/v1/messages/batches/b1/cancel"), Operation::CancelBatch("b1".into()));
        assert_eq!(of("GET", "/v1/messages/batches/b1/results"), Operation::BatchResults("b1".into()));
        assert_eq!(of("GET", "/v1/models"), Operation::ListModels);
        assert_eq!(
            of("GET", "/v1/models/claude-opus-5-5"),
            Operation::RetrieveModel("claude-opus-5-5".into())
        );
        assert_eq!(of("POST", "/v1/files"), Operation::UploadFile);
        assert_eq!(of("GET", "/v1/files/f1/content"), Operation::FileContent("f1".into()));
        assert_eq!(of("HEAD", "/"), Operation::Probe);
        assert_eq!(of("HEAD", "/api/hello"), Operation::Probe);
        assert_eq!(of("GET", "/readyz"), Operation::Ready);
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_no_known_route() {
        for path in [
            "/v1/messages/",
            "/v1//messages",
            "/v1/files/x/../messages",
            "/v1/files/%66ile_1",
            "/v1/files/x%2Fcontent",
            "/v1/files/x;y",
            "/v1/./models",
            "/v1/models/a/b/c",
            "/v1/filesystem",
            "/V1/messages",
        ] {
            assert_eq!(of("GET", path), Operation::Other, "{path}");
        }
        assert_eq!(of("PUT", "/v1/messages"), Operation::Other);
    }

    #[test]
    fn what_is_the_gateways_own_is_never_forwarded() {
        assert_eq!(of("GET", "/v1/claviger/me"), Operation::Own(OwnRoute::Me));
        for path in [
            "/v1/claviger",
            "/v1//claviger/me",
            "/v1/%63laviger/me",
            "/v1/CLAVIGER/me",
            "/v1/x/../claviger/me",
        ] {
            assert_eq!(of("GET", path), Operation::Own(OwnRoute::Nowhere), "{path}");
        }
        assert_eq!(of("GET", "/v1/clavigers"), Operation::Other);
    }

    #[test]
    fn the_token_counter_is_never_forwarded() {
        assert_eq!(of("POST", "/v1/auth/token"), Operation::Auth(AuthRoute::Token));
        assert_eq!(of("GET", "/.well-known/jwks.json"), Operation::Auth(AuthRoute::Keys));
        for path in
            ["/v1/auth", "/v1//auth/token", "/v1/%61uth/token", "/v1/AUTH/token", "/v1/x/../auth/token"]
        {
            assert_eq!(of("POST", path), Operation::Auth(AuthRoute::Nowhere), "{path}");
        }
        assert_eq!(of("GET", "/v1/authors"), Operation::Other);
    }

    #[test]
    fn administration_is_refused_in_every_spelling() {
        for path in [
            "/v1/organizations",
            "/v1/organizations/me",
            "/v1/oauth/token",
            "/v1//organizations/me",
            "/v1/files/../organizations/me",
            "/v1/%6frganizations/me",
            "/v1/%256frganizations/me",
            "/%76%31/oauth%2ftoken",
            "/v1\\organizations",
            "/v1/ORGANIZATIONS/me",
            "/v1/x;a/..;b/organizations/me",
            "/../v1/organizations",
        ] {
            assert_eq!(of("GET", path), Operation::Never, "{path}");
        }
    }

    #[test]
    fn looking_has_a_bucket_of_its_own() {
        assert_eq!(Operation::CountTokens.bucket(&Method::POST), Bucket::Look);
        assert_eq!(Operation::ListModels.bucket(&Method::GET), Bucket::Look);
        assert_eq!(Operation::CreateMessage.bucket(&Method::POST), Bucket::Work);
        assert_eq!(Operation::DeleteFile("f".into()).bucket(&Method::DELETE), Bucket::Work);
    }
}
