//! Ids that code execution mints inside a message: its container, and the files that it wrote. They belong to the
//! workspace from then on, like what is made by asking for it.
//!
//! Only results of the provider's own tools are believed: whatever else a message holds, the model may have been
//! told to say.

use claviger_domain::tenancy::ResourceKind;
use serde_json::Value;

/// Words without which a request cannot lead to minted ids.
const SIGNS: [&[u8]; 2] = [b"code_execution", b"\"container\""];
/// The largest answer, or line of a stream, that is looked through (32 MB).
const MOST: usize = 32 * 1024 * 1024;

/// Something minted: its kind and id.
pub type Minted = (ResourceKind, String);

/// Reads along.
#[derive(Debug)]
pub struct MintedTap {
    /// A whole answer, or the current line of a stream.
    buffer: Vec<u8>,
    is_stream: bool,
    found: Vec<Minted>,
}

/// Whether the answer to a request may hold minted ids.
#[must_use]
pub fn may_mint(body: &[u8]) -> bool {
    SIGNS.iter().any(|sign| memchr::memmem::find(body, sign).is_some())
}

impl MintedTap {
    /// For a message, or for a stream of one.
    #[must_use]
    pub const fn new(is_stream: bool) -> Self {
        Self { buffer: Vec::new(), is_stream, found: Vec::new() }
    }

    /// Reads the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !self.is_stream {
            self.keep(bytes);
            return;
        }
        let mut rest = bytes;
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            self.keep(&rest[..end]);
            self.line();
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() <= MOST {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn line(&mut self) {
        let line = self.buffer.strip_prefix(b"data:").unwrap_or_default();
        let telling = memchr::memmem::find(line, b"_tool_result").is_some()
            || memchr::memmem::find(line, b"\"container\"").is_some();
        if telling && let Ok(event) = serde_json::from_slice::<Value>(line) {
            match event["type"].as_str() {
                Some("message_start") => message(&event["message"], &mut self.found),
                Some("content_block_start") => block(&event["content_block"], &mut self.found),
                Some("message_delta") => container(&event["delta"], &mut self.found),
                Some(_) | None => {}
            }
        }
        self.buffer.clear();
    }

    /// What was minted.
    #[must_use]
    pub fn finish(mut self) -> Vec<Minted> {
        if !self.is_stream
            && let Ok(whole) = serde_json::from_slice::<Value>(&self.buffer)
        {
            message(&whole, &mut self.found);
        }
        self.found.sort_by(|a, b| a.1.cmp(&b.1));
        self.found.dedup();
        self.found
    }
}

fn message(message: &Value, found: &mut Vec<Minted>) {
    container(message, found);
    for item in message["content"].as_array().into_iter().flatten() {
        block(item, found);
    }
}

fn container(holder: &Value, found: &mut Vec<Minted>) {
    if let Some(id) = holder["container"]["id"].as_str().filter(|id| is_id(id)) {
        found.push((ResourceKind::Container, id.to_owned()));
    }
}

fn block(block: &Value, found: &mut Vec<Minted>) {
    // What other tools bring is other people's word: pages of the web, MCP servers of the caller's own.
    if block["type"].as_str().is_some_and(|kind| kind.ends_with("code_execution_tool_result")) {
        files(&block["content"], found);
    }
}

/// Whether every store can keep it, and a caller can name it.
fn is_id(text: &str) -> bool {
    text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Every `file_id` in a tool's result, however deep: `serde_json` reads no deeper than 128.
fn files(value: &Value, found: &mut Vec<Minted>) {
    match value {
        Value::Object(members) => {
            if let Some(id) = members.get("file_id").and_then(Value::as_str).filter(|id| is_id(id)) {
                found.push((ResourceKind::File, id.to_owned()));
            }
            members.values().for_each(|v| files(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| files(v, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = r#"{"type":"code_execution_tool_result","tool_use_id":"t","content":{"type":"code_execution_result","content":[{"type":"code_execution_output","file_id":"file_a"}]}}"#;
    const CALL: &str =
        r#"{"type":"tool_use","name":"x","input":{"file_id":"file_b","type":"y_tool_result"}}"#;

    fn read(is_stream: bool, text: &str, split: usize) -> Vec<Minted> {
        let mut tap = MintedTap::new(is_stream);
        text.as_bytes().chunks(split).for_each(|piece| tap.feed(piece));
        tap.finish()
    }

    fn expected() -> Vec<Minted> {
        vec![(ResourceKind::Container, "container_1".to_owned()), (ResourceKind::File, "file_a".to_owned())]
    }

    #[test]
    fn containers_and_files_of_a_message_are_found_and_what_the_model_says_is_not() {
        let text = format!(r#"{{"content":[{RESULT},{CALL}],"container":{{"id":"container_1"}}}}"#);
        for split in [1, 7, 4096] {
            assert_eq!(read(false, &text, split), expected());
        }
    }

    #[test]
    fn what_tools_of_the_callers_own_bring_is_not_believed() {
        for kind in ["mcp_tool_result", "web_fetch_tool_result"] {
            let text = RESULT.replace("code_execution_tool_result", kind);
            assert_eq!(read(false, &format!(r#"{{"content":[{text}]}}"#), 4096), []);
        }
        let odd = RESULT.replace("file_a", r"file\u0000");
        assert_eq!(read(false, &format!(r#"{{"content":[{odd}]}}"#), 4096), []);
    }

    #[test]
    fn containers_and_files_of_a_stream_are_found_wherever_frames_split_it() {
        let text = format!(
            "event: content_block_start\r\ndata: {{\"type\":\"content_block_start\",\"content_block\":{RESULT}}}\r\n\r\n\
             data: {{\"type\":\"content_block_start\",\"content_block\":{CALL}}}\n\n\
             data:{{\"type\":\"message_delta\",\"delta\":{{\"container\":{{\"id\":\"container_1\"}}}}}}\n\n"
        );
        for split in 1..64 {
            assert_eq!(read(true, &text, split), expected(), "{split}");
        }
    }

    #[test]
    fn only_requests_that_could_mint_are_looked_through() {
        assert!(may_mint(br#"{"tools":[{"type":"code_execution_20250825"}]}"#));
        assert!(may_mint(br#"{"container":"container_1"}"#));
        assert!(!may_mint(br#"{"messages":[]}"#));
    }
}
