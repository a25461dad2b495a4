//! When the model uses a tool. It does so if `tool_choice` forces it, if a directive or the prompt names it
//! (`use the tool NAME {json}`), or, unasked, if there are at most three tools and the conversation's last message
//! is not already the result of one.

use serde::Deserialize;
use serde_json::Value;

use super::{Block, Pieces, Planner};
use crate::seed::Rng;
use crate::text::example;

/// The words that ask for a tool.
const PHRASE: &str = "use the tool ";
/// Most tools of one answer.
const MANY: usize = 16;
/// Up to this many tools, one is used unasked.
const FEW: usize = 3;

#[derive(Deserialize)]
struct Tool {
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    input_schema: Option<Value>,
}

impl Planner<'_> {
    /// The tool_use blocks of this answer; empty: it is text.
    pub(super) fn tool_uses(&self, ids: &mut Rng) -> Vec<Block> {
        let steer = &self.steer.shape;
        let choice = self.request.tool_choice.as_ref();
        let kind = choice.map_or("auto", |choice| choice.kind.as_str());
        let tools = self.client_tools();
        if steer.no_tool || kind == "none" || tools.is_empty() {
            return Vec::new();
        }
        let named = |name: &str| tools.iter().find(|tool| tool.name == name);
        let mut block = |tool: &Tool, input: Option<Value>| {
            let input = input.unwrap_or_else(|| {
                tool.input_schema.as_ref().map_or_else(|| Value::Object(serde_json::Map::new()), example)
            });
            let input = Pieces::by_size(input.to_string(), self.config.delta_chars);
            Block::ToolUse { id: ids.id("toolu_01"), name: tool.name.clone(), input }
        };
        let answered = self.prompt.tool_result.is_some();
        if let Some(tool) = steer.tool.as_deref().and_then(named).filter(|_| !answered) {
            return vec![block(tool, steer.tool_input.clone())];
        }
        if !answered {
            let asked: Vec<Block> = asked_for(&self.prompt.text)
                .take(MANY)
                .filter_map(|(name, input)| named(name).map(|tool| block(tool, input)))
                .collect();
            if !asked.is_empty() {
                return asked;
            }
        }
        let forced = match kind {
            "tool" => choice.and_then(|choice| choice.name.as_deref()).and_then(named),
            "any" => tools.first(),
            _ => None,
        };
        let unasked = !answered && !self.tools_on_request_only && tools.len() <= FEW;
        let chosen = forced.or_else(|| tools.first().filter(|_| unasked));
        chosen.map(|tool| vec![block(tool, None)]).unwrap_or_default()
    }

    fn client_tools(&self) -> Vec<Tool> {
        let listed = self.request.tools.iter().flatten();
        listed
            .filter_map(|raw| serde_json::from_str::<Tool>(raw.get()).ok())
            .filter(|tool| tool.kind.as_deref().is_none_or(|kind| kind == "custom"))
            .collect()
    }
}

/// Each `use the tool NAME {json}` of a prompt.
fn asked_for(text: &str) -> impl Iterator<Item = (&str, Option<Value>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(PHRASE)? + PHRASE.len();
        let after = rest.get(start..)?;
        let length =
            after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(after.len());
        let (name, tail) = after.split_at(length);
        rest = tail;
        let input = serde_json::Deserializer::from_str(tail).into_iter::<Value>().next();
        Some((name, input.and_then(Result::ok).filter(Value::is_object)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_name_tools_with_and_without_input() {
        let text = r#"please use the tool Bash {"command":"ls; echo }"} and use the tool mcp__x, then stop"#;
        let found: Vec<_> = asked_for(text).collect();
        assert_eq!(found[0], ("Bash", Some(serde_json::json!({"command": "ls; echo }"}))));
        assert_eq!(found[1], ("mcp__x", None));
        assert_eq!(found.len(), 2);
    }
}
