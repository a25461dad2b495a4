//! The parameters of a request at the token counter: a form (RFC 6749, appendix B), or a JSON object of strings with
//! the same names.

use claviger_domain::jose::{Object, ObjectError};
use http::{HeaderMap, header};
use zeroize::Zeroizing;

/// Parameters a request can have.
const MOST: usize = 32;

/// Not a form. Nothing of it is repeated: it may hold a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Neither a form nor a JSON object of strings.
    #[error("expected a form (application/x-www-form-urlencoded), or a JSON object of strings")]
    Malformed,
    /// A parameter stands twice (RFC 6749, 3.2).
    #[error("a parameter stands twice")]
    Duplicate,
}

/// Parameters by name. Their memory is zeroed.
#[derive(Default)]
pub struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads a body. An empty one has no parameters.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, FormError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
        let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let pairs = if kind.eq_ignore_ascii_case(b"application/json") {
            json(body)?
        } else if kind.is_empty() || kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            form(body)?
        } else {
            return Err(FormError::Malformed);
        };
        let mut seen = std::collections::HashSet::new();
        if !pairs.iter().all(|(name, _)| seen.insert(name.as_str())) {
            return Err(FormError::Duplicate);
        }
        Ok(Self(pairs))
    }

    /// A parameter; one without a value is as good as left out (RFC 6749, 3.2).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

type Pairs = Vec<(String, Zeroizing<String>)>;

fn json(body: &[u8]) -> Result<Pairs, FormError> {
    let object = Object::parse(body).map_err(|error| match error {
        ObjectError::Duplicate => FormError::Duplicate,
        ObjectError::NotAnObject => FormError::Malformed,
    })?;
    if object.members().len() > MOST {
        return Err(FormError::Malformed);
    }
    let pair = |(name, value): (&String, &serde_json::Value)| {
        let text = value.as_str().ok_or(FormError::Malformed)?;
        Ok((name.clone(), Zeroizing::new(text.to_owned())))
    };
    object.members().iter().map(pair).collect()
}

fn form(body: &[u8]) -> Result<Pairs, FormError> {
    let mut pairs = Vec::new();
    for part in body.split(|b| *b == b'&').filter(|part| !part.is_empty()) {
        if pairs.len() >= MOST {
            return Err(FormError::Malformed);
        }
        let at = part.iter().position(|b| *b == b'=').unwrap_or(part.len());
        let value = part.get(at + 1..).unwrap_or_default();
        pairs.push((decoded(&part[..at])?, Zeroizing::new(decoded(value)?)));
    }
    Ok(pairs)
}

fn decoded(text: &[u8]) -> Result<String, FormError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(*b).to_digit(16));
                let (high, low) =
                    (digit().ok_or(FormError::Malformed)?, digit().ok_or(FormError::Malformed)?);
                u8::try_from(high * 16 + low).map_err(|_| FormError::Malformed)?
            }
            other => *other,
        });
    }
    String::from_utf8(out).map_err(|_| FormError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(kind: &'static str, body: &str) -> Result<Form, FormError> {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Form::parse(&headers, body.as_bytes())
    }

    #[test]
    fn forms_and_objects_of_strings_say_the_same() {
        for form in [
            parse("application/x-www-form-urlencoded", "scope=a%3Ab+c&token=%C3%A9&empty=&flag").unwrap(),
            parse("application/json; charset=utf-8", r#"{"scope":"a:b c","token":"é","empty":""}"#).unwrap(),
            parse("", "&scope=a:b%20c&token=é&").unwrap(),
        ] {
            assert_eq!((form.get("scope"), form.get("token")), (Some("a:b c"), Some("é")));
            assert_eq!((form.get("empty"), form.get("flag"), form.get("nothing")), (None, None, None));
        }
        assert!(parse("text/plain", "").is_ok(), "nothing is nothing whatever it is called");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (kind, body, why) in [
            ("application/json", r#"{"token":"a","token":"b"}"#, FormError::Duplicate),
            ("", "token=a&token=b", FormError::Duplicate),
            ("", "token=a&tok%65n=b", FormError::Duplicate),
            ("application/json", r#"{"token":1}"#, FormError::Malformed),
            ("application/json", "token=a", FormError::Malformed),
            ("text/plain", "token=a", FormError::Malformed),
            ("", "token=%zz", FormError::Malformed),
            ("", "token=%4", FormError::Malformed),
            ("", "token=%ff", FormError::Malformed),
        ] {
            assert_eq!(parse(kind, body).unwrap_err(), why, "{body}");
        }
        assert_eq!(parse("", &"a=b&c=d&".repeat(40)).unwrap_err(), FormError::Malformed);
    }

    #[test]
    fn debug_shows_names_only() {
        assert_eq!(format!("{:?}", parse("", "token=secret").unwrap()), r#"["token"]"#);
    }
}
