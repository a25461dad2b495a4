//! How notices leave the house.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context as _;
use claviger_domain::ports::notices::Courier;
use claviger_notify::{Post, SystemLookup};
use claviger_service::Services;
use zeroize::Zeroizing;

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

/// Brings the mail channel of the settings into being, up to date, or out of use.
///
/// # Errors
/// When the password cannot be read or the channel cannot be kept.
pub async fn configure_mail(config: &Config, services: &Services) -> anyhow::Result<()> {
    let wanted = match &config.smtp {
        Some(smtp) => Some((smtp.target.clone(), smtp.password_file.as_deref().map(password).transpose()?)),
        None => None,
    };
    services.channels.configure(wanted).await.context("the mail channel of the settings")
}

fn password(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path).with_context(|| path.display().to_string())?);
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
