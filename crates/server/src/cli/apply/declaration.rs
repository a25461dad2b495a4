//! What a file declares: every field that it leaves out stays as it is, every unknown name is refused, every mistake is
//! named with its line and column.

use std::{
    collections::HashSet,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use claviger_control::api::limits::LimitsPatch;
use claviger_domain::{
    address::CidrList,
    key::{OnDisconnect, cache::CacheTtl, hours::HoursOfWeek, patch},
    notice::{
        Severity,
        channel::{ChannelTarget, SmtpSecurity, SmtpTarget, WebhookTarget},
    },
    permission::{Endpoint, ModelGlob, Scopes},
    policy::Policy,
    proof::Proofs,
    tenancy::Environment,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

use crate::{
    cli::output::CliError,
    config::{file::place, value::Span},
};

/// A file that is longer declares nothing.
const MAX_FILE: u64 = 4 << 20;

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Declaration {
    /// What workspaces demand that have no policy of their own.
    pub policy: Option<Spanned<PolicyTable>>,
    /// `[[workspace]]`
    pub workspace: Vec<WorkspaceTable>,
    /// `[[owner]]`
    pub owner: Vec<OwnerTable>,
    /// `[[key]]`
    pub key: Vec<KeyTable>,
    /// `[[channel]]`
    pub channel: Vec<ChannelTable>,
}

/// A workspace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceTable {
    /// Its name.
    pub name: Spanned<String>,
    /// Its environment.
    pub environment: Option<Spanned<Environment>>,
    /// The limits of all its keys together; 0 lifts one.
    #[serde(default)]
    pub limits: LimitsPatch,
    /// What it demands of its keys.
    pub policy: Option<Spanned<PolicyTable>>,
}

/// Demands. What is absent stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyTable {
    /// Live keys of one owner.
    pub max_keys: Option<u32>,
    /// Every key needs a list of addresses.
    pub require_ip: Option<bool>,
    /// Making a key needs a second factor.
    pub require_mfa: Option<bool>,
    /// When a key is due for rotation, in days.
    pub rotation_days: Option<u32>,
    /// When an unused key is revoked, in days; 0: never.
    pub revoke_unused_days: Option<u32>,
    /// How many days before its expiry a key's owner is told.
    pub notice_days: Option<Vec<u32>>,
    /// What must be shown beside every key: token, signature, mtls, dpop.
    pub require: Option<Proofs>,
    /// No key may be given answers out of the response cache.
    pub forbid_cache: Option<bool>,
}

/// An owner.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerTable {
    /// Its name.
    pub name: Spanned<String>,
    /// Where notices go.
    pub email: Option<Spanned<String>>,
    /// The limits of all its keys together; 0 lifts one.
    #[serde(default)]
    pub limits: LimitsPatch,
}

/// A key. Its name is what it is known by in its workspace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTable {
    /// Its name.
    pub name: Spanned<String>,
    /// Its workspace, by name or id.
    pub workspace: Spanned<String>,
    /// Its owner, by name or id.
    pub owner: Spanned<String>,
    /// Whether the simulator answers it.
    #[serde(default)]
    pub test: Option<Spanned<bool>>,
    /// Model patterns; empty: all.
    #[serde(default)]
    pub models: Option<Vec<ModelGlob>>,
    /// Endpoints; empty: all.
    #[serde(default)]
    pub endpoints: Option<Vec<Endpoint>>,
    /// Scopes.
    #[serde(default)]
    pub scopes: Option<Scopes>,
    /// Address blocks; empty: anywhere.
    #[serde(default)]
    pub allow_ip: Option<CidrList>,
    /// Rates and concurrency; 0 lifts one.
    #[serde(default)]
    pub limits: LimitsPatch,
    /// Uses in its whole life; 0: no limit.
    #[serde(default)]
    pub max_uses: Option<u64>,
    /// Hours of the week; empty: always.
    #[serde(default, deserialize_with = "hours")]
    pub hours: Option<String>,
    /// How long it works from when it began to.
    #[serde(default)]
    pub expires_in: Option<Spanned<Lifetime>>,
    /// What a client that goes away causes.
    #[serde(default)]
    pub on_disconnect: Option<OnDisconnect>,
    /// How old an answer out of the response cache may be: `5m`; `on`, `off`.
    #[serde(default, deserialize_with = "cache")]
    pub cache: Option<Option<CacheTtl>>,
    /// What must be shown beside it: token, signature, mtls, dpop; empty: nothing.
    #[serde(default)]
    pub require: Option<Spanned<Proofs>>,
    /// It has a signing secret: one is made where there is none. One that is there stays, whatever this says.
    #[serde(default)]
    pub sign: Option<bool>,
}

