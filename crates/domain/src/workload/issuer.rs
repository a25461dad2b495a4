//! Whose tokens are looked at.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jwks::KeyList;
use crate::{clock::Timestamp, id::IssuerId, jose::Algorithm};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 64;
const MAX_URL: usize = 512;

/// Which platform an issuer is: decides what is pinned unless a rule says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// GitHub Actions.
    Github,
    /// GitLab.
    Gitlab,
    /// Kubernetes' service accounts.
    Kubernetes,
    /// Any other.
    #[default]
    Other,
}

impl Platform {
    const ALL: [Self; 4] = [Self::Github, Self::Gitlab, Self::Kubernetes, Self::Other];

    /// As written in flags, JSON and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Kubernetes => "kubernetes",
            Self::Other => "other",
        }
    }

    /// The reverse of [`Platform::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == text)
    }

    /// Where a platform that there is once in the world has its tokens from.
    #[must_use]
    pub const fn usual_issuer(self) -> Option<&'static str> {
        match self {
            Self::Github => Some("https://token.actions.githubusercontent.com"),
            Self::Gitlab => Some("https://gitlab.com"),
            Self::Kubernetes | Self::Other => None,
        }
    }

    /// Where the platform keeps its keys, below the issuer.
    #[must_use]
    pub const fn usual_keys(self) -> Option<&'static str> {
        match self {
            Self::Github => Some("/.well-known/jwks"),
            Self::Gitlab => Some("/oauth/discovery/keys"),
            Self::Kubernetes => Some("/openid/v1/jwks"),
            Self::Other => None,
        }
    }

    /// Claims that name an owner, and the claims that hold what never changes hands: whoever is renamed leaves a name
    /// that somebody else can take.
    #[must_use]
    pub const fn immutable(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Github => &[
                ("repository", "repository_id"),
                ("repository", "repository_owner_id"),
                ("repository_owner", "repository_owner_id"),
                ("sub", "repository_owner_id"),
            ],
            Self::Gitlab => &[
                ("project_path", "project_id"),
                ("project_path", "namespace_id"),
                ("namespace_path", "namespace_id"),
                ("sub", "namespace_id"),
            ],
            Self::Kubernetes => &[
                ("sub", "kubernetes.io/serviceaccount/uid"),
                ("kubernetes.io/serviceaccount/name", "kubernetes.io/serviceaccount/uid"),
            ],
            Self::Other => &[],
        }
    }

    /// Where everybody can have identities: the claim that usually says whose one is, and all that do.
    #[must_use]
    pub const fn tells_owner(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Self::Github => Some((
                "repository",
                &[
                    "repository",
                    "repository_id",
                    "repository_owner",
                    "repository_owner_id",
                    "sub",
                    "job_workflow_ref",
                    "workflow_ref",
                    "actor",
                    "actor_id",
                    "enterprise",
                    "enterprise_id",
                ],
            )),
            Self::Gitlab => Some((
                "project_path",
                &[
                    "project_path",
                    "project_id",
                    "namespace_path",
                    "namespace_id",
                    "sub",
                    "ci_config_ref_uri",
                    "user_login",
                    "user_id",
                ],
            )),
            Self::Kubernetes | Self::Other => None,
        }
    }
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum KeySource {
    /// Fetched, and again when they are old or a key is not among them.
    Url {
        /// Where.
        url: String,
        /// Whether it may lead into private networks, and be plain http there.
        private_network: bool,
    },
    /// Given once.
    Inline {
        /// A JWK set.
        jwks: Value,
    },
}

/// What of an issuer is one document in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerTerms {
    /// Which platform it is.
    pub platform: Platform,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: KeySource,
}

/// An issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRecord {
    /// `iss_…`.
    pub id: IssuerId,
    /// Its name here.
    pub name: String,
    /// `iss`, compared letter by letter.
    pub issuer: String,
    /// Which platform it is.
    pub platform: Platform,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// When it was added.
    pub created_at: Timestamp,
    /// Row version.
    pub version: i64,
}

/// Why something is no issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// The name.
    #[error("expected 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`")]
    Name,
    /// `iss`.
    #[error("expected what stands in `iss`: up to {MAX_URL} bytes without spaces")]
    Issuer,
    /// No algorithm.
    #[error("expected at least one of EdDSA, ES256, RS256")]
    Algorithms,
    /// The URL of the keys.
    #[error(
        "expected an https URL without user information; http and private networks take `private_network`"
    )]
    Url,
    /// The keys that were given.
    #[error("expected a JWK set with at least one key for one of the algorithms")]
    Keys,
}

impl IssuerError {
    /// The field that is at fault.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Issuer => "issuer",
            Self::Algorithms => "algorithms",
            Self::Url => "jwks_url",
            Self::Keys => "jwks",
        }
    }
}

/// Names of issuers and rules.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(plain)
}

impl IssuerRecord {
    /// What holds for every issuer.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn check(&self) -> Result<(), IssuerError> {
        if !is_name(&self.name) {
            return Err(IssuerError::Name);
        }
        let visible = |text: &str| text.len() <= MAX_URL && text.bytes().all(|b| b.is_ascii_graphic());
        if self.issuer.is_empty() || !visible(&self.issuer) {
            return Err(IssuerError::Issuer);
        }
        if self.algorithms.is_empty() {
            return Err(IssuerError::Algorithms);
        }
        match &self.keys {
            KeySource::Url { url, private_network } => {
                let rest = url.strip_prefix("https://");
                let rest = rest.or_else(|| url.strip_prefix("http://").filter(|_| *private_network));
                let authority = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
                let good =
                    visible(url) && !authority.is_empty() && !authority.contains('@') && !url.contains('#');
                if good { Ok(()) } else { Err(IssuerError::Url) }
            }
            KeySource::Inline { jwks } => {
                let list = KeyList::read(jwks.to_string().as_bytes()).map_err(|_| IssuerError::Keys)?;
                if list.has_any(&self.algorithms) { Ok(()) } else { Err(IssuerError::Keys) }
            }
        }
    }
}
