//! Keys.

use claviger_control::api::{keys::RevokeKey, view::KeyView};
use claviger_domain::{
    clock::Timestamp,
    key::{RevocationReason, cache::CacheTtl},
    proof::Proof,
};
use serde_json::{Map, Value, json};

use super::{Action, Call, Field, Plan, Step, Wish, limits, tenants::made, unfulfilled};
use crate::cli::{
    apply::{
        declaration::{Declared, KeyTable, Lifetime},
        present::{Present, place},
    },
    output::CliError,
};

const MICROS_PER_SEC: i64 = 1_000_000;
/// An expiry that is so near the declared one is the declared one, in seconds: what was asked for "from now" was asked
/// a little later.
const NEAR_SECS: u64 = 60;

pub(super) fn keys(
    plan: &mut Plan,
    declared: &Declared,
    present: &Present,
    now: Timestamp,
) -> Result<(), CliError> {
    for wanted in &declared.all.key {
        check_home(declared, present, wanted)?;
        let workspace = present.workspace(wanted.workspace.get_ref());
        let there = workspace.and_then(|w| present.key(&w.id, wanted.name.get_ref()));
        match there {
            None => plan.steps.push(create(declared, present, wanted)?),
            Some(there) => plan.steps.extend(change(declared, present, wanted, there, now)?),
        }
    }
    Ok(())
}

fn shown_name(wanted: &KeyTable) -> String {
    format!("{}/{}", wanted.workspace.get_ref(), wanted.name.get_ref())
}

/// The workspace and the owner must be there, or be declared.
fn check_home(declared: &Declared, present: &Present, wanted: &KeyTable) -> Result<(), CliError> {
    let all = &declared.all;
    let (workspace, owner) = (wanted.workspace.get_ref(), wanted.owner.get_ref());
    let comes = all.workspace.iter().any(|w| w.name.get_ref() == workspace);
    let there = present.workspace(workspace).map(|w| w.archived_at.is_none());
    stands(there, comes, "workspace", workspace)
        .map_err(|why| declared.wrong(&wanted.workspace.span(), &why))?;
    let comes = all.owner.iter().any(|o| o.name.get_ref() == owner);
    let there = present.owner(owner).map(|o| o.archived_at.is_none());
    stands(there, comes, "owner", owner).map_err(|why| declared.wrong(&wanted.owner.span(), &why))
}

fn stands(there: Option<bool>, comes: bool, what: &str, name: &str) -> Result<(), String> {
    match there {
        Some(true) => Ok(()),
        Some(false) => Err(format!("the {what} `{name}` is archived")),
        None if comes => Ok(()),
        None => Err(format!("the {what} `{name}` is neither there nor declared")),
    }
}

/// All that a key shall be, but for its expiry.
fn wishes(wanted: &KeyTable) -> Vec<Wish> {
    let hours = |text: &String| Wish {
        field: "hours",
        shown: if text.is_empty() { Value::Null } else { json!(text) },
        sent: json!(text),
    };
    let cache = |ttl: Option<CacheTtl>| {
        let (shown, sent) =
            (ttl.map(|ttl| ttl.to_string()), ttl.map_or_else(|| "off".to_owned(), |ttl| ttl.to_string()));
        Wish { field: "cache", shown: json!(shown), sent: json!(sent) }
    };
    let wishes = [
        wanted.models.as_ref().map(|l| Wish::list("models", l.iter().map(|m| m.as_str()))),
        wanted.endpoints.as_ref().map(|l| Wish::list("endpoints", l.iter().map(|e| e.as_str()))),
        wanted.scopes.as_ref().map(|s| Wish::list("scopes", s.words())),
        wanted.allow_ip.as_ref().map(|l| Wish::list("allow_ip", l.entries())),
        wanted.max_uses.map(|n| Wish::number("max_uses", n)),
        wanted.hours.as_ref().map(hours),
        wanted.on_disconnect.map(|d| Wish::new("on_disconnect", d.as_str())),
        wanted.cache.map(cache),
        wanted.require.as_ref().map(|r| Wish::list("require", r.get_ref().iter().map(Proof::as_str))),
    ];
    wishes.into_iter().flatten().chain(limits(&wanted.limits)).collect()
}

