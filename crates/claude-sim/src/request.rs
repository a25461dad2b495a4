//! The body of messages and count_tokens: only what the simulator acts upon is read, the rest is skipped.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cache::{Block, Ttl};
use crate::error::ApiError;
use crate::seed::{combine, hash};

/// The API version with the fewer parameters.
pub(crate) const NEW_VERSION: &str = "2026-10-21";

/// The fields that matter, undecided.
#[derive(Debug, Deserialize)]
pub(crate) struct MessagesRequest<'a> {
    pub(crate) model: Option<String>,
    pub(crate) max_tokens: Option<i64>,
    #[serde(borrow)]
    pub(crate) messages: Option<Vec<Turn<'a>>>,
    #[serde(borrow)]
    pub(crate) system: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) tools: Option<Vec<&'a RawValue>>,
    pub(crate) tool_choice: Option<ToolChoice>,
    pub(crate) stream: Option<bool>,
    pub(crate) thinking: Option<ThinkingConfig>,
    pub(crate) speed: Option<String>,
    pub(crate) inference_geo: Option<String>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) stop_sequences: Option<Vec<String>>,
    #[serde(borrow)]
    pub(crate) output_config: Option<OutputConfig<'a>>,
    #[serde(borrow)]
    pub(crate) output_format: Option<OutputFormat<'a>>,
    pub(crate) cache_control: Option<CacheControl>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    top_k: Option<&'a RawValue>,
}

/// One message of the conversation.
#[derive(Debug, Deserialize)]
pub(crate) struct Turn<'a> {
    pub(crate) role: String,
    #[serde(borrow)]
    pub(crate) content: &'a RawValue,
}

/// `tool_choice`.
#[derive(Debug, Deserialize)]
pub(crate) struct ToolChoice {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
}

/// `thinking`.
#[derive(Debug, Deserialize)]
pub(crate) struct ThinkingConfig {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) display: Option<String>,
    pub(crate) budget_tokens: Option<i64>,
}

/// `metadata`.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) user_id: Option<String>,
}

/// `output_config`.
#[derive(Debug, Deserialize)]
pub(crate) struct OutputConfig<'a> {
    #[serde(borrow)]
    pub(crate) format: Option<OutputFormat<'a>>,
}

/// A structured output format.
#[derive(Debug, Deserialize)]
pub(crate) struct OutputFormat<'a> {
    #[serde(borrow)]
    pub(crate) schema: Option<&'a RawValue>,
}

/// `cache_control`.
#[derive(Debug, Deserialize)]
pub(crate) struct CacheControl {
    ttl: Option<String>,
}

/// A content block, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct ContentBlock<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citations: Option<&'a RawValue>,
}

/// What the last turn asks for.
#[derive(Debug, Default)]
pub(crate) struct Prompt {
    /// Text of the last user message that has any.
    pub(crate) text: String,
    /// Its last block: clients put reminders of their own before it.
    pub(crate) said: String,
    /// The block that holds a directive: clients that go on after a break add blocks, and keep this one.
    pub(crate) marked: Option<String>,
    /// Text of the tool results in the last message; `None`: it has none.
    pub(crate) tool_result: Option<String>,
}

impl CacheControl {
    fn ttl(&self) -> Ttl {
        if self.ttl.as_deref() == Some("1h") { Ttl::OneHour } else { Ttl::FiveMinutes }
    }
}

