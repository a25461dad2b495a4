//! An issuer's keys (RFC 7517, 5), and when they are fetched again: when they are old, and when a token names a key that
//! is not among them, but not more often than once a minute, whatever strangers send. When they cannot be fetched, the
//! old ones are believed for a day more.

use serde_json::Value;

use crate::jose::{Algorithm, Object, PublicKey};

/// The largest set that is read, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// Keys of one set that are looked at.
const MAX_KEYS: usize = 64;
/// The shortest time between two fetches, in seconds.
pub const COOL_DOWN_SECS: u64 = 60;
/// How long a set is fresh that does not say how long, in seconds.
const USUAL_AGE_SECS: u64 = 3_600;
/// The longest that a set is fresh, whatever it says, in seconds.
const MOST_AGE_SECS: u64 = 86_400;
/// How long a set is believed that cannot be fetched again, in seconds.
pub const STALE_SECS: u64 = 86_400;

/// A set of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyList(Vec<(Option<String>, PublicKey)>);

/// Not a JWK set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JWK set")]
pub struct NotAKeyList;

impl KeyList {
    /// Reads a set. Keys that are of no use here are passed over.
    ///
    /// # Errors
    /// [`NotAKeyList`].
    pub fn read(text: &[u8]) -> Result<Self, NotAKeyList> {
        if text.len() > MAX_BYTES {
            return Err(NotAKeyList);
        }
        let set = Object::parse(text).map_err(|_| NotAKeyList)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(NotAKeyList)?;
        let read = |jwk: &Value| {
            let key = PublicKey::from_value(jwk).ok()?;
            Some((jwk.get("kid").and_then(Value::as_str).map(str::to_owned), key))
        };
        Ok(Self(keys.iter().take(MAX_KEYS).filter_map(read).collect()))
    }

    /// Keys that a token may have been signed with: of the algorithm, and of the name if it gives one.
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &PublicKey> {
        self.0
            .iter()
            .filter(move |(name, key)| {
                key.algorithm() == algorithm && (kid.is_none() || name.as_deref() == kid)
            })
            .map(|(_, key)| key)
    }

    /// Whether there is a key for one of these.
    #[must_use]
    pub fn has_any(&self, algorithms: &[Algorithm]) -> bool {
        self.0.iter().any(|(_, key)| algorithms.contains(&key.algorithm()))
    }
}

/// A set that was fetched. Times are seconds of a clock that only goes forward.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cached {
    /// The set; `None`: it could never be fetched.
    pub keys: Option<KeyList>,
    fetched_at: u64,
    fresh_for: u64,
    tried_at: Option<u64>,
}

/// What to do before a token is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go by what is there.
    Use,
    /// Fetch, then go by what is there.
    Fetch,
    /// There is nothing to go by.
    Nothing,
}

impl Cached {
    /// What to do for a token with this key's name.
    #[must_use]
    pub fn next(&self, kid: Option<&str>, algorithm: Algorithm, now: u64) -> Next {
        let cool = self.tried_at.is_none_or(|tried| now.saturating_sub(tried) >= COOL_DOWN_SECS);
        let age = now.saturating_sub(self.fetched_at);
        let Some(keys) = &self.keys else { return if cool { Next::Fetch } else { Next::Nothing } };
        let fresh = age < self.fresh_for;
        let known = keys.candidates(kid, algorithm).next().is_some();
        match (fresh && known, cool) {
            (true, _) => Next::Use,
            (false, true) => Next::Fetch,
            (false, false) => self.believed(now),
        }
    }

    /// After a fetch, or none.
    #[must_use]
    pub fn believed(&self, now: u64) -> Next {
        let bound = self.fresh_for.saturating_add(STALE_SECS);
        let held = self.keys.is_some() && now.saturating_sub(self.fetched_at) < bound;
        if held { Next::Use } else { Next::Nothing }
    }

    /// A fetch is begun.
    pub fn trying(&mut self, now: u64) {
        self.tried_at = Some(now);
    }

    /// A fetch has brought this, to be believed for so many seconds.
    pub fn fetched(&mut self, keys: KeyList, max_age: Option<u64>, now: u64) {
        self.keys = Some(keys);
        self.fetched_at = now;
        self.fresh_for = max_age.unwrap_or(USUAL_AGE_SECS).clamp(COOL_DOWN_SECS, MOST_AGE_SECS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::SigningKey;
    use serde_json::json;

    fn set(kid: &str) -> KeyList {
        let mut jwk = SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]).unwrap().public().to_jwk();
        jwk["kid"] = json!(kid);
        let odd = json!({"kty": "oct", "k": "AAAA", "kid": "odd"});
        KeyList::read(json!({ "keys": [odd, jwk] }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_set_is_fetched_when_it_is_old_or_lacks_a_key_but_once_a_minute_only() {
        let mut cached = Cached::default();
        let next = |c: &Cached, kid, now| c.next(Some(kid), Algorithm::EdDsa, now);
        assert_eq!(next(&cached, "a", 0), Next::Fetch);
        cached.trying(0);
        assert_eq!(next(&cached, "a", 59), Next::Nothing);
        assert_eq!(next(&cached, "a", 60), Next::Fetch);
        cached.trying(60);
        cached.fetched(set("a"), Some(600), 60);
        assert_eq!(next(&cached, "a", 61), Next::Use);
        // A key that is not there: not before a minute, whoever asks how often.
        assert_eq!(next(&cached, "b", 61), Next::Use);
        assert_eq!(next(&cached, "b", 120), Next::Fetch);
        assert_eq!(next(&cached, "a", 659), Next::Use);
        assert_eq!(next(&cached, "a", 660), Next::Fetch);
        cached.trying(660);
        assert_eq!(
            next(&cached, "a", 700),
            Next::Use,
            "it could not be fetched, and is believed for a while"
        );
        assert_eq!(cached.believed(60 + 600 + STALE_SECS - 1), Next::Use);
        assert_eq!(cached.believed(60 + 600 + STALE_SECS), Next::Nothing);
    }

    #[test]
    fn ages_have_bounds() {
        let mut cached = Cached::default();
        cached.fetched(set("a"), Some(0), 0);
        assert_eq!(cached.next(Some("a"), Algorithm::EdDsa, COOL_DOWN_SECS - 1), Next::Use);
        cached.fetched(set("a"), Some(u64::MAX), 0);
        assert_eq!(cached.next(Some("a"), Algorithm::EdDsa, MOST_AGE_SECS), Next::Fetch);
        assert_eq!(cached.believed(u64::MAX), Next::Nothing);
    }

    #[test]
    fn keys_are_found_by_name_and_algorithm() {
        let keys = set("a");
        let count = |kid, algorithm| keys.candidates(kid, algorithm).count();
        assert_eq!((count(Some("a"), Algorithm::EdDsa), count(None, Algorithm::EdDsa)), (1, 1));
        assert_eq!((count(Some("b"), Algorithm::EdDsa), count(Some("a"), Algorithm::Es256)), (0, 0));
        assert_eq!(count(Some("odd"), Algorithm::EdDsa), 0);
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert_eq!(KeyList::read(bad.as_bytes()), Err(NotAKeyList), "{bad}");
        }
    }
}