/// A channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelTable {
    /// Its name.
    pub name: Spanned<String>,
    /// A mail server. Either this or `webhook`.
    pub smtp: Option<SmtpTable>,
    /// Where that mail server's password stands.
    pub password_file: Option<Spanned<PathBuf>>,
    /// An address that takes signed JSON.
    pub webhook: Option<WebhookTarget>,
    /// Where the webhook's signing secret stands; absent: one is made.
    pub secret_file: Option<Spanned<PathBuf>>,
    /// Only notices at least as grave as this.
    pub min_severity: Option<Severity>,
    /// Only of this workspace.
    pub workspace: Option<Spanned<String>>,
}

/// A mail server and who gets mail through it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpTable {
    /// The server's name or address.
    host: String,
    /// Its port; absent: the one that goes with `security`.
    port: Option<u16>,
    /// `starttls`, `implicit` or `plain`.
    #[serde(default)]
    security: SmtpSecurity,
    /// Log in as this name.
    username: Option<String>,
    /// The sender.
    from: String,
    /// Who gets every notice.
    #[serde(default)]
    to: Vec<String>,
    /// Whether the owner of the key concerned gets a copy.
    #[serde(default)]
    to_owner: bool,
}

impl From<SmtpTable> for SmtpTarget {
    fn from(t: SmtpTable) -> Self {
        let port = t.port.unwrap_or(t.security.default_port());
        let SmtpTable { host, security, username, from, to, to_owner, .. } = t;
        Self { host, port, security, username, from, to, to_owner }
    }
}

/// How long a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Without end.
    Never,
    /// So many seconds.
    Secs(u64),
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text == "never" {
            return Ok(Self::Never);
        }
        match text.parse::<Span>().map(Span::secs) {
            Ok(secs) if secs > 0 => Ok(Self::Secs(secs)),
            Ok(_) | Err(_) => Err(D::Error::custom(format!(
                "`{text}` is not a span of time: expected 30m, 12h, 90d or never"
            ))),
        }
    }
}

fn hours<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(d)?.trim().to_owned();
    if !text.is_empty() {
        HoursOfWeek::parse(&text).map_err(D::Error::custom)?;
    }
    Ok(Some(text))
}

fn cache<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<CacheTtl>>, D::Error> {
    CacheTtl::parse(String::deserialize(d)?.trim()).map(Some).map_err(D::Error::custom)
}

impl ChannelTable {
    /// Where it goes.
    ///
    /// # Errors
    /// What stands against it.
    pub fn target(&self) -> Result<ChannelTarget, &'static str> {
        match (&self.smtp, &self.webhook) {
            (Some(_), None) if self.secret_file.is_some() => {
                Err("`secret_file` belongs to a webhook; a mail server has a `password_file`")
            }
            (None, Some(_)) if self.password_file.is_some() => {
                Err("`password_file` belongs to a mail server; a webhook has a `secret_file`")
            }
            (Some(smtp), None) => Ok(ChannelTarget::Smtp(smtp.clone().into())),
            (None, Some(hook)) => Ok(ChannelTarget::Webhook(hook.clone())),
            (Some(_), Some(_)) | (None, None) => Err("give either `smtp` or `webhook`"),
        }
    }
}

/// A declaration and the text that it was read from.
#[derive(Debug)]
pub struct Declared {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub all: Declaration,
    text: String,
}

impl Declared {
    /// Reads a file and judges it by itself.
    ///
    /// # Errors
    /// [`CliError`] with file, line, column and field.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let bad = |e: &dyn fmt::Display| CliError::usage(format!("{}: {e}", path.display()));
        if std::fs::metadata(path).map_err(|e| bad(&e))?.len() > MAX_FILE {
            return Err(bad(&"it is longer than a declaration can be"));
        }
        Self::parse(path, std::fs::read_to_string(path).map_err(|e| bad(&e))?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`Declared::read`].
    pub fn parse(path: &Path, text: String) -> Result<Self, CliError> {
        let at = |e: &toml::de::Error| e.span().map_or(0, |span| span.start);
        let all = toml::from_str(&text).map_err(|e| wrong(path, &text, at(&e), e.message()))?;
        let declared = Self { path: path.to_owned(), all, text };
        declared.check()?;
        Ok(declared)
    }

    /// A mistake at a place of the file.
    #[must_use]
    pub fn wrong(&self, at: &Range<usize>, why: &str) -> CliError {
        wrong(&self.path, &self.text, at.start, why)
    }

