//! How notices leave the house.

use std::{fs, sync::Arc};

use anyhow::Context as _;
use claviger_domain::ports::notices::Courier;
use claviger_notify::{Post, SystemLookup};

use crate::config::Config;

/// Mail and webhooks, trusting the authorities that upstreams are trusted by.
///
/// # Errors
/// When the file of authorities cannot be used.
pub fn courier(config: &Config) -> anyhow::Result<Arc<dyn Courier>> {
    let roots = match &config.upstream.ca_file {
        Some(path) => Some(fs::read(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    let post = Post::new(Arc::new(SystemLookup), roots.as_deref()).context("preparing notices")?;
    Ok(Arc::new(post))
}
