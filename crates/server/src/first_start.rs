//! The first start: what is made, what is imported, and what the reader is told.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context as _;
use claviger_domain::{
    key::{KeyState, RevocationReason},
    ports::KeyFilter,
    secret::SecretBytes,
    token::KeyClass,
    upstream::CredentialPurpose,
};
use claviger_service::{
    Caller, Services,
    keys::NewKey,
    upstreams::{NewCredential, NewUpstream},
};

use crate::{cli::output::Output, config::Config, data_dir::DataDir};

/// Where the Claude API is unless the environment says otherwise.
const CLAUDE_API: &str = "https://api.anthropic.com";

/// Stands in the data folder from before the first key is made until it was shown: of a key only its MAC is kept, so one
/// that was made and not shown is lost.
const UNSHOWN: &str = "first-key.unshown";
/// Where a live key is written when there is no terminal to show it at.
const KEY_FILE: &str = "first-key";
const LIVE_NAME: &str = "first key";
const TEST_NAME: &str = "first test key";

/// What was found in the environment.
struct Found {
    key: SecretBytes,
    base_url: String,
    masked: String,
}

/// A key made at the first start.
pub struct FirstKey {
    class: KeyClass,
    text: SecretBytes,
}

/// Whether there is no key yet, or the first one was made by a process that ended before it could show it.
///
/// # Errors
/// When the store does not answer.
pub async fn is_due(services: &Services, data: &DataDir) -> anyhow::Result<bool> {
    let filter = KeyFilter { limit: 1, ..KeyFilter::default() };
    let none = services.keys.list(&filter).await.context("looking for keys")?.is_empty();
    Ok(none || data.file(UNSHOWN).exists())
}

/// Imports what may be imported and makes the first key.
///
/// # Errors
/// When the store or the sealing fails.
pub async fn run(
    services: &Services,
    config: &Config,
    data: &DataDir,
    import: bool,
    out: Output,
) -> anyhow::Result<FirstKey> {
    let caller = Caller::system();
    if data.file(UNSHOWN).exists() {
        take_back(services, data, &caller, out).await?;
    }
    data.mark(UNSHOWN).context("noting that the first key is yet to be shown")?;
    // An earlier first start may have come as far as this.
    let mut sealed = services.upstreams.credentials().await.context("looking for credentials")?;
    sealed.retain(|credential| credential.purpose == CredentialPurpose::Traffic);
    let imported = match found(config) {
        _ if !sealed.is_empty() => true,
        Some(found) if import || confirmed(&found, out) => {
            seal(services, found, &caller, out).await?;
            true
        }
        Some(_) | None => false,
    };
    let name = if imported { LIVE_NAME } else { TEST_NAME };
    let new = NewKey { name: name.to_owned(), test: !imported, ..NewKey::default() };
    let (record, token, _) = services.keys.create(new, &caller).await.context("making the first key")?;
    Ok(FirstKey { class: record.class, text: SecretBytes::new(token.expose().to_vec()) })
}

/// Revokes the first key that nobody saw, so that another can take its place. One that was used was seen.
async fn take_back(services: &Services, data: &DataDir, caller: &Caller, out: Output) -> anyhow::Result<()> {
    let oldest = KeyFilter { limit: 10, ..KeyFilter::default() };
    for (key, used) in services.keys.list(&oldest).await.context("looking for the first key")? {
        let ours = key.name == LIVE_NAME || key.name == TEST_NAME;
        if ours && key.state == KeyState::Active && used.last_used_at.is_none() {
            let revoked = services.keys.revoke(&key.id, RevocationReason::Rotation, true, caller).await;
            revoked.context("revoking the first key, which was never shown")?;
            out.note(&format!("The first key ({}) was never shown: it is revoked and replaced.", key.id));
        }
    }
    data.unmark(KEY_FILE).context("removing the file of a key that is revoked")
}

/// The provider key in the environment, unless it is one of ours or leads back to ourselves.
fn found(config: &Config) -> Option<Found> {
    let key =
        std::env::var("ANTHROPIC_API_KEY").ok().map(|k| k.trim().to_owned()).filter(|k| !k.is_empty())?;
    if key.starts_with(config.brand.as_str()) || key.starts_with("cvg_") {
        return None;
    }
    let base_url = std::env::var("ANTHROPIC_BASE_URL").ok().filter(|u| !u.is_empty());
    let ours = |url: &str| {
        url.contains(&config.listen.to_string())
            || url.contains(&format!("localhost:{}", config.listen.port()))
    };
    if base_url.as_deref().is_some_and(ours) {
        return None;
    }
    let shown: String = key.chars().take(12).collect();
    let base_url = base_url.unwrap_or_else(|| CLAUDE_API.to_owned());
    Some(Found { masked: format!("{shown}…"), key: SecretBytes::new(key.into_bytes()), base_url })
}

