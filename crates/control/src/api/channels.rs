//! Operations on channels.

use axum::{Json, extract::State};
use claviger_domain::{
    id::ChannelId,
    notice::{
        Severity,
        channel::{ChannelRecord, ChannelTarget, SmtpSecurity, SmtpTarget, WebhookTarget},
    },
};
use claviger_service::channels::{ChannelPatch, NewChannel};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{page::Page, time::Moment};
use crate::{
    answer::{One, Secret, Versioned},
    extract::{Body, IfMatch, Operator, Paging, Path},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/channels`. It may hold a secret, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddChannel {
    /// Its name: letters, digits, spaces, `-`, `_`, `.`, `@` or `/`.
    #[schema(min_length = 1, max_length = 64, example = "ops")]
    pub name: String,
    /// A mail server. Either this or `webhook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<AddSmtp>,
    /// An address that takes signed JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<AddWebhook>,
    /// Only notices at least as grave as this: `info`, `warning` or `critical`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(info|warning|critical)$")]
    pub min_severity: Option<String>,
    /// Only of this workspace, by id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// A mail server and who gets mail through it.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddSmtp {
    /// The server's name or address.
    #[schema(example = "mail.example.com")]
    pub host: String,
    /// Its port; absent: the one that goes with `security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<u16>,
    /// `starttls` (the default), `implicit`, or `plain` for a server on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(starttls|implicit|plain)$")]
    pub security: Option<String>,
    /// Log in as this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// With this password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The sender.
    #[schema(example = "claviger@example.com")]
    pub from: String,
    /// Who gets every notice.
    #[serde(default)]
    pub to: Vec<String>,
    /// Whether the owner of the key concerned gets a copy.
    #[serde(default)]
    pub to_owner: bool,
}

/// An address that takes signed JSON (Standard Webhooks).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddWebhook {
    /// `https://…`, or `http://…` on this machine.
    #[schema(example = "https://hooks.example.com/claviger")]
    pub url: String,
    /// Whether an address inside is meant.
    #[serde(default)]
    pub allow_private: bool,
    /// The signing secret, `whsec_…`; absent: one is made and shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A mail server and who gets mail through it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SmtpView {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `starttls`, `implicit` or `plain`.
    pub security: String,
    /// Logged in as this name.
    pub username: Option<String>,
    /// The sender.
    pub from: String,
    /// Who gets every notice.
    pub to: Vec<String>,
    /// Whether the owner of the key concerned gets a copy.
    pub to_owner: bool,
}

/// An address that takes signed JSON.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WebhookView {
    /// The address.
    pub url: String,
    /// Whether an address inside is meant.
    pub allow_private: bool,
}

/// A channel: never its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChannelView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `smtp` or `webhook`.
    pub kind: String,
    /// Where it goes: an URL, or recipients and their server.
    pub target: String,
    /// The mail server, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<SmtpView>,
    /// The address that takes signed JSON, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookView>,
    /// Only notices at least as grave as this.
    pub min_severity: String,
    /// Only of this workspace.
    pub workspace: Option<String>,
    /// `active` or `removed`.
    pub state: String,
    /// When it was added.
    pub created_at: Moment,
    /// Row version.
    pub version: i64,
}

impl Versioned for ChannelView {
    fn version(&self) -> i64 {
        self.version
    }
}

impl From<&SmtpTarget> for SmtpView {
    fn from(smtp: &SmtpTarget) -> Self {
        Self {
            host: smtp.host.clone(),
            port: smtp.port,
            security: smtp.security.as_str().to_owned(),
            username: smtp.username.clone(),
            from: smtp.from.clone(),
            to: smtp.to.clone(),
            to_owner: smtp.to_owner,
        }
    }
}

/// Who gets mail, and by which server.
fn in_words(smtp: &SmtpTarget) -> String {
    let owners = smtp.to_owner.then_some("owners");
    let recipients: Vec<&str> = smtp.to.iter().map(String::as_str).chain(owners).collect();
    format!("{} via {}:{} ({})", recipients.join(", "), smtp.host, smtp.port, smtp.security.as_str())
}

impl From<ChannelRecord> for ChannelView {
    fn from(c: ChannelRecord) -> Self {
        let (target, smtp, webhook) = match &c.target {
            ChannelTarget::Webhook(hook) => {
                let view = WebhookView { url: hook.url.clone(), allow_private: hook.allow_private };
                (hook.url.clone(), None, Some(view))
            }
            ChannelTarget::Smtp(smtp) => (in_words(smtp), Some(SmtpView::from(smtp)), None),
        };
        Self {
            id: c.id.to_string(),
            name: c.name,
            kind: c.target.kind().to_owned(),
            target,
            smtp,
            webhook,
            min_severity: c.min_severity.as_str().to_owned(),
            workspace: c.workspace.map(|w| w.to_string()),
            state: c.state.as_str().to_owned(),
            created_at: Moment(c.created_at),
            version: c.version,
        }
    }
}

/// A channel that was made, and the secret that was made with it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AddedChannel {
    /// The channel.
    #[serde(flatten)]
    pub channel: ChannelView,
    /// The signing secret of a webhook, shown this once; `null` when none was made.
    pub secret: Option<String>,
}

