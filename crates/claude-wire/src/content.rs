//! How much of what a request's body holds, class by class: what its input tokens are estimated from. Nothing here
//! bounds anything; what a call can cost at most is told by [`exposure`](crate::exposure).

mod picture;

use crate::json::{Event, JsonError, Position, Sink, Text, Tokenizer};

/// Input tokens of a picture whose size cannot be read.
const PICTURE_TOKENS: u64 = 1_600;
/// The most input tokens that a picture takes; larger ones are made smaller.
const MOST_PICTURE_TOKENS: u64 = 4_784;
/// Pixels that make a token.
const PIXELS_A_TOKEN: u64 = 750;
/// What a message is taken for beside its content, in bytes of text.
const MESSAGE_BYTES: u64 = 12;
/// How deep the members of a message stand, and those of the arguments of a tool.
const IN_MESSAGE: usize = 3;
const IN_ARGUMENTS: usize = 6;

/// What a body holds for the model to read: texts, and what stands in the arguments and results of tools. The JSON around
/// them, and words that only say what kind of thing something is, count in no class, and pictures by their size only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// Bytes of ASCII, and a few for each message.
    pub plain_bytes: u64,
    /// Bytes of other characters, as UTF-8.
    pub wide_bytes: u64,
    /// Bytes of characters that are written as `\u` and four digits.
    pub escaped_bytes: u64,
    /// Bytes of `tools`.
    pub tool_bytes: u64,
    /// Bytes of PDFs, as base64.
    pub document_bytes: u64,
    /// What pictures that stand in the body take by their size.
    pub picture_tokens: u64,
}

impl Content {
    /// Reads a whole body.
    ///
    /// # Errors
    /// [`JsonError`] when it is not JSON.
    pub fn read(body: &[u8]) -> Result<Self, JsonError> {
        let mut reader = Reader::default();
        Tokenizer::read(body, &mut reader)?;
        Ok(reader.found)
    }
}

#[derive(Debug, Default)]
struct Reader {
    found: Content,
    field: Field,
    next: Next,
}

/// Where the reader stands at the top level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Field {
    Messages,
    System,
    Tools,
    #[default]
    Other,
}

/// What the next value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    /// What a source holds.
    Data,
    /// A word that says what kind of thing something is.
    Kind,
    #[default]
    Text,
}

impl Sink for Reader {
    type Error = JsonError;

    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), JsonError> {
        let next = std::mem::take(&mut self.next);
        match (event, self.field) {
            (Event::Key(name), _) if position.depth == 1 => self.top(&name),
            (_, Field::Other) => {}
            (Event::Key(text) | Event::String(text) | Event::Number(text), Field::Tools) => {
                // With its quotes, and the colon or comma after it.
                self.found.tool_bytes += length(&text) + 3;
            }
            (Event::Key(name), Field::Messages | Field::System) => self.key(position.depth, &name),
            (Event::String(text), Field::Messages | Field::System) => match next {
                Next::Data => self.data(&text),
                Next::Kind => {}
                Next::Text => self.text(&text),
            },
            (Event::Number(text), Field::Messages | Field::System) => self.text(&text),
            (
                Event::ObjectStart
                | Event::ObjectEnd
                | Event::ArrayStart
                | Event::ArrayEnd
                | Event::Bool(_)
                | Event::Null,
                Field::Messages | Field::System | Field::Tools,
            ) => {}
        }
        Ok(())
    }
}

impl Reader {
    fn top(&mut self, name: &Text<'_>) {
        self.field = match () {
            () if name.is("messages") => Field::Messages,
            () if name.is("system") => Field::System,
            () if name.is("tools") => Field::Tools,
            () => Field::Other,
        };
    }

    fn key(&mut self, depth: usize, name: &Text<'_>) {
        self.next = match () {
            () if name.is("data") => Next::Data,
            () if ["type", "role", "media_type", "ttl", "signature"]
                .into_iter()
                .any(|word| name.is(word)) =>
            {
                Next::Kind
            }
            () => Next::Text,
        };
        if depth == IN_MESSAGE && name.is("role") {
            self.found.plain_bytes += MESSAGE_BYTES;
        } else if depth >= IN_ARGUMENTS && self.next == Next::Text {
            self.text(name);
        }
    }

