//! What a key may do: which endpoints, reading or writing, and which models by glob.

use serde::{Deserialize, Serialize};

/// The groups of routes that permissions, limits and reports speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `/v1/messages/batches…`.
    Batches,
    /// `/v1/models…`.
    Models,
    /// `/v1/files…`.
    Files,
    /// Every other path below `/v1/`.
    Other,
}

impl Endpoint {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 6] =
        [Self::Messages, Self::CountTokens, Self::Batches, Self::Models, Self::Files, Self::Other];

    /// The name in flags, JSON and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Batches => "batches",
            Self::Models => "models",
            Self::Files => "files",
            Self::Other => "other",
        }
    }

    /// The reverse of [`Endpoint::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.as_str() == text)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Whether a request only looks or also makes, changes, deletes or spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// GET, HEAD and `count_tokens`.
    Read,
    /// Everything else.
    Write,
}

/// A permission could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// No such endpoint.
    #[error("unknown endpoint `{0}`: use messages, count_tokens, batches, models, files or other")]
    Endpoint(String),
    /// No such scope.
    #[error("unknown scope `{0}`: use `read`, `write`, or one endpoint's, such as `files:read`")]
    Scope(String),
    /// Not a model glob.
    #[error("`{0}` is not a model pattern: use letters, digits, `-`, `_`, `.`, `:`, `@`, `/` and `*`")]
    Model(String),
}

/// A set of scopes: for each endpoint, whether it may be read and written. Written as a list of `read`, `write`
/// and `<endpoint>:<read|write>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Scopes {
    read: u16,
    write: u16,
}

/// Where the bits for writing begin in [`Scopes::bits`].
const WRITE_SHIFT: u32 = 16;
const EVERY: u16 = (1 << Endpoint::ALL.len()) - 1;

impl Scopes {
    /// Reading and writing everywhere.
    pub const ALL: Self = Self { read: EVERY, write: EVERY };

    /// Reads a list of scopes; an empty list gives nothing.
    ///
    /// # Errors
    /// [`PermissionError::Scope`] names the first word that is not one.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, PermissionError> {
        let mut set = Self { read: 0, write: 0 };
        for word in words {
            let word = word.as_ref();
            let unknown = || PermissionError::Scope(word.to_owned());
            let (bits, verb) = match word.split_once(':') {
                Some((endpoint, verb)) => (Endpoint::parse(endpoint).ok_or_else(unknown)?.bit(), verb),
                None => (EVERY, word),
            };
            match verb {
                "read" => set.read |= bits,
                "write" => set.write |= bits,
                _ => return Err(unknown()),
            }
        }
        Ok(set)
    }

    /// Whether the scope is in the set.
    #[must_use]
    pub const fn allows(self, endpoint: Endpoint, access: Access) -> bool {
        let set = match access {
            Access::Read => self.read,
            Access::Write => self.write,
        };
        set & endpoint.bit() != 0
    }

    /// Whether everything in `other` is also in `self`.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self.read & other.read == other.read && self.write & other.write == other.write
    }

    /// The set with one scope more.
    #[must_use]
    pub const fn with(self, endpoint: Endpoint, access: Access) -> Self {
        match access {
            Access::Read => Self { read: self.read | endpoint.bit(), write: self.write },
            Access::Write => Self { read: self.read, write: self.write | endpoint.bit() },
        }
    }

    /// What is in either set.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { read: self.read | other.read, write: self.write | other.write }
    }

    /// What is in both sets.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self { read: self.read & other.read, write: self.write & other.write }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self { read: self.read & !other.read, write: self.write & !other.write }
    }

    /// Whether any scope of the endpoint is in the set.
    #[must_use]
    pub const fn touches(self, endpoint: Endpoint) -> bool {
        (self.read | self.write) & endpoint.bit() != 0
    }

    /// The set as a number, for stores.
    #[must_use]
    pub fn bits(self) -> i64 {
        i64::from(self.read) | i64::from(self.write) << WRITE_SHIFT
    }

    /// The reverse of [`Scopes::bits`]; bits that mean nothing are passed over.
    #[must_use]
    pub fn from_bits(bits: i64) -> Self {
        let part = |bits: i64| u16::try_from(bits & i64::from(EVERY)).unwrap_or(0);
        Self { read: part(bits), write: part(bits >> WRITE_SHIFT) }
    }

    /// The shortest list of words that [`Scopes::parse`] reads back to this set.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        let mut words = Vec::new();
        for (verb, set) in [("read", self.read), ("write", self.write)] {
            if set == EVERY {
                words.push(verb.to_owned());
            } else {
                let some = Endpoint::ALL.into_iter().filter(|e| set & e.bit() != 0);
                words.extend(some.map(|e| format!("{}:{verb}", e.as_str())));
            }
        }
        words
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = PermissionError;
    fn try_from(words: Vec<String>) -> Result<Self, PermissionError> {
        Self::parse(&words)
    }
}

