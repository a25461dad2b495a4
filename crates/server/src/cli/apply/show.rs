//! How a plan looks: coloured on a terminal, plain lines in a pipe, JSON when asked.

use serde_json::{Map, Value, json};

use super::plan::{Action, Field, Plan, Step};
use crate::cli::Context;

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// What has become of a step.
pub enum Outcome {
    /// It is done; what its answer holds that must be handed on.
    Done(Map<String, Value>),
    /// It waits for a second person.
    Waits(String),
    /// It failed.
    Failed(String),
    /// It was not reached, or only planned.
    Left,
}

/// Prints the plan for people.
pub fn plan(context: &Context, plan: &Plan) {
    let is_coloured = context.out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    for step in &plan.steps {
        let line = line(step);
        let colour = match step.action {
            Action::Create => GREEN,
            Action::Change => YELLOW,
            Action::Remove => RED,
        };
        context.out.line(&if is_coloured { format!("{colour}{line}{PLAIN}") } else { line });
    }
    for it in &plan.undeclared {
        context.out.line(&format!("- {} {}: not declared, stays", it.kind, it.name));
    }
}

/// One step as a line.
#[must_use]
pub fn line(step: &Step) -> String {
    let (kind, name) = (step.kind, &step.name);
    let fields: Vec<String> = step.fields.iter().map(|f| field(step.action, f)).collect();
    let fields = fields.join(", ");
    match step.action {
        Action::Create if fields.is_empty() => format!("+ {kind} {name}"),
        Action::Create => format!("+ {kind} {name}: {fields}"),
        Action::Change => format!("~ {kind} {name}: {fields}"),
        Action::Remove => {
            let verb = match kind {
                "key" => "is revoked",
                "channel" => "is taken out",
                _ => "is archived",
            };
            format!("- {kind} {name}: {verb}")
        }
    }
}

fn field(action: Action, field: &Field) -> String {
    let new = text(&field.new);
    match action {
        Action::Create => format!("{} {new}", field.name),
        Action::Change | Action::Remove => format!("{} {} -> {new}", field.name, text(&field.old)),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Array(items) if items.is_empty() => "all".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// `2 to create, 1 to change`.
#[must_use]
pub fn summary(plan: &Plan) -> String {
    let counted = [(Action::Create, "create"), (Action::Change, "change"), (Action::Remove, "remove")];
    let counted = counted.map(|(action, word)| format!("{} to {word}", plan.count(action)));
    counted.join(", ")
}

/// The plan, and what has become of it, as JSON.
#[must_use]
pub fn json(plan: &Plan, outcomes: &[Outcome]) -> Value {
    let left = Outcome::Left;
    let changes = plan.steps.iter().enumerate().map(|(at, step)| {
        let fields = step.fields.iter().map(|f| json!({"field": f.name, "old": f.old, "new": f.new}));
        let mut change = Map::from_iter([
            ("action".to_owned(), json!(step.action.as_str())),
            ("kind".to_owned(), json!(step.kind)),
            ("name".to_owned(), json!(step.name)),
            ("fields".to_owned(), fields.collect()),
        ]);
        let state = match outcomes.get(at).unwrap_or(&left) {
            Outcome::Done(made) => {
                change.extend(made.clone());
                "done"
            }
            Outcome::Waits(why) => {
                change.insert("error".to_owned(), json!(why));
                "waits"
            }
            Outcome::Failed(why) => {
                change.insert("error".to_owned(), json!(why));
                "failed"
            }
            Outcome::Left => "planned",
        };
        change.insert("state".to_owned(), json!(state));
        Value::Object(change)
    });
    let undeclared = plan.undeclared.iter().map(|it| json!({"kind": it.kind, "name": it.name}));
    json!({"changes": changes.collect::<Value>(), "not_declared": undeclared.collect::<Value>()})
}