impl<'a> MessagesRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 when it is not JSON or a field has another type.
    pub(crate) fn of(body: &'a [u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(body).map_err(|error| {
            ApiError::invalid(match error.classify() {
                serde_json::error::Category::Data => format!("Input could not be read: {error}"),
                serde_json::error::Category::Io
                | serde_json::error::Category::Syntax
                | serde_json::error::Category::Eof => {
                    format!("The request body is not valid JSON: {error}")
                }
            })
        })
    }

    /// The checks that every version shares, then those of 2026-10-21. `needs_max_tokens` is false for count_tokens.
    pub(crate) fn validate(
        &self,
        body: &[u8],
        version: &str,
        needs_max_tokens: bool,
    ) -> Result<(), ApiError> {
        if self.model.is_none() {
            return Err(ApiError::invalid("model: Field required"));
        }
        match (needs_max_tokens, self.max_tokens) {
            (true, None) => return Err(ApiError::invalid("max_tokens: Field required")),
            (_, Some(negative)) if negative < 0 => {
                return Err(ApiError::invalid("max_tokens: Input should be greater than or equal to 0"));
            }
            (_, Some(_) | None) => {}
        }
        let turns = self.messages.as_deref().ok_or_else(|| ApiError::invalid("messages: Field required"))?;
        if turns.is_empty() {
            return Err(ApiError::invalid("messages: at least one message is required"));
        }
        if turns.len() > 100_000 {
            return Err(ApiError::invalid("messages: too many messages"));
        }
        for (at, turn) in turns.iter().enumerate() {
            if !matches!(turn.role.as_str(), "user" | "assistant" | "system") {
                return Err(ApiError::invalid(format!(
                    "messages.{at}.role: Input should be 'user', 'assistant' or 'system'"
                )));
            }
            if !matches!(turn.content.get().as_bytes().first(), Some(b'"' | b'[')) {
                return Err(ApiError::invalid(format!(
                    "messages.{at}.content: Input should be a valid list"
                )));
            }
        }
        if version == NEW_VERSION { self.validate_new(body, turns) } else { Ok(()) }
    }

    fn validate_new(&self, body: &[u8], turns: &[Turn<'_>]) -> Result<(), ApiError> {
        let removed = [("temperature", self.temperature), ("top_p", self.top_p), ("top_k", self.top_k)];
        if let Some((name, _)) = removed.iter().find(|(_, value)| value.is_some()) {
            return Err(ApiError::invalid(format!("{name}: Extra inputs are not permitted")));
        }
        let suspect = memchr::memmem::find(body, b"document").is_some()
            || memchr::memmem::find(body, b"citations").is_some();
        if !suspect {
            return Ok(());
        }
        for (at, turn) in turns.iter().enumerate() {
            for (nth, block) in blocks(turn.content).iter().enumerate() {
                let kind = block.kind.as_deref();
                let cited = block.citations.is_some_and(|raw| !matches!(raw.get(), "null" | "[]"));
                let refused = match turn.role.as_str() {
                    "assistant" => kind == Some("document"),
                    _ => kind == Some("text") && cited,
                };
                if refused {
                    return Err(ApiError::invalid(format!(
                        "messages.{at}.content.{nth}: this block is not permitted in a message of role '{}'",
                        turn.role
                    )));
                }
            }
        }
        Ok(())
    }

    /// The schema that the answer must follow.
    pub(crate) fn schema(&self) -> Option<&'a RawValue> {
        let nested = self.output_config.as_ref().and_then(|config| config.format.as_ref());
        nested.or(self.output_format.as_ref()).and_then(|format| format.schema)
    }

    /// The prompt of this turn.
    pub(crate) fn prompt(&self) -> Prompt {
        let turns = self.messages.as_deref().unwrap_or_default();
        let mut prompt = Prompt::default();
        if let Some(last) = turns.iter().rev().find(|turn| turn.role != "system") {
            for block in blocks(last.content) {
                if block.kind.as_deref() == Some("tool_result") {
                    let text = block.content.map(plain_text).unwrap_or_default();
                    prompt.tool_result.get_or_insert_default().push_str(&text);
                }
            }
        }
        for turn in turns.iter().rev().filter(|turn| turn.role == "user") {
            let mut texts = texts(turn.content);
            prompt.text = texts.join("\n");
            prompt.marked =
                texts.iter().find(|text| text.contains("[[sim:")).map(|text| text.trim().to_owned());
            prompt.said = texts.pop().unwrap_or_default();
            if !prompt.text.is_empty() {
                break;
            }
        }
        prompt
    }

    /// The text of `system`.
    pub(crate) fn system_text(&self) -> String {
        self.system.map(plain_text).unwrap_or_default()
    }

    /// The prompt in blocks with its cache breakpoints: tools, system, messages.
    pub(crate) fn cache_blocks(&self) -> Vec<Block> {
        let mut found = Vec::new();
        let role = |name: &str| hash(name.as_bytes());
        for tool in self.tools.iter().flatten() {
            push_block(&mut found, tool, role("tool"));
        }
        if let Some(system) = self.system {
            push_content(&mut found, system, role("system"));
        }
        for turn in self.messages.iter().flatten() {
            push_content(&mut found, turn.content, role(&turn.role));
        }
        if let (Some(control), Some(last)) = (&self.cache_control, found.last_mut()) {
            last.breakpoint = Some(control.ttl());
        }
        found
    }
}

fn push_content(into: &mut Vec<Block>, content: &RawValue, role: u64) {
    let list = serde_json::from_str::<Vec<&RawValue>>(content.get());
    match list {
        Ok(parts) => parts.iter().for_each(|part| push_block(into, part, role)),
        Err(_) => push_block(into, content, role),
    }
}