impl From<Scopes> for Vec<String> {
    fn from(set: Scopes) -> Self {
        set.words()
    }
}

/// A pattern over model ids in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelGlob(Box<str>);

impl ModelGlob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PermissionError::Model`] when it is empty, longer than 128 bytes or holds other characters than model
    /// ids have.
    pub fn parse(text: &str) -> Result<Self, PermissionError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@/*".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(PermissionError::Model(text.to_owned()))
        }
    }

    /// Whether the model id matches as a whole. Linear in the input but for one backtrack point, so that no
    /// pattern is slow.
    #[must_use]
    pub fn matches(&self, model: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), model.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(b) if *b == text[t] => {
                    p += 1;
                    t += 1;
                }
                Some(_) | None => {
                    let Some((sp, st)) = star else { return false };
                    star = Some((sp, st + 1));
                    p = sp + 1;
                    t = st + 1;
                }
            }
        }
        pattern[p..].iter().all(|b| *b == b'*')
    }

    /// Whether everything that `other` matches is matched here, too. A star stands for nothing but itself and what a
    /// star may stand for, so that matching the other pattern's text decides.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ModelGlob {
    type Error = PermissionError;
    fn try_from(text: String) -> Result<Self, PermissionError> {
        Self::parse(&text)
    }
}

impl From<ModelGlob> for String {
    fn from(glob: ModelGlob) -> Self {
        glob.0.into()
    }
}

/// Everything that a key may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Model patterns; empty: every model.
    pub models: Vec<ModelGlob>,
    /// Endpoints; empty: every endpoint.
    pub endpoints: Vec<Endpoint>,
    /// Reading and writing.
    pub scopes: Scopes,
}

impl Default for Permissions {
    fn default() -> Self {
        Self { models: Vec::new(), endpoints: Vec::new(), scopes: Scopes::ALL }
    }
}

impl Permissions {
    /// Whether the endpoint may be used in this way.
    #[must_use]
    pub fn allows(&self, endpoint: Endpoint, access: Access) -> bool {
        (self.endpoints.is_empty() || self.endpoints.contains(&endpoint))
            && self.scopes.allows(endpoint, access)
    }

    /// The scopes that mean something here: of the endpoints that may be used.
    #[must_use]
    pub fn in_force(&self) -> Scopes {
        let both = |set: Scopes, endpoint: &Endpoint| {
            set.with(*endpoint, Access::Read).with(*endpoint, Access::Write)
        };
        match &*self.endpoints {
            [] => self.scopes,
            some => self.scopes.within(some.iter().fold(Scopes::default(), both)),
        }
    }

    /// Whether the model may be used.
    #[must_use]
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|glob| glob.matches(model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> ModelGlob {
        ModelGlob::parse(text).unwrap()
    }

    #[test]
    fn globs_match_whole_ids() {
        assert!(glob("claude-*").matches("claude-opus-5-5"));
        assert!(glob("*haiku*").matches("claude-haiku-5-5"));
        assert!(!glob("claude-opus").matches("claude-opus-5-5"));
        assert!(!glob("claude-*-5").matches("claude-opus-5-6"));
        assert!(ModelGlob::parse("").is_err());
        assert!(ModelGlob::parse("a b").is_err());
    }

    #[test]
    fn scopes_limit_reading_and_writing_apart() {
        let s = Scopes::parse(&["files:read", "messages:write"]).unwrap();
        assert!(s.allows(Endpoint::Files, Access::Read));
        assert!(!s.allows(Endpoint::Files, Access::Write));
        assert!(s.allows(Endpoint::Messages, Access::Write));
        assert!(Scopes::ALL.includes(s) && !s.includes(Scopes::ALL));
        assert_eq!(Scopes::parse(&["files:delete"]), Err(PermissionError::Scope("files:delete".into())));
    }

    proptest! {
        #[test]
        fn scope_words_read_back(read in 0_u16..=EVERY, write in 0_u16..=EVERY) {
            let set = Scopes { read, write };
            prop_assert_eq!(Scopes::parse(&set.words()).unwrap(), set);
            prop_assert_eq!(Scopes::from_bits(set.bits()), set);
        }

        #[test]
        fn a_star_between_the_ends_matches_anything_between(a in "[a-z]{0,5}", b in "[a-z]{0,5}", c in "[a-z]{0,5}") {
            let pattern = format!("{}*{}", a, c);
            let text = format!("{}{}{}", a, b, c);
            prop_assert!(glob(&pattern).matches(&text));
        }

        #[test]
        fn globs_agree_with_a_naive_matcher(p in "[ab*]{1,8}", t in "[ab]{0,10}") {
            fn naive(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|i| naive(rest, &t[i..])),
                    Some((b, rest)) => t.first() == Some(b) && naive(rest, &t[1..]),
                }
            }
            prop_assert_eq!(glob(&p).matches(&t), naive(p.as_bytes(), t.as_bytes()));
        }
    }
}
