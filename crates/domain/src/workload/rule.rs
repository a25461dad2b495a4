//! Which identity may have what. A rule admits an identity when its source, its audience, all its claims and all its pins
//! fit; each that does not is named, to operators only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    claims::{Pattern, values},
    issuer::{Platform, is_name},
};
use crate::{
    binding::SpiffeId,
    clock::Timestamp,
    id::{IssuerId, KeyId, TrustId, WorkspaceId},
    jose::Object,
};

/// The shortest life of what is bought, in seconds.
pub const MIN_TTL_SECS: u64 = 300;
/// The longest, in seconds.
pub const MAX_TTL_SECS: u64 = 1_800;
/// How long it lives unless the rule says otherwise, in seconds.
pub const DEFAULT_TTL_SECS: u64 = 900;
/// Keys of one rule that live at once, unless it says otherwise.
pub const DEFAULT_MOST_LIVE: u32 = 100;
/// The most that a rule may say.
pub const MOST_LIVE: u32 = 10_000;
/// Claims that one rule may compare.
const MAX_CLAIMS: usize = 32;
const MAX_CLAIM_NAME: usize = 200;

/// Where an identity comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum TrustSource {
    /// A token of this issuer, for this audience.
    Token {
        /// The issuer.
        issuer: IssuerId,
        /// What must stand in `aud`.
        audience: String,
    },
    /// An X.509-SVID, shown in the TLS handshake.
    Svid,
}

/// What a rule compares, as one document in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustTerms {
    /// Where the identity comes from.
    pub source: TrustSource,
    /// Claims and what they must be. Of a certificate: `spiffe_id` and `trust_domain`.
    pub claims: BTreeMap<String, Pattern>,
    /// Claims that hold what never changes hands, and their values; none yet: the first identity that is admitted
    /// decides, for ever.
    pub pins: BTreeMap<String, Option<String>>,
    /// How long what is bought lives.
    pub ttl_secs: u64,
    /// How many of it may live at once.
    pub most_live: u32,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRecord {
    /// `tru_…`.
    pub id: TrustId,
    /// Its name.
    pub name: String,
    /// What it compares.
    pub terms: TrustTerms,
    /// The key that nobody holds: what is bought are its children, and may do what it may.
    pub key: KeyId,
    /// The key's workspace.
    pub workspace: WorkspaceId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Row version.
    pub version: i64,
}

/// Why something is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The name.
    #[error("expected 1 to 64 letters, digits, `-`, `_` and `.`")]
    Name,
    /// The audience.
    #[error("an audience must be demanded: without one a token that was made for somebody else would do")]
    Audience,
    /// Nothing is compared, or too much.
    #[error("expected 1 to {MAX_CLAIMS} claims that say who it is")]
    Claims,
    /// Names alone are compared where names can be taken over.
    #[error(
        "`{0}` is a claim that every identity of this source may choose or share: compare one that says who it is"
    )]
    Weak(String),
    /// Everybody has identities of this platform, and nothing says whose are meant.
    #[error(
        "nothing that is compared says whose identities are meant: compare `{0}` as `owner/name` or `owner/*`, or an id"
    )]
    Anybodys(&'static str),
    /// A claim's name.
    #[error("`{0:.40}` is no name of a claim")]
    ClaimName(String),
    /// The life.
    #[error("expected {MIN_TTL_SECS} to {MAX_TTL_SECS} seconds")]
    Ttl,
    /// The number.
    #[error("expected 1 to {MOST_LIVE}")]
    MostLive,
}

impl TrustError {
    /// The field that is at fault.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Audience => "audience",
            Self::Claims | Self::Weak(_) | Self::Anybodys(_) | Self::ClaimName(_) => "claims",
            Self::Ttl => "ttl_secs",
            Self::MostLive => "most_live",
        }
    }
}

/// Claims that say nothing of who somebody is.
const WEAK: [&str; 8] = ["aud", "iss", "exp", "iat", "nbf", "jti", "event_name", "ref"];

impl TrustTerms {
    /// The claims that a rule pins that says nothing of it: what never changes hands, beside each name that the rule
    /// compares and that fixes it.
    #[must_use]
    pub fn usual_pins(
        platform: Platform,
        claims: &BTreeMap<String, Pattern>,
    ) -> BTreeMap<String, Option<String>> {
        let pins = platform.immutable().iter().filter(|(name, pin)| {
            let exact = claims.get(*name).is_some_and(|pattern| fixes(pattern, pin));
            exact && !claims.contains_key(*pin)
        });
        pins.map(|(_, pin)| ((*pin).to_owned(), None)).collect()
    }

