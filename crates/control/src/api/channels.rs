//! Operations on channels.

use axum::{Json, extract::State};
use claviger_domain::{
    id::ChannelId,
    notice::{
        Severity,
        channel::{ChannelRecord, ChannelTarget, SmtpSecurity, SmtpTarget, WebhookTarget},
    },
};
use claviger_service::channels::NewChannel;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{page::Page, time::Moment};
use crate::{
    answer::{One, Secret, Versioned},
    extract::{Body, Operator, Paging, Path},
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

impl From<ChannelRecord> for ChannelView {
    fn from(c: ChannelRecord) -> Self {
        let target = match &c.target {
            ChannelTarget::Webhook(hook) => hook.url.clone(),
            ChannelTarget::Smtp(smtp) => {
                let owners = smtp.to_owner.then_some("owners");
                let recipients: Vec<&str> = smtp.to.iter().map(String::as_str).chain(owners).collect();
                let recipients = recipients.join(", ");
                format!("{recipients} via {}:{} ({})", smtp.host, smtp.port, smtp.security.as_str())
            }
        };
        Self {
            id: c.id.to_string(),
            name: c.name,
            kind: c.target.kind().to_owned(),
            target,
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
        let severity = self.min_severity.as_deref().unwrap_or("info");
        let min_severity = Severity::parse(severity)
            .ok_or_else(|| Problem::invalid("min_severity", "expected info, warning or critical"))?;
        let (target, secret) = match (self.smtp, self.webhook) {
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
            (Some(_), Some(_)) | (None, None) => {
                return Err(Problem::invalid("smtp", "give either smtp or webhook"));
            }
        };
        let secret = secret.map(Zeroizing::new);
        Ok(NewChannel { name: self.name, target, secret, min_severity, workspace: self.workspace })
    }
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
    // By id only: what a second person agrees to must mean the same row later.
    let id = ChannelId::parse(&id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    Ok(One(state.services.channels.remove(id.as_str(), &operator.caller).await?.into()))
}
