//! Which parts work, for `/readyz`.

use std::sync::Arc;

use serde::Serialize;

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Works.
    Ok,
    /// Works, but someone should look.
    Warning,
    /// Does not work: not ready.
    Failing,
}

/// One part and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `store`, `recorder`, `feed`, `disk`, `clock`.
    pub name: &'static str,
    /// How it is.
    pub state: PartState,
    /// What is wrong with it; empty when nothing is.
    pub detail: String,
}

/// Which parts work.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {}

impl Health {
    /// All parts.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let _ = &self.0;
        Vec::new()
    }

    /// Whether requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts().iter().all(|p| p.state != PartState::Failing)
    }
}
