//! Channels. Their kind cannot be changed: one that shall be of the other is taken out and added anew.

use std::{io::Read, path::PathBuf};

use claviger_control::api::channels::{AddChannel, AddSmtp, AddWebhook};
use claviger_domain::notice::{Severity, channel::ChannelTarget};
use serde_json::{Value, json};
use toml::Spanned;

use super::{Action, Call, Field, Plan, Step, tenants::made};
use crate::cli::{
    apply::{
        declaration::{ChannelTable, Declared},
        present::{ChannelRow, Present, place},
    },
    output::CliError,
};

/// No secret is longer, in bytes.
const LONGEST_SECRET: u64 = 16 * 1024;
const PATH: &str = "/admin/v1/channels";

pub(super) fn channels(plan: &mut Plan, declared: &Declared, present: &Present) -> Result<(), CliError> {
    for wanted in &declared.all.channel {
        let name = wanted.name.get_ref();
        let target = wanted.target().map_err(|why| declared.wrong(&wanted.name.span(), why))?;
        if let Some(workspace) = &wanted.workspace {
            let comes = declared.all.workspace.iter().any(|w| w.name.get_ref() == workspace.get_ref());
            if !comes && present.workspace(workspace.get_ref()).is_none_or(|w| w.archived_at.is_some()) {
                let why = format!("the workspace `{}` is neither there nor declared", workspace.get_ref());
                return Err(declared.wrong(&workspace.span(), &why));
            }
        }
        let there = present.channels.iter().find(|c| c.name == *name);
        let fields = fields(wanted, &target, present, there);
        if fields.is_empty() {
            continue;
        }
        let is_same_kind = there.is_none_or(|there| there.kind == target.kind());
        let body = body(declared, wanted, target)?;
        plan.steps.push(match there {
            None => made("channel", name, fields, PATH, body),
            Some(there) => {
                let path = place("channels", &there.id, "");
                let call = if is_same_kind {
                    Call::Update { path, body: as_patch(body), version: there.version }
                } else {
                    Call::Replace { old: path, path: PATH, body }
                };
                Step { action: Action::Change, kind: "channel", name: name.clone(), fields, call }
            }
        });
    }
    Ok(())
}

/// What makes a channel as the change of one: an absent workspace means all of them.
fn as_patch(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.entry("workspace").or_insert_with(|| json!(""));
        fields.entry("min_severity").or_insert_with(|| json!(Severity::Info.as_str()));
    }
    body
}

/// What differs from the channel that is there, or all that one that is not shall be.
fn fields(
    wanted: &ChannelTable,
    target: &ChannelTarget,
    present: &Present,
    there: Option<&ChannelRow>,
) -> Vec<Field> {
    let severity = wanted.min_severity.unwrap_or(Severity::Info).as_str();
    let workspace = wanted.workspace.as_ref().map(|w| w.get_ref().clone());
    let workspace_there =
        there.and_then(|c| c.workspace.as_deref()).map(|id| present.workspace_name(id).to_owned());
    let workspace_id = workspace.as_deref().and_then(|w| present.workspace(w)).map(|w| w.name.clone());
    let pairs = [
        ("target", there.map(|c| json!(c.target)), json!(shown(target))),
        ("username", there.map(|c| c.smtp["username"].clone()), json!(username(target))),
        ("from", there.map(|c| c.smtp["from"].clone()), json!(sender(target))),
        ("allow_private", there.map(|c| c.webhook["allow_private"].clone()), json!(allows_private(target))),
        ("min_severity", there.map(|c| json!(c.min_severity)), json!(severity)),
        ("workspace", Some(json!(workspace_there)), json!(workspace_id.or(workspace))),
    ];
    let pairs = pairs.into_iter().map(|(name, old, new)| (name, old.unwrap_or_default(), new));
    pairs.filter(|(_, old, new)| old != new).map(|(name, old, new)| Field { name, old, new }).collect()
}

fn username(target: &ChannelTarget) -> Option<&str> {
    match target {
        ChannelTarget::Smtp(smtp) => smtp.username.as_deref(),
        ChannelTarget::Webhook(_) => None,
    }
}

fn sender(target: &ChannelTarget) -> Option<&str> {
    match target {
        ChannelTarget::Smtp(smtp) => Some(&smtp.from),
        ChannelTarget::Webhook(_) => None,
    }
}

const fn allows_private(target: &ChannelTarget) -> Option<bool> {
    match target {
        ChannelTarget::Smtp(_) => None,
        ChannelTarget::Webhook(hook) => Some(hook.allow_private),
    }
}

/// As the list of channels shows it.
fn shown(target: &ChannelTarget) -> String {
    match target {
        ChannelTarget::Webhook(hook) => hook.url.clone(),
        ChannelTarget::Smtp(smtp) => {
            let owners = smtp.to_owner.then_some("owners");
            let recipients: Vec<&str> = smtp.to.iter().map(String::as_str).chain(owners).collect();
            format!("{} via {}:{} ({})", recipients.join(", "), smtp.host, smtp.port, smtp.security.as_str())
        }
    }
}

fn body(declared: &Declared, wanted: &ChannelTable, target: ChannelTarget) -> Result<Value, CliError> {
    let mut body = AddChannel {
        name: wanted.name.get_ref().clone(),
        smtp: None,
        webhook: None,
        min_severity: wanted.min_severity.map(|s| s.as_str().to_owned()),
        workspace: wanted.workspace.as_ref().map(|w| w.get_ref().clone()),
    };
    match target {
        ChannelTarget::Smtp(smtp) => {
            body.smtp = Some(AddSmtp {
                host: smtp.host,
                port: Some(smtp.port),
                security: Some(smtp.security.as_str().to_owned()),
                username: smtp.username,
                password: secret(declared, wanted.password_file.as_ref())?,
                from: smtp.from,
                to: smtp.to,
                to_owner: smtp.to_owner,
            });
        }
        ChannelTarget::Webhook(hook) => {
            let secret = secret(declared, wanted.secret_file.as_ref())?;
            body.webhook = Some(AddWebhook { url: hook.url, allow_private: hook.allow_private, secret });
        }
    }
    serde_json::to_value(&body).map_err(|e| CliError::failed(e.to_string()))
}

/// A secret from a file, whose path is counted from the declaration's folder.
fn secret(declared: &Declared, file: Option<&Spanned<PathBuf>>) -> Result<Option<String>, CliError> {
    let Some(file) = file else { return Ok(None) };
    let path = declared.path.parent().map_or_else(|| file.get_ref().clone(), |p| p.join(file.get_ref()));
    let wrong =
        |why: &dyn std::fmt::Display| declared.wrong(&file.span(), &format!("{}: {why}", path.display()));
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|f| f.take(LONGEST_SECRET).read_to_string(&mut text));
    read.map_err(|e| wrong(&e))?;
    let text = text.trim().to_owned();
    if text.is_empty() { Err(wrong(&"it holds nothing")) } else { Ok(Some(text)) }
}

/// Channels that a file which declares channels does not name, and what takes them out.
pub(super) fn undeclared(declared: &Declared, present: &Present) -> Vec<Step> {
    let is_named = |name: &str| declared.all.channel.iter().any(|c| c.name.get_ref() == name);
    let rest = present.channels.iter().filter(|c| !is_named(&c.name));
    rest.map(|channel| Step {
        action: Action::Remove,
        kind: "channel",
        name: channel.name.clone(),
        fields: Vec::new(),
        call: Call::Delete { path: place("channels", &channel.id, "") },
    })
    .collect()
}