fn create(declared: &Declared, present: &Present, wanted: &KeyTable) -> Result<Step, CliError> {
    check_addresses(declared, present, wanted)?;
    check_secret(declared, wanted)?;
    let (mut fields, mut body) = unfulfilled(wishes(wanted), None);
    let mut put = |name: &'static str, value: Value| {
        fields.insert(0, Field { name, old: Value::Null, new: value.clone() });
        body.insert(name.to_owned(), value);
    };
    if let Some(lifetime) = &wanted.expires_in {
        put("expires_in", json!(span(*lifetime.get_ref())));
    }
    if wanted.test.as_ref().is_some_and(|test| *test.get_ref()) {
        put("test", json!(true));
    }
    put("owner", json!(wanted.owner.get_ref()));
    for (name, value) in
        [("name", json!(wanted.name.get_ref())), ("workspace", json!(wanted.workspace.get_ref()))]
    {
        body.insert(name.to_owned(), value);
    }
    if wanted.sign == Some(true) {
        sign(&mut fields, &mut body);
    }
    body.insert("wrapped".to_owned(), json!(true));
    Ok(made("key", &shown_name(wanted), fields, "/admin/v1/keys", Value::Object(body)))
}

fn sign(fields: &mut Vec<Field>, body: &mut Map<String, Value>) {
    fields.push(Field { name: "sign", old: json!(false), new: json!(true) });
    body.insert("sign".to_owned(), json!(true));
}

/// A new key that must sign has something to sign with.
fn check_secret(declared: &Declared, wanted: &KeyTable) -> Result<(), CliError> {
    match &wanted.require {
        Some(require) if require.get_ref().contains(Proof::Signature) && wanted.sign != Some(true) => {
            let why = "a key that must sign needs a secret to sign with: give `sign = true`";
            Err(declared.wrong(&require.span(), why))
        }
        Some(_) | None => Ok(()),
    }
}

/// A key without addresses is not made where addresses are demanded.
fn check_addresses(declared: &Declared, present: &Present, wanted: &KeyTable) -> Result<(), CliError> {
    let name = wanted.workspace.get_ref();
    let tables = declared.all.workspace.iter().find(|w| w.name.get_ref() == name);
    let own = tables.and_then(|w| w.policy.as_ref()).and_then(|p| p.get_ref().require_ip);
    let there = present.workspace(name).and_then(|w| present.policies.get(&w.id));
    let default = declared.all.policy.as_ref().and_then(|p| p.get_ref().require_ip);
    let inherited = || match there {
        Some(policy) if policy.source == "workspace" => policy.require_ip,
        Some(_) | None => default.unwrap_or(present.default_policy.require_ip),
    };
    let demanded = own.unwrap_or_else(inherited);
    if demanded && wanted.allow_ip.as_ref().is_none_or(claviger_domain::address::CidrList::is_empty) {
        let why = format!("the policy of `{name}` demands a list of addresses: give `allow_ip`");
        return Err(declared.wrong(&wanted.name.span(), &why));
    }
    Ok(())
}