fn push_block(into: &mut Vec<Block>, raw: &RawValue, role: u64) {
    let plain = || Block {
        hash: combine(role, hash(raw.get().as_bytes())),
        bytes: raw.get().len(),
        breakpoint: None,
    };
    if memchr::memmem::find(raw.get().as_bytes(), b"\"cache_control\"").is_none() {
        // A breakpoint that moved on leaves the block as it was, however it is spaced.
        let Ok(value) = serde_json::from_str::<Value>(raw.get()) else { return into.push(plain()) };
        let text = value.to_string();
        into.push(Block { hash: combine(role, hash(text.as_bytes())), bytes: text.len(), breakpoint: None });
        return;
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str::<Value>(raw.get()) else {
        return into.push(plain());
    };
    let control =
        fields.remove("cache_control").and_then(|value| serde_json::from_value::<CacheControl>(value).ok());
    let text = Value::Object(fields).to_string();
    into.push(Block {
        hash: combine(role, hash(text.as_bytes())),
        bytes: text.len(),
        breakpoint: control.map(|control| control.ttl()),
    });
}

fn blocks(content: &RawValue) -> Vec<ContentBlock<'_>> {
    if !content.get().starts_with('[') {
        return Vec::new();
    }
    serde_json::from_str(content.get()).unwrap_or_default()
}

/// The text of a content that is a string or a list of blocks.
fn plain_text(content: &RawValue) -> String {
    texts(content).join("\n")
}

fn texts(content: &RawValue) -> Vec<String> {
    if content.get().starts_with('"') {
        return serde_json::from_str(content.get()).into_iter().collect();
    }
    let texts = blocks(content).into_iter().filter(|block| block.kind.as_deref() == Some("text"));
    texts.filter_map(|block| block.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, version: &str) -> Result<(), String> {
        let request = MessagesRequest::of(body.as_bytes()).map_err(|error| error.message.to_string())?;
        request.validate(body.as_bytes(), version, true).map_err(|error| error.message.to_string())
    }

    #[test]
    fn missing_fields_are_named() {
        let old = "2023-06-01";
        assert_eq!(check("{}", old), Err("model: Field required".into()));
        assert_eq!(check(r#"{"model":"m"}"#, old), Err("max_tokens: Field required".into()));
        assert_eq!(check(r#"{"model":"m","max_tokens":1}"#, old), Err("messages: Field required".into()));
        let bad = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":5}]}"#;
        assert_eq!(check(bad, old), Err("messages.0.content: Input should be a valid list".into()));
        assert!(check("{", old).is_err_and(|message| message.contains("not valid JSON")));
    }

    #[test]
    fn the_new_version_refuses_sampling_and_misplaced_blocks() {
        let sampling =
            r#"{"model":"m","max_tokens":1,"temperature":1,"messages":[{"role":"user","content":"x"}]}"#;
        assert_eq!(check(sampling, "2023-06-01"), Ok(()));
        assert!(check(sampling, NEW_VERSION).is_err());
        let document = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"},
            {"role":"assistant","content":[{"type":"document"}]}]}"#;
        assert!(check(document, NEW_VERSION).is_err());
        let cited = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":
            [{"type":"text","text":"x","citations":[{}]}]}]}"#;
        assert!(check(cited, NEW_VERSION).is_err());
        assert_eq!(check(cited, "2023-06-01"), Ok(()));
    }

    #[test]
    fn the_prompt_is_the_last_user_text_even_after_a_tool_result() {
        let body = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"do it"}]},
            {"role":"assistant","content":[{"type":"tool_use"}]},
            {"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"42"}]}]}]}"#;
        let prompt = MessagesRequest::of(body.as_bytes()).expect("reads").prompt();
        assert_eq!(prompt.text, "do it");
        assert_eq!(prompt.tool_result.as_deref(), Some("42"));
    }

    #[test]
    fn a_breakpoint_that_moves_on_keeps_the_hash_of_its_block() {
        let of = |body: &str| MessagesRequest::of(body.as_bytes()).expect("reads").cache_blocks();
        let marked =
            of(r#"{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}]}"#);
        let plain = of(r#"{"system":[{"type":"text", "text":"s"}]}"#);
        assert_eq!(marked[0].hash, plain[0].hash);
        assert_eq!((marked[0].breakpoint, plain[0].breakpoint), (Some(Ttl::OneHour), None));
    }
}
