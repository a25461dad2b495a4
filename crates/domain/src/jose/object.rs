//! JSON objects in which no name stands twice, at any depth: two readers of one text must not see two values.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::clock::Timestamp;

/// Objects and arrays in one another.
const MAX_DEPTH: u8 = 16;
/// What the reader says when a name stands twice.
const DUPLICATE: &str = "a member stands twice";
/// NumericDates up to the year 9999, in seconds.
const MAX_DATE: i64 = 253_402_300_799;

/// Not an object, or one with a name twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Not JSON, not an object, or too deep.
    #[error("not a JSON object")]
    NotAnObject,
    /// A name stands twice.
    #[error("a member stands twice")]
    Duplicate,
}

/// A JSON object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object(Map<String, Value>);

impl Object {
    /// Reads the whole of a text.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn parse(text: &[u8]) -> Result<Self, ObjectError> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let read =
            Strict { depth: 0 }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        match read {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Err(ObjectError::NotAnObject)
            }
            Err(error) if error.to_string().starts_with(DUPLICATE) => Err(ObjectError::Duplicate),
            Err(_) => Err(ObjectError::NotAnObject),
        }
    }

    /// A member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A member that is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A member that is a NumericDate (RFC 7519, 2); a fraction of a second is cut off.
    #[must_use]
    pub fn date(&self, name: &str) -> Option<Timestamp> {
        let value = self.0.get(name)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float outside the range saturates and is refused"
        )]
        let secs =
            value.as_i64().or_else(|| value.as_f64().filter(|f| f.is_finite()).map(|f| f.floor() as i64))?;
        (0..=MAX_DATE).contains(&secs).then(|| Timestamp::from_secs(secs))
    }

    /// Whether a member, a string or a list of strings, names this; as `aud` does.
    #[must_use]
    pub fn names(&self, name: &str, wanted: &str) -> bool {
        match self.0.get(name) {
            Some(Value::String(one)) => one == wanted,
            Some(Value::Array(many)) => many.iter().any(|v| v.as_str() == Some(wanted)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
        }
    }

    /// All members.
    #[must_use]
    pub const fn members(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl From<Map<String, Value>> for Object {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

/// Reads any value.
#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH { Err(E::custom("too deep")) } else { Ok(Self { depth: self.depth + 1 }) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(de::Error::custom(DUPLICATE));
            }
            map.insert(name, members.next_value_seed(seed)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_refused_wherever_it_stands_and_however_it_is_written() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"a":2}}"#,
            r#"{"b":[0,{"a":1,"a":2}]}"#,
        ] {
            assert_eq!(Object::parse(text.as_bytes()), Err(ObjectError::Duplicate), "{text}");
        }
        assert!(Object::parse(br#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#).is_ok());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            r#""a""#,
            "{",
            "{}{}",
            "{} x",
            "\u{feff}{}",
            r#"{"a":NaN}"#,
            "{a:1}",
            "{\"a\":1,}",
        ] {
            assert_eq!(Object::parse(text.as_bytes()), Err(ObjectError::NotAnObject), "{text}");
        }
        assert_eq!(Object::parse(b"{\"a\":\"\xff\"}"), Err(ObjectError::NotAnObject));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(20), "]".repeat(20));
        assert_eq!(Object::parse(deep.as_bytes()), Err(ObjectError::NotAnObject));
        assert!(Object::parse(b" {} \n").is_ok());
    }

    #[test]
    fn members_are_read_by_their_kind() {
        let o = Object::parse(br#"{"t":"x","n":7,"f":7.9,"neg":-1,"big":1e300,"aud":["a","b"],"s":"7"}"#)
            .unwrap();
        assert_eq!((o.text("t"), o.text("n"), o.text("zz")), (Some("x"), None, None));
        assert_eq!(o.date("n"), Some(Timestamp::from_secs(7)));
        assert_eq!(o.date("f"), Some(Timestamp::from_secs(7)));
        assert_eq!((o.date("neg"), o.date("big"), o.date("s"), o.date("zz")), (None, None, None, None));
        assert!(o.names("aud", "b") && o.names("t", "x"));
        assert!(!o.names("aud", "c") && !o.names("n", "7") && !o.names("zz", "x"));
    }
}
