//! The command line's way to the admin API: over the socket in the data folder, or to the address that this user is
//! logged in to.

use std::path::{Path, PathBuf};

use claviger_control::problem::Problem;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::{
    ask,
    output::CliError,
    profile::Profile,
    transport::{self, Answer, Endpoint, NoAnswer, Origin, Tls},
};

/// Rows that are asked for at a time.
const PAGE: u32 = 1_000;

/// Carries a code of the second factor.
static CODE: HeaderName = HeaderName::from_static("x-claviger-totp");

/// Talks to a control plane.
#[derive(Clone)]
pub struct Client {
    endpoint: Endpoint,
    token: Option<HeaderValue>,
    ca_file: Option<PathBuf>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What says where a control plane is.
#[derive(Debug, Default, Clone)]
pub struct Place {
    /// `--url`.
    pub url: Option<String>,
    /// `--ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--data`, as given.
    pub data: Option<PathBuf>,
    /// The data folder when nothing is said.
    pub default_data: Option<PathBuf>,
    /// An operator's token from the environment.
    pub token: Option<String>,
}

impl Client {
    /// A client for the process that owns this folder.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self::at(Endpoint::Socket(data.join("control.sock")))
    }

    /// A client for this endpoint, which proves nothing yet.
    #[must_use]
    pub const fn at(endpoint: Endpoint) -> Self {
        Self { endpoint, token: None, ca_file: None, headers: Vec::new() }
    }

    /// The control plane that is meant: the address that was given; else the data folder that was given; else where
    /// this user is logged in; else the usual data folder. Whoever is logged in there proves it.
    ///
    /// # Errors
    /// [`CliError`] when the place makes no sense.
    pub fn find(place: Place, login: Option<Profile>) -> Result<Self, CliError> {
        let login_at = login.as_ref().map(|l| endpoint(&l.url)).transpose()?;
        let at = match (&place.url, &place.data) {
            (Some(url), _) => endpoint(url)?,
            (None, Some(data)) => socket(data)?,
            (None, None) => match (&login_at, &place.default_data) {
                (Some(at), _) => at.clone(),
                (None, Some(data)) => socket(data)?,
                (None, None) => {
                    return Err(CliError::usage(
                        "no data folder: set --data, CLAVIGER_DATA, XDG_DATA_HOME or HOME",
                    ));
                }
            },
        };
        let login = login.filter(|_| login_at.as_ref() == Some(&at));
        let ca_file = place.ca_file.or_else(|| login.as_ref().and_then(|l| l.ca_file.clone()));
        let client = Self { ca_file, ..Self::at(at) };
        match place.token.or_else(|| login.map(|l| l.token)) {
            Some(token) => client.with_token(&token),
            None => Ok(client),
        }
    }

    /// A client that proves nothing yet, and the address that its login is kept under.
    ///
    /// # Errors
    /// [`CliError`] when the place makes no sense.
    pub fn for_login(place: Place) -> Result<(Self, String), CliError> {
        let client = Self::find(place, None)?;
        let url = match &client.endpoint {
            Endpoint::Socket(path) => format!("unix:{}", path.display()),
            Endpoint::Origin(origin) => origin.to_string(),
        };
        Ok((client, url))
    }

    /// A client of where this login is.
    ///
    /// # Errors
    /// [`CliError`] when the login makes no sense.
    pub fn of_login(login: &Profile) -> Result<Self, CliError> {
        let client = Self::at(endpoint(&login.url)?).with_ca_file(login.ca_file.clone());
        client.with_token(&login.token)
    }

    /// The same, with a code of the second factor on every request.
    ///
    /// # Errors
    /// [`CliError`] when it cannot be a code.
    pub fn with_code(self, code: &str) -> Result<Self, CliError> {
        let code = HeaderValue::try_from(code.trim());
        let mut code = code.map_err(|_| CliError::usage("a code has six digits"))?;
        code.set_sensitive(true);
        Ok(self.with_header(CODE.clone(), code))
    }

    /// The same, for whoever this token proves.
    ///
    /// # Errors
    /// [`CliError`] when it cannot be a token.
    pub fn with_token(mut self, token: &str) -> Result<Self, CliError> {
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value =
            value.map_err(|_| CliError::usage("the operator's token has characters that no token has"))?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// The same, which believes this authority, too.
    #[must_use]
    pub fn with_ca_file(self, ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, ..self }
    }

    /// The same, with a header on every request.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// GET.
    ///
    /// # Errors
    /// [`CliError`]: not running, refused, or unreadable.
    pub fn get(&self, path: &str) -> Result<Value, CliError> {
        self.call(Method::GET, path, None)
    }

