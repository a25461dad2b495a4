//! Names of operators: one spelling for each, so that writing one otherwise never reaches another record or escapes a
//! lockout.

use std::{fmt, sync::Arc};

/// Most characters of a name.
pub const MOST: usize = 64;

/// Why a text is not an operator's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {MOST} characters of a-z, 0-9, `.`, `_`, `@` and `-`")]
pub struct NameError;

/// An operator's name in its one spelling: without white space around it, in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorName(Arc<str>);

impl OperatorName {
    /// The name that a text means.
    ///
    /// # Errors
    /// [`NameError`] says which texts are names.
    pub fn canonical(text: &str) -> Result<Self, NameError> {
        let name = text.trim().to_ascii_lowercase();
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._@-".contains(&b);
        if (1..=MOST).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name.into()))
        } else {
            Err(NameError)
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_name_are_one_name() {
        let name = OperatorName::canonical("ann@example.com").unwrap();
        for text in ["Ann@Example.com", " ann@example.com ", "ANN@EXAMPLE.COM\n"] {
            assert_eq!(OperatorName::canonical(text).as_ref(), Ok(&name), "{text:?}");
        }
    }

    #[test]
    fn what_looks_like_another_name_is_none() {
        let long = "a".repeat(65);
        for text in ["", " ", "a b", "änn", "a\0", "ann\u{200b}", "\u{ff41}nn", "a/b", &long] {
            assert_eq!(OperatorName::canonical(text), Err(NameError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_name_is_its_own_canonical_name(text in "[ A-Za-z0-9._@-]{0,70}") {
            if let Ok(name) = OperatorName::canonical(&text) {
                prop_assert_eq!(OperatorName::canonical(name.as_str()), Ok(name.clone()));
                prop_assert!(name.as_str().len() <= MOST);
            }
        }
    }
}
