//! Token counts, in each of the shapes in which they leave the house.

use serde::Serialize;
use serde_json::{Value, json};

use crate::directive::shape::{Iterations, UsageEdit};

/// What one answer used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    pub(crate) input_tokens: u64,
    pub(crate) cache_creation_input_tokens: u64,
    pub(crate) cache_read_input_tokens: u64,
    pub(crate) cache_creation: CacheCreation,
    pub(crate) output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens_details: Option<OutputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_tool_use: Option<ServerToolUse>,
    pub(crate) service_tier: &'static str,
    pub(crate) inference_geo: &'static str,
    pub(crate) speed: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iterations: Option<Value>,
}

/// Cache writes by lifetime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CacheCreation {
    pub(crate) ephemeral_5m_input_tokens: u64,
    pub(crate) ephemeral_1h_input_tokens: u64,
}

/// Informational: already inside `output_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct OutputDetails {
    pub(crate) thinking_tokens: u64,
}

/// Uses of tools that the API runs itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct ServerToolUse {
    pub(crate) web_search_requests: u32,
    pub(crate) web_fetch_requests: u32,
}

/// `message_delta`: cumulative, without the cache split and the tier.
#[derive(Serialize)]
struct DeltaUsage<'a> {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use: Option<ServerToolUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iterations: Option<&'a Value>,
}

/// The usage of one answer with the edits that the request asked for.
#[derive(Debug, Clone)]
pub(crate) struct UsagePlan {
    usage: Usage,
    edit: Option<Box<UsageEdit>>,
    /// Tokens that a server tool added after `message_start`.
    grown_input: u64,
}

/// Input tokens that one web search adds.
const TOKENS_PER_SEARCH: u64 = 500;

impl UsagePlan {
    pub(crate) fn new(mut usage: Usage, edit: &UsageEdit, model: &str) -> Self {
        let searches = edit.web_searches;
        let grown_input = TOKENS_PER_SEARCH * u64::from(searches);
        if searches > 0 {
            usage.server_tool_use =
                Some(ServerToolUse { web_search_requests: searches, web_fetch_requests: 0 });
            usage.input_tokens += grown_input;
        }
        if let Some(kind) = edit.iterations {
            add_iterations(&mut usage, kind, model);
        }
        Self { usage, edit: edit.rewrites().then(|| Box::new(edit.clone())), grown_input }
    }

    pub(crate) fn plain(&self) -> &Usage {
        &self.usage
    }

    /// In the message of a JSON answer.
    pub(crate) fn whole(&self) -> String {
        match &self.edit {
            None => text(&self.usage),
            Some(edit) => {
                let mut value = tree(&self.usage);
                merge_some(&mut value, edit.both.as_ref());
                merge_some(&mut value, edit.start.as_ref());
                merge_some(&mut value, edit.delta.as_ref());
                omit(&mut value, &edit.omit);
                value.to_string()
            }
        }
    }

    /// What a client of a stream knows at its end: the start, overlaid with the last delta.
    pub(crate) fn streamed(&self) -> String {
        if self.edit.is_none() {
            return self.whole();
        }
        let parse = |json: String| serde_json::from_str::<Value>(&json).unwrap_or_default();
        let mut value = parse(self.start());
        let mut delta = parse(self.delta(1, 1));
        if let Value::Object(fields) = &mut delta {
            fields.retain(|_, value| !value.is_null());
        }
        merge(&mut value, &delta);
        value.to_string()
    }

    /// In `message_start`: the input side, and a first output token.
    pub(crate) fn start(&self) -> String {
        let start = Usage {
            input_tokens: self.usage.input_tokens - self.grown_input,
            output_tokens: self.usage.output_tokens.min(1),
            output_tokens_details: None,
            server_tool_use: None,
            iterations: None,
            ..self.usage.clone()
        };
        match &self.edit {
            None => text(&start),
            Some(edit) => {
                let mut value = tree(&start);
                merge_some(&mut value, edit.both.as_ref().map(input_side).as_ref());
                merge_some(&mut value, edit.start.as_ref());
                omit(&mut value, &edit.omit);
                value.to_string()
            }
        }
    }

    /// In `message_delta` number `nth` of `of` (from 1): output grows up to the final number.
    pub(crate) fn delta(&self, nth: u32, of: u32) -> String {
        let part = u64::from(nth.min(of)) * self.usage.output_tokens / u64::from(of.max(1));
        let delta = DeltaUsage {
            input_tokens: self.usage.input_tokens,
            cache_creation_input_tokens: self.usage.cache_creation_input_tokens,
            cache_read_input_tokens: self.usage.cache_read_input_tokens,
            output_tokens: part,
            output_tokens_details: self.usage.output_tokens_details,
            server_tool_use: self.usage.server_tool_use,
            iterations: self.usage.iterations.as_ref(),
        };
        match &self.edit {
            None => text(&delta),
            Some(edit) => {
                let mut value = tree(&delta);
                merge_some(&mut value, edit.both.as_ref().map(delta_side).as_ref());
                merge_some(&mut value, edit.delta.as_ref());
                omit(&mut value, &edit.omit);
                value.to_string()
            }
        }
    }
}