fn change(
    declared: &Declared,
    present: &Present,
    wanted: &KeyTable,
    there: &KeyView,
    now: Timestamp,
) -> Result<Option<Step>, CliError> {
    let name = shown_name(wanted);
    if present.owner(wanted.owner.get_ref()).is_none_or(|owner| owner.id != there.owner) {
        let owner = present.owner(&there.owner).map_or(there.owner.as_str(), |o| o.name.as_str());
        let why = format!("the key `{name}` belongs to `{owner}`, which never changes");
        return Err(declared.wrong(&wanted.owner.span(), &why));
    }
    if let Some(test) = &wanted.test
        && *test.get_ref() != (there.class == "test")
    {
        let why = format!("the key `{name}` is a {} key, which never changes", there.class);
        return Err(declared.wrong(&test.span(), &why));
    }
    let signs = present.signs.contains(&there.id);
    let present = serde_json::to_value(there).unwrap_or_default();
    let (mut fields, mut body) = unfulfilled(wishes(wanted), Some(&present));
    if let Some(lifetime) = &wanted.expires_in {
        let wish = expiry(*lifetime.get_ref(), there, now);
        let wish =
            wish.map_err(|why| declared.wrong(&lifetime.span(), &format!("the key `{name}` {why}")))?;
        if let Some((new, sent)) = wish {
            fields.push(Field { name: "expires_at", old: present["expires_at"].clone(), new });
            body.insert("expires_in".to_owned(), json!(sent));
        }
    }
    if wanted.sign == Some(true) && !signs {
        sign(&mut fields, &mut body);
    }
    if fields.is_empty() {
        return Ok(None);
    }
    let path = place("keys", &there.id, "");
    let call = Call::Update { path, body: Value::Object(body), version: there.version };
    Ok(Some(Step { action: Action::Change, kind: "key", name, fields, call }))
}

/// When a key shall expire, and what to send so that it does; `None` when it does already. It is counted from when the
/// key began to work, so that the same declaration means the same moment tomorrow.
fn expiry(
    lifetime: Lifetime,
    there: &KeyView,
    now: Timestamp,
) -> Result<Option<(Value, String)>, &'static str> {
    let Lifetime::Secs(secs) = lifetime else {
        return Ok(there.expires_at.map(|_| (Value::Null, "never".to_owned())));
    };
    let begin = there.not_before.map_or(there.created_at.0, |at| at.0.max(there.created_at.0));
    let end = begin.plus_micros(i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(MICROS_PER_SEC));
    let secs_from = |a: Timestamp, b: Timestamp| b.as_micros().saturating_sub(a.as_micros()) / MICROS_PER_SEC;
    if there.expires_at.is_some_and(|at| secs_from(at.0, end).unsigned_abs() < NEAR_SECS) {
        return Ok(None);
    }
    let left = secs_from(now, end);
    if left < 1 {
        return Err("would be over at once: it is older than that; rotate or revoke it instead");
    }
    Ok(Some((json!(end.to_rfc3339()), format!("{left}s"))))
}

fn span(lifetime: Lifetime) -> String {
    match lifetime {
        Lifetime::Never => "never".to_owned(),
        Lifetime::Secs(secs) if secs % 86_400 == 0 => format!("{}d", secs / 86_400),
        Lifetime::Secs(secs) if secs % 3_600 == 0 => format!("{}h", secs / 3_600),
        Lifetime::Secs(secs) => format!("{secs}s"),
    }
}

/// Living keys, in workspaces that the file speaks of, that a file which declares keys does not name, and what revokes
/// them. The old half of a pair in rotation goes its own way.
pub(super) fn undeclared(declared: &Declared, present: &Present) -> Vec<Step> {
    let is_named = |key: &KeyView| {
        declared.all.key.iter().any(|wanted| {
            let workspace = present.workspace(wanted.workspace.get_ref());
            workspace.is_some_and(|w| w.id == key.workspace) && *wanted.name.get_ref() == key.name
        })
    };
    let reason = RevocationReason::UserRequest.as_str().to_owned();
    let body = serde_json::to_value(RevokeKey { reason, now: false, wait: false });
    let body = body.unwrap_or_else(|_| Value::Object(Map::new()));
    let rest = present.keys.iter().filter(|key| !is_named(key));
    rest.map(|key| Step {
        action: Action::Remove,
        kind: "key",
        name: format!("{}/{}", present.workspace_name(&key.workspace), key.name),
        fields: Vec::new(),
        call: Call::Verb { path: place("keys", &key.id, "/revoke"), body: body.clone() },
    })
    .collect()
}
