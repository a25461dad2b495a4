//! Every operation, tried by every kind of operator.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::http::Method;
use claviger_control::{
    api,
    operation::{Access, Operation},
};
use claviger_domain::operator::{
    Role,
    access::{Holder, Request, judge},
    verb::Verb,
};
use serde_json::{Value, json};

use crate::house::{House, Person};

/// Those who try everything.
const PEOPLE: usize = 7;

/// Verbs that need no operation: what they name is done by a command alone, or by nobody yet.
const WITHOUT_OPERATION: [Verb; 3] = [Verb::KeyInspect, Verb::KeyPurge, Verb::SettingsShow];

#[test]
fn every_verb_has_its_operation() {
    let of = |verb: Verb| api::operations().iter().filter(|o| o.access == Access::Operator(verb)).count();
    for verb in Verb::ALL {
        let has = of(*verb);
        assert!(has == 1 || (has == 0 && WITHOUT_OPERATION.contains(verb)), "{}: {has}", verb.as_str());
    }
}

/// What there is to be named: a workspace, a key in it, and the key's rotation.
struct Things {
    workspace: String,
    key: String,
    rotation: String,
}

/// Something of the kind that the path speaks of, there or not.
fn path_of(operation: &Operation, things: &Things) -> String {
    let first = operation.path.split('/').nth(1).unwrap_or_default();
    let id = match first {
        "keys" => things.key.as_str(),
        "workspaces" => things.workspace.as_str(),
        "rotations" => things.rotation.as_str(),
        "certificates" => "crt_0",
        "approvals" => "apr_0",
        "operator-tokens" | "break-glass" => "opt_0",
        _ => "nothing",
    };
    let word = |word: &str| if word.starts_with('{') { id.to_owned() } else { word.to_owned() };
    operation.path.split('/').map(word).collect::<Vec<_>>().join("/")
}

fn body_of(operation: &Operation) -> Option<Value> {
    operation.shape.body.is_some().then(|| json!({}))
}

/// How an operation answers somebody: `-` never, `.` yes, `code` with a fresh second factor, `two` with a second
/// person too.
async fn tried(house: &House, by: &Person, operation: &Operation, things: &Things) -> &'static str {
    let (path, body) = (path_of(operation, things), body_of(operation));
    let ask = |method: &Method| (method.clone(), path.clone(), body.clone());
    let (method, place, json) = ask(&operation.method);
    let (status, said) = house.ask(Some(&by.token), method, &place, json).await;
    let kind = said["type"].as_str().unwrap_or_default().to_owned();
    let is_asked_for_more = status != 401 || kind == "second_factor_required";
    assert!(is_asked_for_more && status < 500, "{} as {}: {status} {said}", operation.id(), by.name);
    match (status, kind.as_str()) {
        (403, "forbidden") => "-",
        (401, "second_factor_required") => {
            let (method, place, json) = ask(&operation.method);
            let (status, said) = house.proved(by, method, &place, json).await;
            assert_ne!(status, 401, "{} {said}", operation.id());
            if status == 202 { "two" } else { "code" }
        }
        (202, _) => "two",
        _ => ".",
    }
}

