//! `[cache]`: the response cache.

use std::time::Duration;

use super::{ConfigError, file::CacheSection};

/// The least that a cache can do with, in bytes.
const LEAST: u64 = 1 << 20;

/// The response cache of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheBounds {
    /// What it may take, in bytes; 0: there is none.
    pub memory: u64,
    /// How long a request waits for another one's call.
    pub wait: Duration,
    /// Whether streams come at the pace at which they were made.
    pub keep_pace: bool,
}

impl CacheSection {
    /// The settings, with defaults for those that are not given.
    ///
    /// # Errors
    /// [`ConfigError::Setting`].
    pub fn resolve(&self) -> Result<CacheBounds, ConfigError> {
        let bounds = CacheBounds {
            memory: self.memory.map_or(64 << 20, |size| size.0),
            wait: self.wait.map_or(Duration::from_secs(120), |span| span.0),
            keep_pace: self.keep_pace.unwrap_or(false),
        };
        if (1..LEAST).contains(&bounds.memory) {
            let why = "expected at least 1MB, or 0 for no cache at all".to_owned();
            return Err(ConfigError::Setting { name: "cache.memory", why });
        }
        Ok(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Size;

    #[test]
    fn too_little_is_refused_and_nothing_is_no_cache() {
        let memory = |bytes| CacheSection { memory: Some(Size(bytes)), ..CacheSection::default() }.resolve();
        assert_eq!(memory(0).unwrap().memory, 0);
        assert_eq!(memory(1 << 20).unwrap().memory, 1 << 20);
        assert!(memory(1_000).unwrap_err().to_string().contains("cache.memory"));
    }
}
