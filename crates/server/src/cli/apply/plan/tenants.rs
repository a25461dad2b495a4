//! Workspaces, owners and policies.

use claviger_control::api::{owners::CreateOwner, policies::PolicyView, workspaces::CreateWorkspace};
use claviger_domain::tenancy::Environment;
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::{Action, Call, Field, Plan, Step, Wish, limits, unfulfilled};
use crate::cli::{
    apply::{
        declaration::{Declared, PolicyTable},
        present::{Present, place},
    },
    output::CliError,
};

pub(super) fn workspaces(plan: &mut Plan, declared: &Declared, present: &Present) -> Result<(), CliError> {
    for wanted in &declared.all.workspace {
        let name = wanted.name.get_ref();
        let class = wanted.environment.as_ref().map(|e| e.get_ref().as_str());
        let Some(there) = present.workspace(name) else {
            let environment = class.unwrap_or(Environment::Development.as_str()).to_owned();
            let first = Wish::new("environment", environment.as_str());
            let (fields, _) = unfulfilled([vec![first], limits(&wanted.limits)].concat(), None);
            let body = json!(CreateWorkspace { name: name.clone(), environment, limits: wanted.limits });
            plan.steps.push(made("workspace", name, fields, "/admin/v1/workspaces", body));
            continue;
        };
        if there.archived_at.is_some() {
            return Err(declared.wrong(&wanted.name.span(), &format!("the workspace `{name}` is archived")));
        }
        let class = class.map(|class| Wish::new("environment", class));
        let wishes = class.into_iter().chain(limits(&wanted.limits)).collect();
        let path = place("workspaces", &there.id, "");
        plan.steps.extend(changed(("workspace", name), wishes, &json!(there), (path, there.version)));
    }
    Ok(())
}

pub(super) fn owners(plan: &mut Plan, declared: &Declared, present: &Present) -> Result<(), CliError> {
    for wanted in &declared.all.owner {
        let name = wanted.name.get_ref();
        let email = wanted.email.as_ref().map(|e| e.get_ref().clone());
        let Some(there) = present.owner(name) else {
            let email = email.filter(|e| !e.is_empty());
            let first = email.as_deref().map(|email| Wish::new("email", email));
            let (fields, _) = unfulfilled(first.into_iter().chain(limits(&wanted.limits)).collect(), None);
            let body = json!(CreateOwner { name: name.clone(), email, limits: wanted.limits });
            plan.steps.push(made("owner", name, fields, "/admin/v1/owners", body));
            continue;
        };
        if there.archived_at.is_some() {
            return Err(declared.wrong(&wanted.name.span(), &format!("the owner `{name}` is archived")));
        }
        let email = email.map(|email| Wish {
            field: "email",
            shown: if email.is_empty() { Value::Null } else { json!(email) },
            sent: json!(email),
        });
        let wishes = email.into_iter().chain(limits(&wanted.limits)).collect();
        let path = place("owners", &there.id, "");
        plan.steps.extend(changed(("owner", name), wishes, &json!(there), (path, there.version)));
    }
    Ok(())
}

pub(super) fn policies(plan: &mut Plan, declared: &Declared, present: &Present) {
    let default = &present.default_policy;
    if let Some(table) = &declared.all.policy {
        plan.steps.extend(policy(None, table, default));
    }
    for workspace in &declared.all.workspace {
        let Some(table) = &workspace.policy else { continue };
        let name = workspace.name.get_ref();
        let there = present.workspace(name).and_then(|w| present.policies.get(&w.id));
        // A new workspace begins with the default.
        let fresh = || PolicyView { version: 0, ..default.clone() };
        let there = there.cloned().unwrap_or_else(fresh);
        plan.steps.extend(policy(Some(name), table, &there));
    }
}

fn demands(view: &PolicyView) -> Value {
    serde_json::to_value(view).unwrap_or_default()
}

fn policy(workspace: Option<&str>, table: &Spanned<PolicyTable>, there: &PolicyView) -> Option<Step> {
    let table = table.get_ref();
    let wishes = [
        table.max_keys.map(|n| Wish::new("max_keys", n)),
        table.require_ip.map(|b| Wish::new("require_ip", b)),
        table.require_mfa.map(|b| Wish::new("require_mfa", b)),
        table.rotation_days.map(|n| Wish::new("rotation_days", n)),
        table.revoke_unused_days.map(|n| Wish::number("revoke_unused_days", u64::from(n))),
        table.notice_days.clone().map(|days| Wish::list("notice_days", days)),
        table.require.map(|proofs| Wish::list("require", Vec::<String>::from(proofs))),
        table.forbid_cache.map(|b| Wish::new("forbid_cache", b)),
    ];
    let (fields, mut body) = unfulfilled(wishes.into_iter().flatten().collect(), Some(&demands(there)));
    if fields.is_empty() {
        return None;
    }
    if let Some(workspace) = workspace {
        body.insert("workspace".to_owned(), json!(workspace));
    }
    let path = "/admin/v1/policy".to_owned();
    let call = Call::Update { path, body: Value::Object(body), version: there.version };
    Some(Step {
        action: Action::Change,
        kind: "policy",
        name: workspace.unwrap_or("(default)").to_owned(),
        fields,
        call,
    })
}

/// Workspaces and owners that a file which speaks of such does not name, and what archives them.
pub(super) fn undeclared(declared: &Declared, present: &Present) -> Vec<Step> {
    let all = &declared.all;
    let archive = |kind, collection, id: &str, name: &str| Step {
        action: Action::Remove,
        kind,
        name: name.to_owned(),
        fields: Vec::new(),
        call: Call::Verb { path: place(collection, id, "/archive"), body: Value::Object(Map::new()) },
    };
    let mut steps = Vec::new();
    if !all.owner.is_empty() {
        let is_named = |id: &str, name: &str| {
            let keys = all.key.iter().map(|k| k.owner.get_ref());
            all.owner.iter().map(|o| o.name.get_ref()).chain(keys).any(|n| n == name || n == id)
        };
        let rest = present.owners.iter().filter(|o| o.archived_at.is_none() && !is_named(&o.id, &o.name));
        steps.extend(rest.map(|o| archive("owner", "owners", &o.id, &o.name)));
    }
    if !all.workspace.is_empty() {
        let is_named = |id: &str, name: &str| {
            let keys = all.key.iter().map(|k| k.workspace.get_ref());
            all.workspace.iter().map(|w| w.name.get_ref()).chain(keys).any(|n| n == name || n == id)
        };
        let rest = present.workspaces.iter();
        let rest = rest.filter(|w| w.archived_at.is_none() && !is_named(&w.id, &w.name));
        steps.extend(rest.map(|w| archive("workspace", "workspaces", &w.id, &w.name)));
    }
    steps
}

/// The step that fulfils what is not fulfilled; `None`: everything is.
fn changed(
    (kind, name): (&'static str, &str),
    wishes: Vec<Wish>,
    present: &Value,
    (path, version): (String, i64),
) -> Option<Step> {
    let (fields, body) = unfulfilled(wishes, Some(present));
    if fields.is_empty() {
        return None;
    }
    let call = Call::Update { path, body: Value::Object(body), version };
    Some(Step { action: Action::Change, kind, name: name.to_owned(), fields, call })
}

pub(super) fn made(
    kind: &'static str,
    name: &str,
    fields: Vec<Field>,
    path: &'static str,
    body: Value,
) -> Step {
    Step { action: Action::Create, kind, name: name.to_owned(), fields, call: Call::Create { path, body } }
}
