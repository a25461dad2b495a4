//! What the simulator remembers of one workspace: its prompt cache, files, batches and rate-limit window.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;

use crate::batch::Batches;
use crate::cache::PromptCache;
use crate::file::Files;
use crate::seed::{Rng, hash};

/// One workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) id: HeaderValue,
    pub(crate) name: String,
    cache: Mutex<PromptCache>,
    files: Mutex<Files>,
    batches: Mutex<Batches>,
    window: Mutex<Window>,
}

/// What was used within the current minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Minutes since the epoch.
    pub(crate) minute: u64,
    pub(crate) requests: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
}

impl Workspace {
    fn new(name: &str) -> Self {
        let id = Rng::new(hash(name.as_bytes())).id("wrkspc_01");
        Self {
            id: HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("wrkspc_01")),
            name: name.to_owned(),
            cache: Mutex::default(),
            files: Mutex::default(),
            batches: Mutex::default(),
            window: Mutex::default(),
        }
    }

    pub(crate) fn cache(&self) -> MutexGuard<'_, PromptCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request; answers the window after it.
    pub(crate) fn count_request(&self, now_ms: u64) -> Window {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_ms / 60_000;
        if window.minute != minute {
            *window = Window { minute, ..Window::default() };
        }
        window.requests += 1;
        *window
    }

    /// Counts tokens into the window that is open.
    pub(crate) fn count_tokens(&self, input: u64, output: u64) -> Window {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.input += input;
        window.output += output;
        *window
    }
}

/// All workspaces by name; the one created first is forgotten when there are too many.
#[derive(Debug, Default)]
pub(crate) struct Workspaces {
    by_name: HashMap<String, Arc<Workspace>>,
    order: VecDeque<String>,
}

impl Workspaces {
    pub(crate) fn open(&mut self, name: &str, capacity: usize) -> Arc<Workspace> {
        if let Some(found) = self.by_name.get(name) {
            return Arc::clone(found);
        }
        while self.by_name.len() >= capacity.max(1) {
            let Some(oldest) = self.order.pop_front() else { break };
            self.by_name.remove(&oldest);
        }
        let workspace = Arc::new(Workspace::new(name));
        self.by_name.insert(name.to_owned(), Arc::clone(&workspace));
        self.order.push_back(name.to_owned());
        workspace
    }

    pub(crate) fn all(&self) -> Vec<Arc<Workspace>> {
        self.by_name.values().map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_are_bounded_and_the_first_goes_first() {
        let mut all = Workspaces::default();
        let first = all.open("a", 2);
        assert!(Arc::ptr_eq(&first, &all.open("a", 2)));
        all.open("b", 2);
        all.open("c", 2);
        assert_eq!(all.all().len(), 2);
        assert!(!Arc::ptr_eq(&first, &all.open("a", 2)));
    }

    #[test]
    fn a_window_starts_anew_each_minute() {
        let workspace = Workspace::new("w");
        workspace.count_request(1);
        assert_eq!(workspace.count_request(59_999).requests, 2);
        workspace.count_tokens(5, 6);
        assert_eq!(workspace.count_request(60_000), Window { minute: 1, requests: 1, input: 0, output: 0 });
    }
}
