//! Claims by name, and the patterns that they are compared with.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::jose::Object;

/// The longest pattern, and the longest value that is compared, in bytes.
const MAX_LEN: usize = 512;

/// A text in which `*` stands for any run of characters, none among them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(String);

/// Not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Empty or too long.
    #[error("expected 1 to {MAX_LEN} bytes")]
    Length,
    /// It says nothing of what it is compared with.
    #[error("`*` alone admits everything")]
    Everything,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(PatternError::Length);
        }
        if text.bytes().all(|b| b == b'*') {
            return Err(PatternError::Everything);
        }
        Ok(Self(text.to_owned()))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it admits one value only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether a value is what it says, letter by letter.
    #[must_use]
    pub fn admits(&self, value: &str) -> bool {
        if value.len() > MAX_LEN {
            return false;
        }
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = value.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// The values that a claim has: one, or those of a list. A name such as `kubernetes.io/serviceaccount/uid` leads into
/// objects; a claim whose own name has a `/` in it is found, too. Numbers and truths are compared as JSON writes them.
#[must_use]
pub fn values(claims: &Object, name: &str) -> Vec<String> {
    found(claims.members(), name).map(texts).unwrap_or_default()
}

fn found<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = members.get(name) {
        return Some(value);
    }
    name.match_indices('/').find_map(|(at, _)| {
        let inner = members.get(&name[..at])?.as_object()?;
        found(inner, &name[at + 1..])
    })
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Bool(_) | Value::Number(_) => vec![value.to_string()],
        Value::Array(items) => {
            items.iter().filter(|item| !item.is_array() && !item.is_object()).flat_map(texts).collect()
        }
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_is_any_run_and_all_else_is_itself() {
        let fits = |pattern: &str, value: &str| Pattern::parse(pattern).unwrap().admits(value);
        for (pattern, value) in [
            ("repo:acme/app:*", "repo:acme/app:ref:refs/heads/main"),
            ("acme/*", "acme/"),
            ("*/main", "refs/heads/main"),
            ("a*b*c", "abc"),
            ("a*b*c", "a-b-b-c"),
            ("a", "a"),
        ] {
            assert!(fits(pattern, value), "{pattern} {value}");
        }
        for (pattern, value) in [
            ("acme/*", "acme"),
            ("acme/*", "acme-evil/app"),
            ("acme/*", "x/acme/app"),
            ("a", "A"),
            ("a", "aa"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("a?c", "abc"),
            ("a.c", "abc"),
        ] {
            assert!(!fits(pattern, value), "{pattern} {value}");
        }
        for bad in ["", "*", "**", &"a".repeat(513)] {
            assert!(Pattern::parse(bad).is_err(), "{bad:.20}");
        }
    }

    #[test]
    fn claims_are_found_at_the_top_and_inside() {
        let claims = Object::parse(
            br#"{"sub":"s","n":7,"t":true,"l":["a",1,["x"]],"https://a.example/b":"u",
                 "kubernetes.io":{"namespace":"ns","serviceaccount":{"uid":"1-2"}}}"#,
        )
        .unwrap();
        for (name, wanted) in [
            ("sub", vec!["s"]),
            ("n", vec!["7"]),
            ("t", vec!["true"]),
            ("l", vec!["a", "1"]),
            ("https://a.example/b", vec!["u"]),
            ("kubernetes.io/serviceaccount/uid", vec!["1-2"]),
            ("kubernetes.io/namespace", vec!["ns"]),
            ("kubernetes.io", vec![]),
            ("kubernetes.io/nothing", vec![]),
            ("other", vec![]),
        ] {
            assert_eq!(values(&claims, name), wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_without_a_star_admits_itself_only(a in "[a-c]{1,4}", b in "[a-c]{1,4}") {
            prop_assert_eq!(Pattern::parse(&a).unwrap().admits(&b), a == b);
        }

        #[test]
        fn what_is_made_of_a_pattern_fits_it(parts in proptest::collection::vec("[ab]{0,3}", 2..5), fill in "[abc]{0,3}") {
            let pattern = parts.join("*");
            prop_assume!(Pattern::parse(&pattern).is_ok());
            let made = parts.join(&fill);
            prop_assert!(Pattern::parse(&pattern).unwrap().admits(&made));
        }
    }
}
