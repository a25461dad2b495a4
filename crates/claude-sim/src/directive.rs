//! Behaviour on demand: lists of directives, as the README describes them.

pub(crate) mod fault;
pub(crate) mod shape;

use std::num::ParseIntError;
use std::time::Duration;

use self::fault::{Break, Pace, Refusal, Trigger};
use self::shape::{BatchSteer, Shape, UsageEdit};

/// A list that could not be read; the request is refused with it, so that a misspelt test cannot pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// No such directive.
    #[error("unknown simulator directive `{0}`")]
    Unknown(String),
    /// The value does not fit.
    #[error("simulator directive `{0}`: bad value")]
    Value(String),
}

/// What one request was told to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directives {
    pub(crate) trigger: Trigger,
    pub(crate) refusal: Refusal,
    pub(crate) pace: Pace,
    pub(crate) cut: Break,
    pub(crate) shape: Shape,
    pub(crate) usage: UsageEdit,
    pub(crate) batch: BatchSteer,
    /// The text as given, for the log.
    pub(crate) given: String,
}

impl Directives {
    /// Adds the directives of `list`.
    ///
    /// # Errors
    /// [`DirectiveError`] for an unknown name or a value that does not parse.
    pub(crate) fn add(&mut self, list: &str) -> Result<(), DirectiveError> {
        for item in split_top_level(list) {
            let (name, value) = item.split_once('=').map_or((item, ""), |(n, v)| (n.trim(), v.trim()));
            self.set(name, value)?;
        }
        if !self.given.is_empty() {
            self.given.push_str("; ");
        }
        self.given.push_str(list.trim());
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), DirectiveError> {
        let field = Field { name, value };
        let known = self.trigger.set(field)?
            || self.refusal.set(field)?
            || self.pace.set(field)?
            || self.cut.set(field)?
            || self.shape.set(field)?
            || self.usage.set(field)?
            || self.batch.set(field)?;
        if known { Ok(()) } else { Err(DirectiveError::Unknown(name.to_owned())) }
    }

    /// Forgets the faults and keeps the shape of the answer: the trigger said that they are over.
    pub(crate) fn disarm(&mut self) {
        self.refusal = Refusal::default();
        self.pace = Pace::default();
        self.cut = Break::default();
    }
}

/// One `name=value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
}

impl Field<'_> {
    pub(crate) fn bad(self) -> DirectiveError {
        DirectiveError::Value(self.name.to_owned())
    }

    pub(crate) fn number<N: std::str::FromStr<Err = ParseIntError>>(self) -> Result<N, DirectiveError> {
        self.value.parse().map_err(|_| self.bad())
    }

    pub(crate) fn millis(self) -> Result<Duration, DirectiveError> {
        self.number().map(Duration::from_millis)
    }

    pub(crate) fn json(self) -> Result<serde_json::Value, DirectiveError> {
        serde_json::from_str(self.value).map_err(|_| self.bad())
    }
}

/// Splits at `;` outside braces, brackets and the strings within them.
fn split_top_level(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = Nesting::default().find(rest, b';').unwrap_or(rest.len());
            let item = rest[..end].trim();
            rest = rest.get(end + 1..).unwrap_or("");
            if !item.is_empty() {
                return Some(item);
            }
        }
    })
}

/// The inside of each `[[sim: … ]]` in `text`.
pub(crate) fn phrases(text: &str) -> impl Iterator<Item = &str> {
    const OPEN: &str = "[[sim:";
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(OPEN)? + OPEN.len();
        let inside = rest.get(start..)?;
        let end = Nesting::default().find(inside, b']')?;
        rest = inside.get(end..)?;
        inside.get(..end)
    })
}

/// Where in a JSON-like text one is.
#[derive(Default)]
struct Nesting {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// First `wanted` outside everything.
    fn find(mut self, text: &str, wanted: u8) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            if self.depth == 0 && byte == wanted {
                return Some(at);
            }
            self.step(byte);
        }
        None
    }

    fn step(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if self.in_string {
            self.escaped = byte == b'\\';
            self.in_string = byte != b'"';
        } else if byte == b'{' || byte == b'[' {
            self.depth += 1;
        } else if byte == b'}' || byte == b']' {
            self.depth = self.depth.saturating_sub(1);
        } else if byte == b'"' && self.depth > 0 {
            self.in_string = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_values_may_hold_separators() {
        let mut directives = Directives::default();
        directives.add(r#"first=2; usage={"a":"x;y]","b":[1]} ;cut=5"#).expect("reads");
        assert_eq!(directives.trigger.first, Some(2));
        assert_eq!(directives.cut.cut, Some(5));
        assert_eq!(directives.usage.both, Some(serde_json::json!({"a": "x;y]", "b": [1]})));
    }

    #[test]
    fn phrases_are_found_in_prose_with_nested_brackets() {
        let text = r#"do [[sim:cut=5]] and [[sim: usage={"iterations":[[1]]}; gap=1 ]] now"#;
        let found: Vec<_> = phrases(text).collect();
        assert_eq!(found, ["cut=5", r#" usage={"iterations":[[1]]}; gap=1 "#]);
    }

    #[test]
    fn a_misspelt_directive_is_an_error() {
        let mut directives = Directives::default();
        assert_eq!(directives.add("cutt=5"), Err(DirectiveError::Unknown("cutt".into())));
        assert_eq!(directives.add("cut=five"), Err(DirectiveError::Value("cut".into())));
    }

    #[test]
    fn every_directive_of_the_readme_is_known() {
        let table = include_str!("../README.md").lines().filter(|line| line.starts_with("| `"));
        let mut count = 0;
        for item in table.filter_map(|line| line.split('|').nth(1)).flat_map(|cell| cell.split(", ")) {
            let name = item.trim().trim_matches('`').split('=').next().expect("a name").to_owned();
            let known = Directives::default().set(&name, "");
            assert_ne!(known, Err(DirectiveError::Unknown(name.clone())), "{name}");
            count += 1;
        }
        assert!(count > 50, "{count} directives");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = phrases(&text).count();
            let _ = Directives::default().add(&text);
        }
    }
}
