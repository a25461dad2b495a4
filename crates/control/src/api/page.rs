//! Lists, a page at a time.

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default = "none")]
    pub next: Option<String>,
}

fn none() -> Option<String> {
    None
}

impl<T> Page<T> {
    /// A list that is whole.
    #[must_use]
    pub fn whole<R: Into<T>>(rows: Vec<R>) -> Self {
        Self { data: rows.into_iter().map(Into::into).collect(), next: None }
    }
}