/// Asks at a terminal; elsewhere the answer is no.
fn confirmed(found: &Found, out: Output) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return false;
    }
    out.raw(&format!(
        "ANTHROPIC_API_KEY is set ({} for {}).\nSeal it here as the first credential? Calls through Claviger then cost \
         money. [y/N] ",
        found.masked, found.base_url
    ));
    // An answer that cannot be asked for or read is a no.
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}

async fn seal(services: &Services, found: Found, caller: &Caller, out: Output) -> anyhow::Result<()> {
    let new = NewUpstream {
        name: "anthropic".to_owned(),
        kind: claviger_domain::upstream::UpstreamKind::Anthropic,
        base_url: found.base_url,
    };
    let present = services.upstreams.list().await.context("looking for upstreams")?;
    let upstream = match present.into_iter().find(|u| u.name == new.name && u.base_url == new.base_url) {
        Some(upstream) => upstream,
        None => services.upstreams.add(new, caller).await.context("adding the first upstream")?,
    };
    let new = NewCredential {
        upstream: upstream.id.to_string(),
        name: Some("imported".to_owned()),
        purpose: CredentialPurpose::Traffic,
        workspace: None,
        secret: found.key,
    };
    services.upstreams.add_credential(new, caller).await.context("sealing ANTHROPIC_API_KEY")?;
    out.note(&format!("Sealed ANTHROPIC_API_KEY ({}). Calls with live keys now cost money.", found.masked));
    Ok(())
}

/// Tells the reader what there is now: the key, a line that works as printed, and where to go next. A live key goes to
/// a terminal or to a file that only its owner can read: service logs are for ever.
///
/// # Errors
/// When the key's file cannot be written.
pub fn tell(first: &FirstKey, data: &DataDir, gateway: &str, out: Output) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(first.text.expose()).into_owned();
    let public = first.class == KeyClass::Test || std::io::stdout().is_terminal();
    let key = if public {
        out.line(&format!("key: {text}"));
        text
    } else {
        let path = data.write_private(KEY_FILE, format!("{text}\n").as_bytes());
        let path = path.context("writing the first key")?;
        out.line(&format!("key: written to {} (only you can read it)", path.display()));
        format!("$(cat '{}')", path.display())
    };
    out.line(&format!(
        "curl {gateway}/v1/messages -H \"x-api-key: {key}\" -H 'anthropic-version: 2023-06-01' \
         -H 'content-type: application/json' \
         -d '{{\"model\":\"claude-opus-5-5\",\"max_tokens\":256,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
    ));
    out.line("The curl line works as it stands.");
    let program = program(data);
    match first.class {
        KeyClass::Test => out.line(&format!(
            "That is a test key: the built-in simulator answers it and nothing costs money. For Claude itself:\n  \
             {program} upstream add anthropic --base-url {CLAUDE_API}\n  \
             {program} credential add --upstream anthropic --from-file -     # paste the provider key\n  \
             {program} key create --name my-app"
        )),
        KeyClass::Live => {
            out.line(&format!("next: {program} key create --name my-app   (one key for each app or person)"));
        }
    }
    out.line(&format!(
        "save: {} holds the database and the master key that opens it; `{program} backup --to DIR` copies both",
        data.path().display()
    ));
    data.unmark(UNSHOWN).context("noting that the first key was shown")
}

/// How the next commands are called: by name where the shell finds it, else by path; with the data folder when it is
/// not the one that is looked for.
fn program(data: &DataDir) -> String {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("claviger").is_file()));
    let own = std::env::current_exe().ok().filter(|_| !found);
    let here = std::env::current_dir().ok();
    let name = own.map_or_else(
        || "claviger".to_owned(),
        |exe| {
            here.and_then(|h| exe.strip_prefix(h).ok().map(|p| p.display().to_string()))
                .unwrap_or_else(|| exe.display().to_string())
        },
    );
    let usual = crate::config::data_folder(None).is_ok_and(|folder| folder == data.path());
    if usual || std::env::var_os("CLAVIGER_DATA").is_some() {
        name
    } else {
        format!("{name} --data '{}'", data.path().display())
    }
}
