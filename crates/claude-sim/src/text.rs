//! Filler text, and values that fit a JSON schema.

use serde_json::{Map, Value, json};

/// Words of the filler: plain, with characters that JSON escapes here and there.
const WORDS: [&str; 16] = [
    "the ",
    "answer ",
    "keeps ",
    "its ",
    "shape, ",
    "so ",
    "every ",
    "reader ",
    "can ",
    "tell ",
    "where ",
    "a ",
    "\"piece\" ",
    "ends.\n",
    "Then ",
    "another ",
];
/// Words beyond ASCII: two, three and four bytes each.
const WIDE_WORDS: [&str; 8] =
    ["größe ", "façade ", "数据 ", "ключ ", "🔑 ", "naïve ", "日本語 ", "👩\u{200d}💻 "];

/// Exactly `chars` characters that depend on `seed` only.
pub(crate) fn filler(seed: u64, chars: usize, wide: bool) -> String {
    let words: &[&str] = if wide { &WIDE_WORDS } else { &WORDS };
    let mut at = usize::try_from(seed % 16).unwrap_or(0);
    let mut text = String::with_capacity(chars + 16);
    let mut count = 0;
    while count < chars {
        let word = words[at % words.len()];
        at += 1;
        let room = chars - count;
        if word.len() <= room {
            text.push_str(word);
            count += word.chars().count();
        } else {
            text.extend(word.chars().take(room));
            count += word.chars().count().min(room);
        }
    }
    text
}

/// The first `chars` characters of `text`.
pub(crate) fn prefix(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(at, _)| &text[..at])
}

/// Values that an example may have in all, and how deep it may go: schemas can refer to themselves.
const MAX_VALUES: u32 = 2_000;
const MAX_DEPTH: u32 = 16;

/// A value that satisfies the usual parts of a JSON schema: type, enum, const, required properties, minima.
pub(crate) fn example(schema: &Value) -> Value {
    Example { root: schema, left: MAX_VALUES }.of(schema, 0)
}

struct Example<'a> {
    root: &'a Value,
    left: u32,
}

impl Example<'_> {
    fn of(&mut self, schema: &Value, depth: u32) -> Value {
        if depth > MAX_DEPTH || self.left == 0 {
            return Value::Null;
        }
        self.left -= 1;
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
            return first.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Value::Null, |schema| self.of(schema, depth + 1));
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema.get(word).and_then(Value::as_array).and_then(|all| all.first()) {
                return self.of(first, depth + 1);
            }
        }
        self.typed(schema, depth)
    }

    fn typed(&mut self, schema: &Value, depth: u32) -> Value {
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
            other => other.and_then(Value::as_str),
        };
        match kind {
            Some("string") => json!("simulated"),
            Some("integer") => json!(schema.get("minimum").and_then(Value::as_i64).unwrap_or(1)),
            Some("number") => json!(schema.get("minimum").and_then(Value::as_f64).unwrap_or(1.0)),
            Some("boolean") => json!(true),
            Some("null") => Value::Null,
            Some("array") => self.array(schema, depth),
            Some(_) | None => self.object(schema, depth),
        }
    }

    fn array(&mut self, schema: &Value, depth: u32) -> Value {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 8);
        let item = |this: &mut Self| {
            schema.get("items").map_or_else(|| json!("simulated"), |items| this.of(items, depth + 1))
        };
        Value::Array((0..least).map(|_| item(self)).collect())
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let required = schema.get("required").and_then(Value::as_array);
        let names = required.into_iter().flatten().filter_map(Value::as_str);
        let fields: Map<String, Value> = names
            .map(|name| {
                let property = schema.get("properties").and_then(|all| all.get(name));
                let value = property.map_or_else(|| json!("simulated"), |schema| self.of(schema, depth + 1));
                (name.to_owned(), value)
            })
            .collect();
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_has_the_asked_number_of_characters() {
        for wide in [false, true] {
            for chars in [0, 1, 7, 100, 1001] {
                assert_eq!(filler(3, chars, wide).chars().count(), chars, "wide {wide}");
            }
        }
        assert_eq!(prefix("日本語", 2), "日本");
        assert_eq!(prefix("ab", 5), "ab");
    }

    #[test]
    fn examples_follow_the_schema() {
        let schema = json!({
            "type": "object", "required": ["city", "unit", "days", "tags"],
            "properties": {
                "city": {"type": "string"}, "unit": {"enum": ["c", "f"]},
                "days": {"type": "integer", "minimum": 3}, "tags": {"type": "array", "items": {"$ref": "#/$defs/t"}},
                "optional": {"type": "string"}
            },
            "$defs": {"t": {"type": "boolean"}}
        });
        assert_eq!(example(&schema), json!({"city": "simulated", "unit": "c", "days": 3, "tags": [true]}));
    }

    #[test]
    fn schemas_that_refer_to_themselves_end_soon() {
        assert_eq!(example(&json!({"$ref": "#"})), Value::Null);
        let wide = json!({"type": "array", "minItems": 8, "items": {"$ref": "#"}});
        assert!(example(&wide).to_string().len() < 100_000);
    }
}
