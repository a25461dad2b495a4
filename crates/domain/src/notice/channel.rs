//! Where notices go: e-mail servers and signed webhooks.

use serde::{Deserialize, Serialize};

use super::{
    Severity,
    endpoint::{Endpoint, EndpointError, is_host_name},
};
use crate::{
    clock::Timestamp,
    id::{ChannelId, WorkspaceId},
    ports::SealContext,
    upstream::ServiceState,
};

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpSecurity {
    /// TLS from the first byte (RFC 8314); port 465.
    Implicit,
    /// `STARTTLS`, demanded (RFC 3207); port 587.
    #[default]
    Starttls,
    /// None: on this machine only.
    Plain,
}

impl SmtpSecurity {
    /// As in flags and settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::Starttls => "starttls",
            Self::Plain => "plain",
        }
    }

    /// The reverse of [`SmtpSecurity::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Implicit, Self::Starttls, Self::Plain].into_iter().find(|s| s.as_str() == text)
    }

    /// The port that goes with it.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::Starttls => 587,
            Self::Plain => 25,
        }
    }
}

/// A mail server and who gets mail through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpTarget {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// Log in as this name; the password is sealed beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The sender.
    pub from: String,
    /// Who gets every notice.
    pub to: Vec<String>,
    /// Whether the owner of the key concerned gets a copy, when an address of theirs is known.
    #[serde(default)]
    pub to_owner: bool,
}

/// An address that takes signed JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookTarget {
    /// `https://…`, or `http://…` on this machine.
    pub url: String,
    /// Whether the operator said that private addresses are meant.
    #[serde(default)]
    pub allow_private: bool,
}

/// What kind of channel, and its particulars but for the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChannelTarget {
    /// E-mail.
    Smtp(SmtpTarget),
    /// A signed webhook (Standard Webhooks).
    Webhook(WebhookTarget),
}

/// A field of a channel that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Not a mail server.
    #[error("`{0}` is not the name or address of a mail server")]
    Host(String),
    /// Not a port.
    #[error("a port is between 1 and 65535")]
    Port,
    /// Mail and passwords would be read on their way.
    #[error("plain connections are for a mail server on this machine only; use starttls or implicit")]
    Plain,
    /// Not a mail address.
    #[error("`{0}` is not a mail address")]
    Mail(String),
    /// Nobody gets any mail, or too many do.
    #[error("name between 1 and {MAX_RECIPIENTS} recipients, or let owners get copies")]
    Recipients,
    /// Not an address for webhooks.
    #[error(transparent)]
    Url(#[from] EndpointError),
}

impl ChannelError {
    /// The field, as callers name it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Port => "port",
            Self::Plain => "security",
            Self::Mail(_) | Self::Recipients => "to",
            Self::Url(_) => "url",
        }
    }
}

/// Recipients at most.
pub const MAX_RECIPIENTS: usize = 50;

impl SmtpTarget {
    /// Whether mail could go there.
    ///
    /// # Errors
    /// [`ChannelError`] names the field.
    pub fn check(&self) -> Result<(), ChannelError> {
        let address = self.host.parse::<std::net::IpAddr>().ok();
        if address.is_none() && !is_host_name(&self.host) {
            return Err(ChannelError::Host(self.host.clone()));
        }
        if self.port == 0 {
            return Err(ChannelError::Port);
        }
        let is_here =
            self.host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback());
        if self.security == SmtpSecurity::Plain && !is_here {
            return Err(ChannelError::Plain);
        }
        if self.to.len() > MAX_RECIPIENTS || (self.to.is_empty() && !self.to_owner) {
            return Err(ChannelError::Recipients);
        }
        let bad = std::iter::once(&self.from).chain(&self.to).find(|mail| !is_mail_address(mail));
        bad.map_or(Ok(()), |mail| Err(ChannelError::Mail(mail.clone())))
    }
}

/// `someone@host.example`: enough to keep line breaks and lists out; the mail server judges the rest.
#[must_use]
pub fn is_mail_address(text: &str) -> bool {
    let ok = |b: u8| b.is_ascii_graphic() && !b"<>()[],;:\\\"".contains(&b);
    text.len() <= 254
        && text.bytes().all(ok)
        && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && is_host_name(host))
}

impl ChannelTarget {
    /// Whether notices could go there.
    ///
    /// # Errors
    /// [`ChannelError`] names the field.
    pub fn check(&self) -> Result<(), ChannelError> {
        match self {
            Self::Smtp(smtp) => smtp.check(),
            Self::Webhook(hook) => Ok(Endpoint::parse(&hook.url, hook.allow_private).map(drop)?),
        }
    }

    /// `smtp` or `webhook`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::Webhook(_) => "webhook",
        }
    }
}

impl ChannelTarget {
    /// Whether somebody who was told by `before` is not told by this, or by a server that may keep it from them.
    #[must_use]
    pub fn loses(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Webhook(after), Self::Webhook(before)) => after.url != before.url,
            (Self::Smtp(after), Self::Smtp(before)) => {
                let server = |smtp: &SmtpTarget| {
                    (smtp.host.clone(), smtp.port, smtp.security, smtp.username.clone(), smtp.from.clone())
                };
                server(after) != server(before)
                    || !before.to.iter().all(|mail| after.to.contains(mail))
                    || (before.to_owner && !after.to_owner)
            }
            (Self::Webhook(_), Self::Smtp(_)) | (Self::Smtp(_), Self::Webhook(_)) => true,
        }
    }
}