    fn check(&self) -> Result<(), CliError> {
        let all = &self.all;
        self.once("workspace", all.workspace.iter().map(|w| (w.name.get_ref().clone(), w.name.span())))?;
        self.once("owner", all.owner.iter().map(|o| (o.name.get_ref().clone(), o.name.span())))?;
        let keys = all.key.iter();
        self.once(
            "key",
            keys.map(|k| (format!("{}/{}", k.workspace.get_ref(), k.name.get_ref()), k.name.span())),
        )?;
        self.once("channel", all.channel.iter().map(|c| (c.name.get_ref().clone(), c.name.span())))?;
        let workspaces = all.workspace.iter().map(|w| &w.name);
        let others = all.owner.iter().map(|o| &o.name).chain(all.channel.iter().map(|c| &c.name));
        for name in workspaces.chain(others) {
            self.name(name)?;
        }
        for key in &all.key {
            patch::check_name(key.name.get_ref())
                .map_err(|e| self.wrong(&key.name.span(), &e.to_string()))?;
        }
        let policies = all.workspace.iter().filter_map(|w| w.policy.as_ref());
        for policy in policies.chain(&all.policy) {
            let whole = policy.get_ref().over(&Policy::default());
            whole.check().map_err(|e| self.wrong(&policy.span(), &e.to_string()))?;
        }
        for channel in &all.channel {
            let bad = |why: &str| self.wrong(&channel.name.span(), why);
            let target = channel.target().map_err(&bad)?;
            target.check().map_err(|e| bad(&format!("{}: {e}", e.field())))?;
        }
        Ok(())
    }

    fn once(&self, what: &str, names: impl Iterator<Item = (String, Range<usize>)>) -> Result<(), CliError> {
        let mut seen = HashSet::new();
        for (name, at) in names {
            if seen.contains(&name) {
                return Err(self.wrong(&at, &format!("the {what} `{name}` is declared twice")));
            }
            seen.insert(name);
        }
        Ok(())
    }

    fn name(&self, name: &Spanned<String>) -> Result<(), CliError> {
        let text = name.get_ref();
        let legal = |c: char| c.is_alphanumeric() || " -_.@/".contains(c);
        if (1..=64).contains(&text.chars().count()) && text.chars().all(legal) && text.trim() == text {
            return Ok(());
        }
        let why = "expected 1 to 64 letters, digits, spaces, `-`, `_`, `.`, `@` or `/`";
        Err(self.wrong(&name.span(), why))
    }
}

impl PolicyTable {
    /// What holds when this is set over something.
    #[must_use]
    pub fn over(&self, before: &Policy) -> Policy {
        let unused = self.revoke_unused_days.map(|days| (days > 0).then_some(days));
        Policy {
            max_keys: self.max_keys.unwrap_or(before.max_keys),
            require_ip: self.require_ip.unwrap_or(before.require_ip),
            require_mfa: self.require_mfa.unwrap_or(before.require_mfa),
            rotation_days: self.rotation_days.unwrap_or(before.rotation_days),
            revoke_unused_days: unused.unwrap_or(before.revoke_unused_days),
            notice_days: self.notice_days.clone().unwrap_or_else(|| before.notice_days.clone()),
            require: self.require.unwrap_or(before.require),
            forbid_cache: self.forbid_cache.unwrap_or(before.forbid_cache),
        }
    }
}

/// A mistake, with file, line, column and the field that the place belongs to.
fn wrong(path: &Path, text: &str, at: usize, why: &str) -> CliError {
    let place = place(path, text, at);
    let why = why.trim();
    match field(text, at).filter(|field| !why.contains(&format!("`{field}`")) && !why.starts_with(field)) {
        Some(field) => CliError::usage(format!("{place}: {field}: {why}")),
        None => CliError::usage(format!("{place}: {why}")),
    }
}

/// The name that is assigned to where this place stands.
fn field(text: &str, at: usize) -> Option<&str> {
    let name = |line: &'_ str| -> Option<usize> {
        let length = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        (length > 0 && line[length..].trim_start().starts_with('=')).then_some(length)
    };
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    // In an inline table, the last name before the place; in a list over lines, that of a line before.
    let line = text.get(start..at)?;
    let inside =
        line.rfind(['{', ',']).map(|i| line[i + 1..].trim_start()).filter(|part| name(part).is_some());
    if let Some(part) = inside {
        return part.get(..name(part)?);
    }
    let mut lines = text.get(..at + text.get(at..)?.find('\n').unwrap_or(text.len() - at))?.lines().rev();
    let found = lines.find(|line| name(line.trim_start()).is_some() || line.trim_start().starts_with('['))?;
    let found = found.trim_start();
    found.get(..name(found)?)
}

#[cfg(test)]
mod tests;