    /// Whether the claims say whose identities are meant, on a platform where everybody can have some: a name up to its
    /// owner's end, or an id.
    ///
    /// # Errors
    /// [`TrustError::Anybodys`].
    pub fn check_owner(platform: Platform, claims: &BTreeMap<String, Pattern>) -> Result<(), TrustError> {
        let Some((usual, tells)) = platform.tells_owner() else { return Ok(()) };
        let fixed = |name: &&'static str| {
            claims.get(*name).is_some_and(|pattern| {
                pattern.is_exact() || (!name.ends_with("_id") && literal(pattern).contains('/'))
            })
        };
        if tells.iter().any(fixed) { Ok(()) } else { Err(TrustError::Anybodys(usual)) }
    }

    /// What holds for every rule.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn check(&self) -> Result<(), TrustError> {
        if let TrustSource::Token { audience, .. } = &self.source
            && (audience.trim().is_empty() || audience.len() > 512)
        {
            return Err(TrustError::Audience);
        }
        if self.claims.is_empty() || self.claims.len() > MAX_CLAIMS || self.pins.len() > MAX_CLAIMS {
            return Err(TrustError::Claims);
        }
        let plain = |name: &str| {
            (1..=MAX_CLAIM_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
        };
        if let Some(odd) = self.claims.keys().chain(self.pins.keys()).find(|name| !plain(name)) {
            return Err(TrustError::ClaimName(odd.clone()));
        }
        if let Some(weak) = self.claims.keys().next().filter(|_| self.claims.keys().all(|c| is_weak(c))) {
            return Err(TrustError::Weak(weak.clone()));
        }
        if !(MIN_TTL_SECS..=MAX_TTL_SECS).contains(&self.ttl_secs) {
            return Err(TrustError::Ttl);
        }
        if (1..=MOST_LIVE).contains(&self.most_live) { Ok(()) } else { Err(TrustError::MostLive) }
    }
}

fn is_weak(claim: &str) -> bool {
    WEAK.contains(&claim)
}

/// A pin of whoever owns the rest.
const OWNER: &str = "owner_id";

/// Whether a pattern leaves open whom a pin is about: `acme/*` has one owner and many repositories.
fn fixes(pattern: &Pattern, pin: &str) -> bool {
    let is_owner = pin.ends_with(OWNER) || pin.ends_with("namespace_id");
    // Up to the first star the owner's name stands there whole.
    pattern.is_exact() || (is_owner && literal(pattern).contains('/'))
}

/// What comes before the first star.
fn literal(pattern: &Pattern) -> &str {
    pattern.as_str().split('*').next().unwrap_or_default()
}

/// An identity that was proven.
#[derive(Debug, Clone, Copy)]
pub enum Identity<'a> {
    /// By a token.
    Token {
        /// Whose.
        issuer: &'a IssuerId,
        /// Its claims.
        claims: &'a Object,
    },
    /// By a certificate.
    Svid(&'a SpiffeId),
}

impl Identity<'_> {
    /// What records call it: `sub`, or the SPIFFE id.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Token { claims, .. } => claims.text("sub").unwrap_or_default().chars().take(200).collect(),
            Self::Svid(id) => id.as_str().chars().take(200).collect(),
        }
    }

    /// What it says itself of whose it is and for whom, for its holder.
    #[must_use]
    pub fn own_words(&self, platform: Platform) -> String {
        let names: &[&str] = match self {
            Self::Svid(_) => &["spiffe_id"],
            Self::Token { .. } => &["aud", "sub"],
        };
        let named =
            platform.immutable().iter().map(|(name, _)| *name).filter(|_| !matches!(self, Self::Svid(_)));
        let mut names: Vec<&str> = names.iter().copied().chain(named).collect();
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        let words = names.into_iter().map(|name| format!("`{name}` is {:?}", shown(self.values(name))));
        words.collect::<Vec<_>>().join(", ")
    }

    fn values(&self, claim: &str) -> Vec<String> {
        match (self, claim) {
            (Self::Token { claims, .. }, _) => values(claims, claim),
            (Self::Svid(id), "spiffe_id") => vec![id.as_str().to_owned()],
            (Self::Svid(id), "trust_domain") => vec![id.trust_domain().to_owned()],
            (Self::Svid(_), _) => Vec::new(),
        }
    }
}