/// A channel as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRecord {
    /// `chn_…`
    pub id: ChannelId,
    /// Its name, unique.
    pub name: String,
    /// Where it goes.
    pub target: ChannelTarget,
    /// The password or signing secret, sealed for [`ChannelRecord::seal_context`]; empty: none.
    pub sealed: Vec<u8>,
    /// Only notices at least as grave as this.
    pub min_severity: Severity,
    /// Only of this workspace; `None`: of all, and of the installation.
    pub workspace: Option<WorkspaceId>,
    /// Whether it is in use.
    pub state: ServiceState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Row version, for optimistic locking.
    pub version: i64,
}

impl ChannelRecord {
    /// What a channel's secret is bound to.
    #[must_use]
    pub fn seal_context(id: &ChannelId) -> SealContext<'_> {
        SealContext { table: "channels", column: "sealed", row: id.as_str() }
    }

    /// Whether somebody who was told something by `before` is not told it by this.
    #[must_use]
    pub fn loses(&self, before: &Self) -> bool {
        self.target.loses(&before.target)
            || self.min_severity > before.min_severity
            || (self.workspace.is_some() && self.workspace != before.workspace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp() -> SmtpTarget {
        SmtpTarget {
            host: "mail.example".to_owned(),
            port: 587,
            security: SmtpSecurity::Starttls,
            username: None,
            from: "claviger@example.com".to_owned(),
            to: vec!["ops@example.com".to_owned()],
            to_owner: false,
        }
    }

    #[test]
    fn plain_mail_stays_on_this_machine() {
        let plain = SmtpTarget { security: SmtpSecurity::Plain, ..smtp() };
        assert_eq!(plain.check(), Err(ChannelError::Plain));
        for here in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(SmtpTarget { host: here.to_owned(), ..plain.clone() }.check(), Ok(()), "{here}");
        }
        assert_eq!(smtp().check(), Ok(()));
    }

    #[test]
    fn a_channel_that_tells_fewer_people_or_less_loses_something() {
        let before = ChannelRecord {
            id: ChannelId::parse("chn_1").unwrap(),
            name: "ops".to_owned(),
            target: ChannelTarget::Smtp(SmtpTarget { to_owner: true, ..smtp() }),
            sealed: Vec::new(),
            min_severity: Severity::Warning,
            workspace: None,
            state: ServiceState::Active,
            created_at: Timestamp::from_secs(0),
            version: 1,
        };
        let mail = |change: fn(&mut SmtpTarget)| {
            let mut target = SmtpTarget { to_owner: true, ..smtp() };
            change(&mut target);
            ChannelRecord { target: ChannelTarget::Smtp(target), ..before.clone() }.loses(&before)
        };
        assert!(!mail(|_| {}) && !mail(|t| t.to.push("more@example.com".to_owned())));
        assert!(mail(|t| t.to = vec!["else@example.com".to_owned()]) && mail(|t| t.to_owner = false));
        assert!(mail(|t| t.host = "other.example".to_owned()) && mail(|t| t.port = 25));
        assert!(ChannelRecord { min_severity: Severity::Critical, ..before.clone() }.loses(&before));
        assert!(!ChannelRecord { min_severity: Severity::Info, ..before.clone() }.loses(&before));
        let one = WorkspaceId::parse("ws_1").ok();
        assert!(ChannelRecord { workspace: one.clone(), ..before.clone() }.loses(&before));
        assert!(!before.loses(&ChannelRecord { workspace: one, ..before.clone() }));
        let hook =
            |url: &str| ChannelTarget::Webhook(WebhookTarget { url: url.to_owned(), allow_private: false });
        assert!(hook("https://a.example/").loses(&hook("https://b.example/")));
    }

    #[test]
    fn addresses_bring_no_headers_along() {
        for bad in
            ["", "ops", "@example.com", "ops@", "a@b\r\nBcc: x@y", "a b@c", "a@b,c@d", "<a@b>", "ä@b.c"]
        {
            let target = SmtpTarget { to: vec![bad.to_owned()], ..smtp() };
            assert_eq!(target.check(), Err(ChannelError::Mail(bad.to_owned())), "{bad:?}");
        }
        assert_eq!(SmtpTarget { to: Vec::new(), ..smtp() }.check(), Err(ChannelError::Recipients));
        assert_eq!(SmtpTarget { to: Vec::new(), to_owner: true, ..smtp() }.check(), Ok(()));
    }

    #[test]
    fn a_target_reads_back_and_unknown_fields_are_refused() {
        let target = ChannelTarget::Smtp(smtp());
        let text = serde_json::to_string(&target).unwrap();
        assert_eq!(serde_json::from_str::<ChannelTarget>(&text).unwrap(), target);
        let odd = text.replace("\"port\"", "\"porto\"");
        assert!(serde_json::from_str::<ChannelTarget>(&odd).is_err());
    }
}
