//! What must be done so that what is there is what is declared.

mod channels;
mod keys;
mod tenants;

use claviger_control::api::limits::LimitsPatch;
use claviger_domain::{clock::Timestamp, limit::LimitKind};
use serde_json::{Map, Value, json};

use super::{declaration::Declared, present::Present};
use crate::cli::output::CliError;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Something is made.
    Create,
    /// Something is changed.
    Change,
    /// Something is revoked, archived or taken out.
    Remove,
}

impl Action {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Remove => "remove",
        }
    }
}

/// One field of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is; `null` for what is made.
    pub old: Value,
    /// What it becomes.
    pub new: Value,
}

/// How a step is done.
pub enum Call {
    /// POST, once.
    Create {
        /// Where.
        path: &'static str,
        /// With what.
        body: Value,
    },
    /// PATCH of the version that was compared.
    Update {
        /// Where.
        path: String,
        /// With what.
        body: Value,
        /// The version.
        version: i64,
    },
    /// POST of a verb.
    Verb {
        /// Where.
        path: String,
        /// With what.
        body: Value,
    },
    /// DELETE.
    Delete {
        /// Where.
        path: String,
    },
    /// DELETE, then POST anew, for what cannot be changed.
    Replace {
        /// What goes.
        old: String,
        /// Where the new one is made.
        path: &'static str,
        /// With what.
        body: Value,
    },
}

/// One step of a plan.
pub struct Step {
    /// What it does.
    pub action: Action,
    /// `workspace`, `owner`, `policy`, `key` or `channel`.
    pub kind: &'static str,
    /// What it is done to; a key with its workspace.
    pub name: String,
    /// What becomes of which field.
    pub fields: Vec<Field>,
    /// How it is done.
    pub call: Call,
}

/// Something that is there and not declared.
#[derive(Debug, PartialEq, Eq)]
pub struct Undeclared {
    /// As [`Step::kind`].
    pub kind: &'static str,
    /// As [`Step::name`].
    pub name: String,
}

/// All steps, in their order, and what stays though nobody declared it.
#[derive(Default)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What is there and not declared, when it shall stay.
    pub undeclared: Vec<Undeclared>,
}

/// What a field shall be: as it is shown, and as it is sent.
#[derive(Clone)]
struct Wish {
    field: &'static str,
    shown: Value,
    sent: Value,
}

impl Wish {
    fn new(field: &'static str, value: impl Into<Value>) -> Self {
        let shown = value.into();
        Self { field, sent: shown.clone(), shown }
    }

    /// A number of which 0 means none.
    fn number(field: &'static str, value: u64) -> Self {
        Self { field, shown: if value == 0 { Value::Null } else { json!(value) }, sent: json!(value) }
    }

    fn list<T: Into<Value>>(field: &'static str, items: impl IntoIterator<Item = T>) -> Self {
        Self::new(field, Value::Array(items.into_iter().map(Into::into).collect()))
    }
}

/// What is wished of limits. They are sent within one object.
fn limits(patch: &LimitsPatch) -> Vec<Wish> {
    let asked = claviger_domain::limit::LimitsPatch::from(*patch);
    let wish = |kind: &LimitKind| Some(Wish::number(kind.field(), asked.get(*kind)?.unwrap_or(0)));
    LimitKind::ALL.iter().filter_map(wish).collect()
}

/// The wishes that are not fulfilled: fields to show, and the body that fulfils them. Nothing is fulfilled where
/// nothing is.
fn unfulfilled(wishes: Vec<Wish>, present: Option<&Value>) -> (Vec<Field>, Map<String, Value>) {
    let (mut fields, mut body) = (Vec::new(), Map::new());
    for wish in wishes {
        let is_limit = LimitKind::ALL.iter().any(|kind| kind.field() == wish.field);
        let old = present.map(|p| if is_limit { &p["limits"][wish.field] } else { &p[wish.field] });
        if old.is_some_and(|old| is_same(old, &wish.shown)) {
            continue;
        }
        fields.push(Field { name: wish.field, old: old.cloned().unwrap_or_default(), new: wish.shown });
        if is_limit {
            let limits = body.entry("limits").or_insert_with(|| json!({}));
            limits[wish.field] = wish.sent;
        } else {
            body.insert(wish.field.to_owned(), wish.sent);
        }
    }
    (fields, body)
}

/// The order of a list says nothing.
fn is_same(old: &Value, new: &Value) -> bool {
    let sorted = |list: &[Value]| {
        let mut words: Vec<String> = list.iter().map(ToString::to_string).collect();
        words.sort();
        words
    };
    match (old, new) {
        (Value::Array(old), Value::Array(new)) => sorted(old) == sorted(new),
        (_, _) => old == new,
    }
}

impl Plan {
    /// Compares. Everything that can be known to be wrong before the first change is found here.
    ///
    /// # Errors
    /// [`CliError`] with the place in the file.
    pub fn make(
        declared: &Declared,
        present: &Present,
        prune: bool,
        now: Timestamp,
    ) -> Result<Self, CliError> {
        let mut plan = Self::default();
        tenants::workspaces(&mut plan, declared, present)?;
        tenants::owners(&mut plan, declared, present)?;
        tenants::policies(&mut plan, declared, present);
        // What goes makes room under an owner's cap for what comes.
        let mut gone = keys::undeclared(declared, present);
        if prune {
            plan.steps.append(&mut gone);
        }
        keys::keys(&mut plan, declared, present, now)?;
        channels::channels(&mut plan, declared, present)?;
        gone.extend(channels::undeclared(declared, present));
        gone.extend(tenants::undeclared(declared, present));
        if prune {
            plan.steps.append(&mut gone);
        }
        plan.undeclared = gone.into_iter().map(|s| Undeclared { kind: s.kind, name: s.name }).collect();
        Ok(plan)
    }

    /// How many steps do this.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }

    /// Whether a step makes a key.
    #[must_use]
    pub fn makes_secrets(&self) -> bool {
        let of_key = |step: &Step| {
            step.action == Action::Create || step.fields.iter().any(|field| field.name == "sign")
        };
        self.steps.iter().any(|step| step.kind == "channel" || (step.kind == "key" && of_key(step)))
    }
}