/// How a trial went.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TrialView {
    /// The channel.
    pub channel: String,
    /// Whether the other side took it.
    pub ok: bool,
    /// What went wrong.
    pub error: Option<String>,
}

impl AddChannel {
    fn into_new(self) -> Result<NewChannel, Problem> {
        let min_severity = severity(self.min_severity.as_deref().unwrap_or("info"))?;
        let target = target(self.smtp, self.webhook)?;
        let (target, secret) =
            target.ok_or_else(|| Problem::invalid("smtp", "give either smtp or webhook"))?;
        Ok(NewChannel { name: self.name, target, secret, min_severity, workspace: self.workspace })
    }
}

fn severity(text: &str) -> Result<Severity, Problem> {
    Severity::parse(text)
        .ok_or_else(|| Problem::invalid("min_severity", "expected info, warning or critical"))
}

type Target = (ChannelTarget, Option<Zeroizing<String>>);

/// Where a channel goes, and the secret that came along; `None`: nothing was said of it.
fn target(smtp: Option<AddSmtp>, webhook: Option<AddWebhook>) -> Result<Option<Target>, Problem> {
    let (target, secret) = match (smtp, webhook) {
        (None, None) => return Ok(None),
        (Some(smtp), None) => {
            let word = smtp.security.as_deref().unwrap_or("starttls");
            let security = SmtpSecurity::parse(word)
                .ok_or_else(|| Problem::invalid("security", "expected starttls, implicit or plain"))?;
            let target = SmtpTarget {
                host: smtp.host,
                port: smtp.port.unwrap_or(security.default_port()),
                security,
                username: smtp.username,
                from: smtp.from,
                to: smtp.to,
                to_owner: smtp.to_owner,
            };
            (ChannelTarget::Smtp(target), smtp.password)
        }
        (None, Some(hook)) => {
            let target = WebhookTarget { url: hook.url, allow_private: hook.allow_private };
            (ChannelTarget::Webhook(target), hook.secret)
        }
        (Some(_), Some(_)) => return Err(Problem::invalid("smtp", "give either smtp or webhook")),
    };
    Ok(Some((target, secret.map(Zeroizing::new))))
}

/// Body of `PATCH /admin/v1/channels/{id}`: what is absent stays. It may hold a secret, so it has no `Debug`.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateChannel {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64, example = "ops")]
    pub name: Option<String>,
    /// The mail server, whole; without a password the one that is there stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<AddSmtp>,
    /// The address that takes signed JSON; without a secret the one that is there stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<AddWebhook>,
    /// Only notices at least as grave as this: `info`, `warning` or `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(info|warning|critical)$")]
    pub min_severity: Option<String>,
    /// Only of this workspace, by id or name; empty: of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

impl UpdateChannel {
    /// What it changes.
    ///
    /// # Errors
    /// A problem with status 400 that names the field.
    pub fn into_patch(self) -> Result<ChannelPatch, Problem> {
        let (target, secret) = target(self.smtp, self.webhook)?.unzip();
        Ok(ChannelPatch {
            name: self.name,
            target,
            secret: secret.flatten(),
            min_severity: self.min_severity.as_deref().map(severity).transpose()?,
            workspace: self.workspace.map(|w| Some(w).filter(|w| !w.is_empty())),
        })
    }
}

/// `PATCH /admin/v1/channels/{id}`
pub async fn update(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Body(body): Body<UpdateChannel>,
) -> Result<One<ChannelView>, Problem> {
    let id = id_of(&id)?;
    let patch = body.into_patch()?;
    Ok(One(state.services.channels.update(id.as_str(), patch, version, &operator.caller).await?.into()))
}

/// By id only: what a second person agrees to must mean the same row later.
fn id_of(id: &str) -> Result<ChannelId, Problem> {
    ChannelId::parse(id).map_err(|e| Problem::invalid("id", e.to_string()))
}

/// `POST /admin/v1/channels`
pub async fn add(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<AddChannel>,
) -> Result<Secret<AddedChannel>, Problem> {
    let (made, secret) = state.services.channels.add(body.into_new()?, &operator.caller).await?;
    Ok(Secret(AddedChannel { channel: made.into(), secret: secret.map(|s| s.to_string()) }))
}

/// `GET /admin/v1/channels`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<ChannelView>>, Problem> {
    let rows = state.services.channels.list().await?;
    Page::cut(rows, &paging, |row| row.id.to_string()).map(Json)
}

/// `POST /admin/v1/channels/{id}/test`
pub async fn test(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<TrialView>, Problem> {
    let (channel, result) = state.services.channels.test(&id, &operator.caller).await?;
    let error = result.err().map(|error| error.to_string());
    Ok(Json(TrialView { channel: channel.id.to_string(), ok: error.is_none(), error }))
}

/// `DELETE /admin/v1/channels/{id}`
pub async fn remove(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<ChannelView>, Problem> {
    let id = id_of(&id)?;
    Ok(One(state.services.channels.remove(id.as_str(), &operator.caller).await?.into()))
}