/// What the rule says of somebody.
fn ruled(holder: Holder<'_>, role: Role, is_bound: bool, verb: Verb) -> &'static str {
    let roles = match holder {
        Holder::Machine(_) => [role, Role::Owner],
        Holder::Local | Holder::Person | Holder::BreakGlass => [role, role],
    };
    // What an approval takes is more than its verb says: see `judge::effect`.
    let effect = if verb == Verb::ApprovalApprove { Verb::KeyCreate.effect() } else { verb.effect() };
    match judge(&Request { holder, roles, is_bound, verb, effect }) {
        Err(_) => "-",
        Ok(needs) if needs.second_person => "two",
        Ok(needs) if needs.second_factor => "code",
        Ok(_) => ".",
    }
}

#[tokio::test]
async fn every_operation_answers_every_role_as_the_rule_says() {
    let house = House::new().await;
    let make = |path: &'static str, body: Value| {
        let house = &house;
        async move {
            let (status, made) = house.ask(None, Method::POST, path, Some(body)).await;
            assert_eq!(status, 201, "{made}");
            made["id"].as_str().unwrap().to_owned()
        }
    };
    make("/owners", json!({"name": "o"})).await;
    let workspace = make("/workspaces", json!({"name": "one"})).await;
    let key = make("/keys", json!({"name": "k", "workspace": "one"})).await;
    let (status, begun) =
        house.ask(None, Method::POST, &format!("/keys/{key}/rotate"), Some(json!({}))).await;
    assert_eq!(status, 201, "{begun}");
    let things = Things { workspace, key, rotation: begun["rotation"].as_str().unwrap().to_owned() };
    let one = things.workspace.as_str();
    let ann = house.first("ann").await;
    let mut table: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut wrong = String::new();
    for (name, role, workspace) in [
        ("owner", Role::Owner, None),
        ("admin", Role::Admin, None),
        ("auditor", Role::Auditor, None),
        ("viewer", Role::Viewer, None),
        ("one-admin", Role::Admin, Some(one)),
        ("one-viewer", Role::Viewer, Some(one)),
        ("machine", Role::Admin, None),
    ] {
        // The enroller's session would be idle too long.
        let ann = house.login("ann", &ann.totp).await;
        let mut person = house.enrol(&ann, name, role.as_str(), workspace).await;
        let holder = if name == "machine" {
            let body = json!({"name": "ci", "role": "admin", "expires_in": "30d"});
            let (status, minted) = house.proved(&ann, Method::POST, "/operator-tokens", Some(body)).await;
            assert_eq!(status, 201, "{minted}");
            minted["token"].as_str().unwrap().clone_into(&mut person.token);
            Holder::Machine(&[])
        } else {
            Holder::Person
        };
        for operation in api::operations() {
            let Access::Operator(verb) = operation.access else { continue };
            // Tried at the end: it would end the session.
            if verb == Verb::SessionEnd {
                continue;
            }
            let found = tried(&house, &person, &operation, &things).await;
            let said = ruled(holder, role, workspace.is_some(), verb);
            if found != said {
                let _ = writeln!(wrong, "{name} {}: {found}, the rule says {said}", verb.as_str());
            }
            table.entry(verb.as_str()).or_default().push(found);
        }
        let (status, ended) = house.ask(Some(&person.token), Method::DELETE, "/session", None).await;
        assert_eq!(status, 200, "{ended}");
        let (status, _) = house.ask(Some(&person.token), Method::GET, "/session", None).await;
        assert_eq!(status, 401, "{name} logged out");
    }
    assert_eq!(wrong, "");
    // Tried above, at each one's end.
    table.insert("session.end", vec!["."; PEOPLE]);
    let all = api::operations();
    for operation in &all {
        let Access::Operator(verb) = operation.access else { continue };
        assert_eq!(table.get(verb.as_str()).map(Vec::len), Some(PEOPLE), "{}", verb.as_str());
    }
    let open: Vec<String> = all.iter().filter(|o| o.access == Access::Anyone).map(Operation::id).collect();
    assert_eq!(table.len() + open.len(), all.len(), "each verb has one operation");
    let mut text = format!(
        "{:26}{:7}{:7}{:9}{:8}{:11}{:12}machine\n",
        "", "owner", "admin", "auditor", "viewer", "one-admin", "one-viewer"
    );
    for (verb, cells) in table {
        let line = format!(
            "{verb:26}{:7}{:7}{:9}{:8}{:11}{:12}{}",
            cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6]
        );
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text, "\nfor whoever reaches the listener: {}", open.join(", "));
    insta::assert_snapshot!("who_may_do_what", text);
}