/// A second iteration beside the message itself. The top level leaves out compaction and advisor, as the API does.
fn add_iterations(usage: &mut Usage, kind: Iterations, model: &str) {
    let message = json!({
        "type": "message", "model": model, "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation": usage.cache_creation, "output_tokens": usage.output_tokens,
    });
    let other = |kind: &str, model: &str, input: u64, output: u64| {
        json!({
            "type": kind, "model": model, "input_tokens": input, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "cache_creation": CacheCreation::default(), "output_tokens": output,
        })
    };
    usage.iterations = Some(match kind {
        Iterations::Compaction => json!([other("compaction", model, 9_000, 700), message]),
        Iterations::Advisor => json!([message, other("advisor_message", "claude-opus-5-5", 3_000, 250)]),
        Iterations::Fallback => {
            let fallback = other("fallback_message", "claude-opus-4-8", usage.input_tokens, 40);
            usage.input_tokens *= 2;
            usage.output_tokens += 40;
            json!([message, fallback])
        }
    });
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn tree(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Merges like RFC 7396, except that `null` is written, not removed.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn merge_some(into: &mut Value, from: Option<&Value>) {
    if let Some(from) = from {
        merge(into, from);
    }
}

fn omit(value: &mut Value, names: &[String]) {
    if let Value::Object(fields) = value {
        for name in names {
            fields.remove(name);
        }
    }
}

/// What of an override belongs into `message_start`.
fn input_side(edit: &Value) -> Value {
    without(edit, &["output_tokens", "output_tokens_details", "server_tool_use", "iterations"])
}

/// What of an override belongs into `message_delta`.
fn delta_side(edit: &Value) -> Value {
    without(edit, &["cache_creation", "service_tier", "inference_geo", "speed"])
}

fn without(edit: &Value, names: &[&str]) -> Value {
    let mut value = edit.clone();
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, _| !names.contains(&name.as_str()));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        Usage {
            input_tokens: 100,
            cache_creation_input_tokens: 30,
            cache_read_input_tokens: 50,
            cache_creation: CacheCreation { ephemeral_5m_input_tokens: 10, ephemeral_1h_input_tokens: 20 },
            output_tokens: 12,
            output_tokens_details: None,
            server_tool_use: None,
            service_tier: "standard",
            inference_geo: "global",
            speed: "standard",
            iterations: None,
        }
    }

    #[test]
    fn each_place_has_its_shape() {
        let plan = UsagePlan::new(usage(), &UsageEdit::default(), "m");
        insta::assert_snapshot!(plan.start(), @r#"{"input_tokens":100,"cache_creation_input_tokens":30,"cache_read_input_tokens":50,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1,"service_tier":"standard","inference_geo":"global","speed":"standard"}"#);
        insta::assert_snapshot!(plan.delta(1, 1), @r#"{"input_tokens":100,"cache_creation_input_tokens":30,"cache_read_input_tokens":50,"output_tokens":12}"#);
        insta::assert_snapshot!(plan.whole(), @r#"{"input_tokens":100,"cache_creation_input_tokens":30,"cache_read_input_tokens":50,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":12,"service_tier":"standard","inference_geo":"global","speed":"standard"}"#);
    }

    #[test]
    fn web_searches_grow_the_input_after_the_start() {
        let edit = UsageEdit { web_searches: 2, ..UsageEdit::default() };
        let plan = UsagePlan::new(usage(), &edit, "m");
        assert!(plan.start().contains(r#""input_tokens":100,"#));
        assert!(plan.delta(1, 1).contains(r#""input_tokens":1100,"#));
        assert!(plan.delta(1, 1).contains(r#""web_search_requests":2"#));
    }

    #[test]
    fn overrides_reach_the_frames_they_belong_to() {
        let edit = UsageEdit {
            both: Some(
                json!({"input_tokens": 7, "output_tokens": 9, "cache_creation": {"ephemeral_5m_input_tokens": 1}}),
            ),
            omit: vec!["speed".into()],
            ..UsageEdit::default()
        };
        let plan = UsagePlan::new(usage(), &edit, "m");
        insta::assert_snapshot!(plan.start(), @r#"{"cache_creation":{"ephemeral_1h_input_tokens":20,"ephemeral_5m_input_tokens":1},"cache_creation_input_tokens":30,"cache_read_input_tokens":50,"inference_geo":"global","input_tokens":7,"output_tokens":1,"service_tier":"standard"}"#);
        insta::assert_snapshot!(plan.delta(1, 1), @r#"{"cache_creation_input_tokens":30,"cache_read_input_tokens":50,"input_tokens":7,"output_tokens":9}"#);
    }
}
