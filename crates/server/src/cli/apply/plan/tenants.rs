//! Workspaces, owners and policies.

use claviger_control::api::{
    owners::{CreateOwner, UpdateOwner},
    policies::PolicyView,
    workspaces::{CreateWorkspace, UpdateWorkspace},
};
use claviger_domain::tenancy::Environment;
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::{Action, Call, Field, Plan, Step, Wish, unfulfilled};
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
        let Some(there) = present.workspace(name) else {
            let environment = wanted.environment.as_ref().map_or(Environment::Development, |e| *e.get_ref());
            let environment = environment.as_str().to_owned();
            plan.steps.push(made(
                "workspace",
                name,
                vec![Field { name: "environment", old: Value::Null, new: json!(environment) }],
                "/admin/v1/workspaces",
                json!(CreateWorkspace { name: name.clone(), environment }),
            ));
            continue;
        };
        if there.archived_at.is_some() {
            return Err(declared.wrong(&wanted.name.span(), &format!("the workspace `{name}` is archived")));
        }
        if let Some(environment) = &wanted.environment
            && environment.get_ref().as_str() != there.environment
        {
            let class = environment.get_ref().as_str();
            let body = json!(UpdateWorkspace { environment: class.to_owned() });
            plan.steps.push(changed(
                "workspace",
                name,
                Field { name: "environment", old: json!(there.environment), new: json!(class) },
                Call::Update { path: place("workspaces", &there.id, ""), body, version: there.version },
            ));
        }
    }
    Ok(())
}

pub(super) fn owners(plan: &mut Plan, declared: &Declared, present: &Present) -> Result<(), CliError> {
    for wanted in &declared.all.owner {
        let name = wanted.name.get_ref();
        let email = wanted.email.as_ref().map(|e| e.get_ref().clone()).filter(|e| !e.is_empty());
        let Some(there) = present.owner(name) else {
            let field = Field { name: "email", old: Value::Null, new: json!(email) };
            let fields = if email.is_some() { vec![field] } else { Vec::new() };
            let body = json!(CreateOwner { name: name.clone(), email });
            plan.steps.push(made("owner", name, fields, "/admin/v1/owners", body));
            continue;
        };
        if there.archived_at.is_some() {
            return Err(declared.wrong(&wanted.name.span(), &format!("the owner `{name}` is archived")));
        }
        if let Some(email) = &wanted.email
            && there.email.as_deref().unwrap_or_default() != email.get_ref()
        {
            let body = json!(UpdateOwner { email: email.get_ref().clone() });
            plan.steps.push(changed(
                "owner",
                name,
                Field { name: "email", old: json!(there.email), new: json!(email.get_ref()) },
                Call::Update { path: place("owners", &there.id, ""), body, version: there.version },
            ));
        }
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

fn changed(kind: &'static str, name: &str, field: Field, call: Call) -> Step {
    Step { action: Action::Change, kind, name: name.to_owned(), fields: vec![field], call }
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