    /// All rows of a list, page after page.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn list(&self, path: &str) -> Result<Value, CliError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let whole = format!("{path}{joint}limit={PAGE}");
        let mut rows = Vec::new();
        let mut from = whole.clone();
        loop {
            let mut page = self.get(&from)?;
            if let Some(data) = page["data"].as_array_mut() {
                rows.append(data);
            }
            match page["next"].as_str() {
                Some(next) => from = format!("{whole}&after={}", segment(next)),
                None => return Ok(Value::Array(rows)),
            }
        }
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.call(Method::POST, path, Some(encode(body)?))
    }

    /// PATCH with a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.call(Method::PATCH, path, Some(encode(body)?))
    }

    /// PUT with a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.call(Method::PUT, path, Some(encode(body)?))
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, path: &str) -> Result<Value, CliError> {
        self.call(Method::DELETE, path, None)
    }

    /// The answer's text as it is, for exports.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn text(&self, path: &str) -> Result<String, CliError> {
        let (status, bytes) = self.exchange(Method::GET, path, None)?;
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        String::from_utf8(bytes).map_err(|_| CliError::failed("the answer is not text"))
    }

    fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Value, CliError> {
        let (status, bytes) = self.exchange(method.clone(), path, body.clone())?;
        if status == StatusCode::UNAUTHORIZED && self.can_ask_for_code(&bytes) {
            let code = ask::line("code of the second factor", "--totp")?;
            return self.clone().with_code(&code)?.call(method, path, body);
        }
        if status == StatusCode::ACCEPTED
            && let Some(error) = pending(&bytes)
        {
            return Err(error);
        }
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|e| CliError::failed(format!("the answer is not JSON: {e}")))
    }

    /// Whether it is a code that is missing, and somebody sits there who has one.
    fn can_ask_for_code(&self, bytes: &[u8]) -> bool {
        let is_missing =
            serde_json::from_slice::<Problem>(bytes).is_ok_and(|p| p.kind == "second_factor_required");
        is_missing && !self.headers.iter().any(|(name, _)| *name == CODE) && ask::is_possible()
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Vec<u8>), CliError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "claviger")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("claviger-cli/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body.unwrap_or_default())));
        let mut request = request.map_err(|e| CliError::usage(e.to_string()))?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        request.headers_mut().extend(self.headers.iter().cloned());
        match transport::exchange(&self.endpoint, &Tls::believing(self.ca_file.clone()), request) {
            Ok(Answer { status, body, .. }) => Ok((status, body)),
            Err(NoAnswer::Unreachable(why)) => Err(self.not_running(&why)),
            Err(NoAnswer::Broke(why)) => Err(CliError::failed(format!("the connection broke: {why}"))),
            Err(NoAnswer::Wrong(error)) => Err(error),
        }
    }

    fn not_running(&self, error: &str) -> CliError {
        CliError::unreachable(match &self.endpoint {
            Endpoint::Socket(socket) => format!(
                "no claviger answers on {} ({error}): start it with `claviger serve`, or name its data folder with \
                 --data or CLAVIGER_DATA",
                socket.display()
            ),
            Endpoint::Origin(origin) => format!("no claviger answers at {origin} ({error})"),
        })
    }
}

/// What an address or a login's `url` means.
///
/// # Errors
/// [`CliError`] with what is expected.
pub fn endpoint(url: &str) -> Result<Endpoint, CliError> {
    match url.strip_prefix("unix:") {
        Some(path) => Ok(Endpoint::Socket(PathBuf::from(path))),
        None => Origin::parse(url).map(Endpoint::Origin),
    }
}

/// The socket in a data folder, by its whole path, as logins name it.
fn socket(data: &Path) -> Result<Endpoint, CliError> {
    let data = std::path::absolute(data).map_err(|e| CliError::usage(e.to_string()))?;
    Ok(Endpoint::Socket(data.join("control.sock")))
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, CliError> {
    serde_json::to_vec(body).map_err(|e| CliError::usage(e.to_string()))
}

/// What waits for a second person is not done.
fn pending(bytes: &[u8]) -> Option<CliError> {
    let answer: Value = serde_json::from_slice(bytes).ok()?;
    let detail = answer["detail"].as_str()?.to_owned();
    (answer["type"] == "approval_pending").then(|| CliError::pending(detail, answer))
}

fn refusal(status: StatusCode, bytes: &[u8]) -> CliError {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => CliError::refused(problem.detail),
        Err(_) => CliError::refused(format!("refused with status {status}")),
    }
}

/// A path segment, percent-encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A query string from the fields that are set.
#[must_use]
pub fn query(fields: &[(&str, Option<String>)]) -> String {
    let set = fields.iter().filter_map(|(k, v)| v.as_ref().map(|v| format!("{k}={}", segment(v))));
    let joined = set.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(url: &str) -> Profile {
        Profile { url: url.to_owned(), token: "t".to_owned(), expires_at: None, ca_file: None }
    }

    fn place() -> Place {
        Place { default_data: Some(PathBuf::from("/usual")), ..Place::default() }
    }

    fn found(place: Place, login: Option<Profile>) -> (String, bool) {
        let client = Client::find(place, login).unwrap();
        let at = match client.endpoint {
            Endpoint::Socket(path) => path.display().to_string(),
            Endpoint::Origin(origin) => origin.to_string(),
        };
        (at, client.token.is_some())
    }

    #[test]
    fn what_was_said_wins_over_the_login_and_the_login_over_the_usual_folder() {
        let (far, usual) = ("https://a.example:443".to_owned(), "/usual/control.sock".to_owned());
        assert_eq!(found(place(), None), (usual.clone(), false));
        assert_eq!(found(place(), Some(login("https://a.example"))), (far.clone(), true));
        let here = Place { data: Some(PathBuf::from("/here")), ..place() };
        assert_eq!(
            found(here.clone(), Some(login("https://a.example"))),
            ("/here/control.sock".to_owned(), false)
        );
        assert_eq!(
            found(here, Some(login("unix:/here/control.sock"))),
            ("/here/control.sock".to_owned(), true)
        );
        let given = Place { url: Some("https://a.example:443/".to_owned()), ..place() };
        assert_eq!(found(given.clone(), Some(login("https://a.example"))), (far.clone(), true));
        assert_eq!(
            found(given, Some(login("https://b.example"))),
            (far, false),
            "a token goes to its own place only"
        );
    }

    #[test]
    fn a_token_of_the_environment_wins() {
        let place = Place { token: Some("machine".to_owned()), ..place() };
        let client = Client::find(place, Some(login("unix:/usual/control.sock"))).unwrap();
        assert_eq!(client.token.unwrap(), "Bearer machine");
    }
}