/// Why a rule does not admit an identity. For operators, and for those whom the rule is about ([`TrustRecord::is_about`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Mismatch {
    /// Of another issuer, or of another kind.
    #[error("it comes from elsewhere than the rule demands")]
    Source,
    /// For another audience.
    #[error("`aud` is {found:?}, `{wanted}` is demanded")]
    Audience {
        /// What the rule demands.
        wanted: String,
        /// What stands there.
        found: Vec<String>,
    },
    /// A claim is another.
    #[error("`{claim}` is {found:?}, `{wanted}` is demanded")]
    Claim {
        /// Its name.
        claim: String,
        /// What the rule demands.
        wanted: String,
        /// What stands there.
        found: Vec<String>,
    },
    /// What never changes hands is another: whoever has the name now is not who had it.
    #[error("`{claim}` is {found:?}, pinned is `{pinned}`: the name has changed hands")]
    Pin {
        /// Its name.
        claim: String,
        /// The value that was pinned.
        pinned: String,
        /// What stands there.
        found: Vec<String>,
    },
    /// There is nothing to pin.
    #[error("`{claim}` is to be pinned, and is not there")]
    NoPin {
        /// Its name.
        claim: String,
    },
}

impl TrustRecord {
    /// Whether the rule admits an identity; then the pins that are to be set by it.
    ///
    /// # Errors
    /// The first [`Mismatch`] in the order source, audience, claims, pins.
    pub fn admits(&self, identity: &Identity<'_>) -> Result<BTreeMap<String, String>, Mismatch> {
        match (&self.terms.source, identity) {
            (TrustSource::Svid, Identity::Svid(_)) => {}
            (TrustSource::Token { issuer, audience }, Identity::Token { issuer: found, claims })
                if issuer == *found =>
            {
                if !claims.names("aud", audience) {
                    let found = shown(values(claims, "aud"));
                    return Err(Mismatch::Audience { wanted: audience.clone(), found });
                }
            }
            (TrustSource::Svid | TrustSource::Token { .. }, Identity::Svid(_) | Identity::Token { .. }) => {
                return Err(Mismatch::Source);
            }
        }
        for (claim, pattern) in &self.terms.claims {
            let found = identity.values(claim);
            if !found.iter().any(|value| pattern.admits(value)) {
                let (claim, wanted) = (claim.clone(), pattern.to_string());
                return Err(Mismatch::Claim { claim, wanted, found: shown(found) });
            }
        }
        let mut new = BTreeMap::new();
        for (claim, pinned) in &self.terms.pins {
            let found = identity.values(claim);
            match (pinned, found.as_slice()) {
                (Some(pinned), [value]) if value == pinned => {}
                (Some(pinned), _) => {
                    let (claim, pinned) = (claim.clone(), pinned.clone());
                    return Err(Mismatch::Pin { claim, pinned, found: shown(found) });
                }
                (None, [value]) if !value.is_empty() && value.len() <= 200 => {
                    new.insert(claim.clone(), value.clone());
                }
                (None, _) => return Err(Mismatch::NoPin { claim: claim.clone() }),
            }
        }
        Ok(new)
    }

    /// Whether the rule names whom this identity belongs to, so that its holder may read what else the rule demands. To
    /// everybody else it is somebody else's rule: an issuer such as GitHub has millions who can show a proper token.
    #[must_use]
    pub fn is_about(&self, identity: &Identity<'_>, platform: Platform) -> bool {
        let terms = &self.terms;
        let fits = |claim: &str, pattern: &Pattern| identity.values(claim).iter().any(|v| pattern.admits(v));
        if let Identity::Svid(id) = identity {
            let within = format!("spiffe://{}/", id.trust_domain());
            return terms.source == TrustSource::Svid
                && terms.claims.iter().all(|(claim, pattern)| match claim.as_str() {
                    "spiffe_id" => pattern.as_str().starts_with(&within),
                    _ => fits(claim, pattern),
                });
        }
        let names = |claim: &str| claim == "sub" || platform.immutable().iter().any(|(n, _)| *n == claim);
        let mut named = terms.claims.iter().filter(|(claim, _)| names(claim)).peekable();
        named.peek().is_some()
            && named.all(|(claim, pattern)| fixes(pattern, OWNER) && fits(claim, pattern))
            && terms.pins.iter().all(|(claim, pinned)| {
                pinned.as_ref().is_none_or(|pinned| identity.values(claim) == [pinned.as_str()])
            })
    }

    /// The rule with these pins set.
    #[must_use]
    pub fn pinned(&self, pins: BTreeMap<String, String>) -> Self {
        let mut rule = self.clone();
        rule.terms.pins.extend(pins.into_iter().map(|(claim, value)| (claim, Some(value))));
        rule
    }

    /// What holds for every rule.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn check(&self) -> Result<(), TrustError> {
        if is_name(&self.name) { self.terms.check() } else { Err(TrustError::Name) }
    }
}

/// What is repeated of somebody else's token: little.
fn shown(values: Vec<String>) -> Vec<String> {
    values.into_iter().take(8).map(|value| value.chars().take(200).collect()).collect()
}
