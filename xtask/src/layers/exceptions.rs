//! The one list of what a rule must tolerate, each entry with its reason.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::{Rule, Violation};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    #[serde(default, rename = "exception")]
    list: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    rule: Rule,
    path: String,
    reason: String,
}

impl Exceptions {
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("parse {}", file.display()))
    }

    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// The violations nobody excused, then the excuses nobody needs and those without a reason.
    pub fn judge(&self, violations: Vec<Violation>) -> Vec<String> {
        let mut used = vec![false; self.list.len()];
        let mut problems = Vec::new();
        for violation in violations {
            match self.list.iter().position(|exception| exception.excuses(&violation)) {
                Some(at) => used[at] = true,
                None => problems.push(violation.to_string()),
            }
        }
        for (exception, used) in self.list.iter().zip(used) {
            let Exception { rule, path, reason } = exception;
            if !used {
                problems.push(format!("{path}: [{rule}] this exception is no longer needed: strike it"));
            }
            if reason.trim().is_empty() {
                problems.push(format!("{path}: [{rule}] this exception gives no reason"));
            }
        }
        problems
    }
}

impl Exception {
    fn excuses(&self, violation: &Violation) -> bool {
        self.rule == violation.rule && self.path == violation.path
    }
}