    fn text(&mut self, text: &Text<'_>) {
        let raw = text.raw();
        let wide = raw.iter().filter(|byte| !byte.is_ascii()).count() as u64;
        let escapes =
            if text.is_escaped() { memchr::memmem::find_iter(raw, b"\\u").count() as u64 } else { 0 };
        let escaped = (escapes * 6).min(length(text));
        self.found.wide_bytes += wide;
        self.found.escaped_bytes += escaped;
        self.found.plain_bytes += length(text).saturating_sub(wide + escaped);
    }

    /// The member `data` of a source. By what it begins with it is a picture, a PDF, or text.
    fn data(&mut self, text: &Text<'_>) {
        let raw = text.raw();
        if raw.starts_with(b"JVBER") {
            self.found.document_bytes += length(text);
        } else if picture::is_one(raw) {
            let pixels = picture::size(raw).map(|(width, height)| u64::from(width) * u64::from(height));
            let tokens = pixels.map_or(PICTURE_TOKENS, |pixels| pixels.div_ceil(PIXELS_A_TOKEN));
            self.found.picture_tokens += tokens.min(MOST_PICTURE_TOKENS);
        } else {
            self.text(text);
        }
    }
}

fn length(text: &Text<'_>) -> u64 {
    let span = text.span();
    span.end - span.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde_json::{Value, json};

    fn read(body: &Value) -> Content {
        Content::read(body.to_string().as_bytes()).unwrap()
    }

    fn message(content: &Value) -> Value {
        json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]})
    }

    fn source(data: &[u8]) -> Value {
        let source = json!({"type": "base64", "media_type": "image/png", "data": STANDARD.encode(data)});
        message(&json!([{"type": "image", "source": source}]))
    }

    #[test]
    fn text_counts_by_how_its_characters_are_written() {
        let body = message(&json!("plain 中文"));
        let found = read(&body);
        assert_eq!((found.wide_bytes, found.escaped_bytes, found.tool_bytes), (6, 0, 0));
        assert_eq!(found.plain_bytes, 6 + MESSAGE_BYTES);
        let escaped = Content::read(br#"{"messages":[{"content":"\u4e2d\u6587 and \n"}]}"#).unwrap();
        assert_eq!((escaped.wide_bytes, escaped.escaped_bytes), (0, 12));
    }

    #[test]
    fn tools_count_apart_from_the_text() {
        let tool =
            json!({"name": "f", "description": "data", "input_schema": {"type": "object", "maximum": 12}});
        let length = tool.to_string().len() as u64;
        let mut body = message(&json!("x"));
        let without = read(&body);
        body["tools"] = json!([tool]);
        let with = read(&body);
        assert!(with.tool_bytes <= length && with.tool_bytes * 10 >= length * 8, "{with:?} of {length}");
        assert_eq!(with.plain_bytes, without.plain_bytes);
    }

    #[test]
    fn arguments_and_results_of_tools_are_read_and_words_about_them_are_not() {
        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {"city": "Rome", "days": 12}});
        let result = json!({"type": "tool_result", "tool_use_id": "t", "content": "sunny"});
        let found = read(&message(&json!([call, result])));
        let read = ["t", "f", "city", "Rome", "days", "12", "t", "sunny"].concat().len() as u64;
        assert_eq!(found.plain_bytes, MESSAGE_BYTES + read);
    }

    #[test]
    fn pictures_count_by_their_size_and_not_by_their_bytes() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend_from_slice(&1_000_u32.to_be_bytes());
        png.extend_from_slice(&750_u32.to_be_bytes());
        png.resize(9_000, 7);
        let found = read(&source(&png));
        assert_eq!(found.picture_tokens, 1_000);
        assert!(found.plain_bytes < 300, "{found:?}");
        png.truncate(9);
        assert_eq!(read(&source(&png)).picture_tokens, PICTURE_TOKENS);
        let huge = [b"GIF89a".as_slice(), &[0xff; 6]].concat();
        assert_eq!(read(&source(&huge)).picture_tokens, MOST_PICTURE_TOKENS);
    }

    #[test]
    fn documents_count_by_their_bytes_and_text_in_a_source_is_text() {
        let pdf = read(&source(b"%PDF-1.7 and more of it"));
        assert_eq!((pdf.document_bytes, pdf.picture_tokens), (32, 0));
        let text = message(&json!([{"type": "document", "source": {"type": "text", "data": "héllo"}}]));
        assert_eq!((read(&text).wide_bytes, read(&text).document_bytes), (2, 0));
    }
}
