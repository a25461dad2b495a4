//! The part of structured fields (RFC 9651) that signatures and digests are written in: dictionaries of items and of
//! lists, with parameters. What the RFC reads generously is refused here: a key that comes twice, numbers with a
//! fraction, base64 that is not canonical.

use std::{borrow::Cow, fmt::Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use smallvec::SmallVec;

/// More than this is in no field that means well.
const MOST_MEMBERS: usize = 64;
/// So many members a list mostly has at most.
const FEW: usize = 6;

/// What a byte can be part of; one look tells.
const KEY: u8 = 1;
const TOKEN: u8 = 2;
const BASE64: u8 = 4;
const DIGIT: u8 = 8;
/// Of a string, and as it stands there.
const PLAIN: u8 = 16;
const CLASSES: [u8; 256] = {
    const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
    const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const DIGITS: &[u8] = b"0123456789";
    let classes = with([0; 256], LOWER, KEY | TOKEN | BASE64 | PLAIN);
    let classes = with(classes, UPPER, TOKEN | BASE64 | PLAIN);
    let classes = with(classes, DIGITS, KEY | TOKEN | BASE64 | DIGIT | PLAIN);
    let classes = with(classes, b"_-.*", KEY);
    let classes = with(classes, b"!#$%&'*+-.^_`|~:/", TOKEN);
    let classes = with(classes, b"+/=", BASE64);
    with(classes, b" !#$%&'()*+,-./:;<=>?@[]^_`{|}~", PLAIN)
};

const fn with(mut classes: [u8; 256], bytes: &[u8], class: u8) -> [u8; 256] {
    let mut at = 0;
    while at < bytes.len() {
        classes[bytes[at] as usize] |= class;
        at += 1;
    }
    classes
}

/// Why a field cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StructuredError {
    /// Bytes that no structured field has.
    #[error("not visible ASCII")]
    NotText,
    /// Longer than any that is meant well.
    #[error("too long")]
    TooLong,
    /// Something else was expected at this byte.
    #[error("not a structured field (RFC 9651) at byte {0}")]
    Syntax(usize),
    /// A key comes twice.
    #[error("a key comes twice at byte {0}")]
    Twice(usize),
}

/// A value; what is text lies where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bare<'a> {
    Integer(i64),
    Text(Cow<'a, str>),
    Token(&'a str),
    Bytes(Vec<u8>),
    Bool(bool),
}

/// A value with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) value: Bare<'a>,
    pub(super) params: Params<'a>,
}

pub(super) type Params<'a> = Vec<(&'a str, Bare<'a>)>;

/// What stands behind a key of a dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member<'a> {
    Item(Item<'a>),
    List {
        items: Vec<Item<'a>>,
        params: Params<'a>,
        /// What it was read from, if [`write_list`] writes just that.
        written: Option<&'a str>,
    },
}

/// Keys and what stands behind them; mostly there is one.
pub(super) type Members<'a> = SmallVec<[(&'a str, Member<'a>); 1]>;

/// Reads a dictionary of at most `most` bytes.
pub(super) fn dictionary(text: &[u8], most: usize) -> Result<Members<'_>, StructuredError> {
    if text.len() > most {
        return Err(StructuredError::TooLong);
    }
    // Each byte is looked at, whatever the others are: that takes several in one step.
    if !text.iter().fold(true, |fits, b| fits & matches!(b, b' ' | b'\t' | 0x21..=0x7e)) {
        return Err(StructuredError::NotText);
    }
    let text = std::str::from_utf8(text).map_err(|_| StructuredError::NotText)?;
    let mut reader = Reader { text, at: 0, is_as_written: true };
    let mut members = Members::new();
    reader.spaces();
    while reader.at < reader.text.len() {
        if members.len() == MOST_MEMBERS {
            return Err(StructuredError::TooLong);
        }
        let began = reader.at;
        let key = reader.key()?;
        if members.iter().any(|(known, _)| *known == key) {
            return Err(StructuredError::Twice(began));
        }
        let member = reader.member()?;
        members.push((key, member));
        reader.blanks();
        if reader.at == reader.text.len() {
            return Ok(members);
        }
        reader.expect(b',')?;
        reader.blanks();
        if reader.at == reader.text.len() {
            return Err(reader.wrong());
        }
    }
    Ok(members)
}

/// Writes a list of items with its parameters: what a signature is made over.
pub(super) fn write_list(out: &mut String, items: &[Item<'_>], params: &Params<'_>) {
    out.push('(');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(' ');
        }
        write_bare(out, &item.value);
        write_params(out, &item.params);
    }
    out.push(')');
    write_params(out, params);
}

pub(super) fn write_params(out: &mut String, params: &Params<'_>) {
    for (key, value) in params {
        out.push(';');
        out.push_str(key);
        if *value != Bare::Bool(true) {
            out.push('=');
            write_bare(out, value);
        }
    }
}

pub(super) fn write_bare(out: &mut String, value: &Bare<'_>) {
    match value {
        // A string takes whatever is written.
        Bare::Integer(number) => drop(write!(out, "{number}")),
        Bare::Token(token) => out.push_str(token),
        Bare::Bool(yes) => out.push_str(if *yes { "?1" } else { "?0" }),
        Bare::Text(text) => {
            out.push('"');
            let mut rest = &**text;
            while let Some(at) = rest.find(['"', '\\']) {
                let (plain, escaped) = rest.split_at(at);
                out.push_str(plain);
                out.push('\\');
                out.push_str(&escaped[..1]);
                rest = &escaped[1..];
            }
            out.push_str(rest);
            out.push('"');
        }
        Bare::Bytes(bytes) => {
            out.push(':');
            STANDARD.encode_string(bytes, out);
            out.push(':');
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Whether everything since the list began stands as it would be written.
    is_as_written: bool,
}

impl<'a> Reader<'a> {
    const fn wrong(&self) -> StructuredError {
        StructuredError::Syntax(self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), StructuredError> {
        if self.eat(byte) { Ok(()) } else { Err(self.wrong()) }
    }

    /// How many there are.
    fn spaces(&mut self) -> usize {
        let began = self.at;
        while self.eat(b' ') {}
        self.at - began
    }

    fn blanks(&mut self) {
        while self.eat(b' ') || self.eat(b'\t') {}
    }

    /// All that follows of some class of bytes.
    fn take(&mut self, class: u8) -> &'a str {
        // Only ASCII is let in.
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|b| CLASSES[usize::from(b)] & class == 0);
        let (taken, _) = rest.split_at(end.unwrap_or(rest.len()));
        self.at += taken.len();
        taken
    }

    fn key(&mut self) -> Result<&'a str, StructuredError> {
        if !self.peek().is_some_and(|b| b.is_ascii_lowercase() || b == b'*') {
            return Err(self.wrong());
        }
        Ok(self.take(KEY))
    }

    fn member(&mut self) -> Result<Member<'a>, StructuredError> {
        if !self.eat(b'=') {
            let params = self.params()?;
            return Ok(Member::Item(Item { value: Bare::Bool(true), params }));
        }
        if self.peek() == Some(b'(') { self.list() } else { self.item().map(Member::Item) }
    }

    fn list(&mut self) -> Result<Member<'a>, StructuredError> {
        let began = self.at;
        self.is_as_written = true;
        self.expect(b'(')?;
        let mut items = Vec::with_capacity(FEW);
        loop {
            let spaces = self.spaces();
            let is_over = self.eat(b')');
            self.is_as_written &= spaces == usize::from(!is_over && !items.is_empty());
            if is_over {
                let params = self.params()?;
                let written = self.is_as_written.then(|| &self.text[began..self.at]);
                return Ok(Member::List { items, params, written });
            }
            if items.len() == MOST_MEMBERS {
                return Err(StructuredError::TooLong);
            }
            items.push(self.item()?);
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return Err(self.wrong());
            }
        }
    }

    fn item(&mut self) -> Result<Item<'a>, StructuredError> {
        let value = self.bare()?;
        Ok(Item { value, params: self.params()? })
    }

    fn params(&mut self) -> Result<Params<'a>, StructuredError> {
        let mut params = Params::new();
        while self.eat(b';') {
            self.is_as_written &= self.spaces() == 0;
            let began = self.at;
            let key = self.key()?;
            if params.iter().any(|(known, _)| *known == key) {
                return Err(StructuredError::Twice(began));
            }
            if params.len() == MOST_MEMBERS {
                return Err(StructuredError::TooLong);
            }
            if params.is_empty() {
                params.reserve(FEW);
            }
            let said = self.eat(b'=');
            let value = if said { self.bare()? } else { Bare::Bool(true) };
            self.is_as_written &= !said || value != Bare::Bool(true);
            params.push((key, value));
        }
        Ok(params)
    }

    fn bare(&mut self) -> Result<Bare<'a>, StructuredError> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b'"') => self.string(),
            Some(b':') => self.bytes(),
            Some(b'?') => self.boolean(),
            Some(b) if b.is_ascii_alphabetic() || b == b'*' => Ok(Bare::Token(self.take(TOKEN))),
            Some(_) | None => Err(self.wrong()),
        }
    }

    fn integer(&mut self) -> Result<Bare<'a>, StructuredError> {
        let negative = self.eat(b'-');
        let began = self.at;
        let digits = self.take(DIGIT);
        self.is_as_written &= !digits.starts_with('0') || (digits == "0" && !negative);
        let number = if (1..=15).contains(&digits.len()) { digits.parse::<i64>().ok() } else { None };
        match number {
            Some(number) if self.peek() != Some(b'.') => {
                Ok(Bare::Integer(if negative { -number } else { number }))
            }
            Some(_) | None => Err(StructuredError::Syntax(began)),
        }
    }

    fn string(&mut self) -> Result<Bare<'a>, StructuredError> {
        self.expect(b'"')?;
        let plain = self.take(PLAIN);
        if self.eat(b'"') {
            return Ok(Bare::Text(Cow::Borrowed(plain)));
        }
        let mut text = plain.to_owned();
        loop {
            let byte = self.peek().ok_or(StructuredError::Syntax(self.at))?;
            self.at += 1;
            match byte {
                b'"' => return Ok(Bare::Text(Cow::Owned(text))),
                b'\\' => {
                    let escaped = self.peek().filter(|b| matches!(b, b'"' | b'\\')).ok_or(self.wrong())?;
                    self.at += 1;
                    text.push(char::from(escaped));
                }
                b'\t' => return Err(StructuredError::Syntax(self.at - 1)),
                other => text.push(char::from(other)),
            }
        }
    }

    fn bytes(&mut self) -> Result<Bare<'a>, StructuredError> {
        self.expect(b':')?;
        let began = self.at;
        let text = self.take(BASE64);
        let bytes = STANDARD.decode(text).map_err(|_| StructuredError::Syntax(began))?;
        self.expect(b':')?;
        Ok(Bare::Bytes(bytes))
    }

    fn boolean(&mut self) -> Result<Bare<'a>, StructuredError> {
        self.expect(b'?')?;
        if self.eat(b'1') {
            Ok(Bare::Bool(true))
        } else {
            self.expect(b'0')?;
            Ok(Bare::Bool(false))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn again(text: &str) -> String {
        let mut out = String::new();
        for (n, (key, member)) in dictionary(text.as_bytes(), 4_096).unwrap().into_iter().enumerate() {
            out.push_str(if n > 0 { ", " } else { "" });
            out.push_str(key);
            match member {
                Member::List { items, params, written } => {
                    let mut list = String::new();
                    write_list(&mut list, &items, &params);
                    assert!(written.is_none_or(|written| written == list), "{written:?}, {list:?}");
                    out.push('=');
                    out.push_str(&list);
                }
                Member::Item(item) => {
                    out.push('=');
                    write_bare(&mut out, &item.value);
                    write_params(&mut out, &item.params);
                }
            }
        }
        out
    }

    #[test]
    fn what_is_written_canonically_reads_back_the_same() {
        for text in [
            r#"sig1=("@method" "@authority" "content-digest");created=1618884473;keyid="a\"b\\c";tag=?0"#,
            "a=1, b=-15, c=tok/en, d=:aGk=:, e=?0, f=()",
            r#"x=("a";sf "b";key="k");p"#,
        ] {
            assert_eq!(again(text), text);
        }
        assert_eq!(again(r#"a=( "x"   "y" ) ,	b"#), r#"a=("x" "y"), b=?1"#);
    }

    #[test]
    fn a_list_that_stands_as_it_is_written_is_known_from_one_that_does_not() {
        let is_as_written = |list: &str| {
            let text = format!("a=1;x=?1, b={list}, c=07");
            match dictionary(text.as_bytes(), 4_096).unwrap().remove(1) {
                (_, Member::List { written, .. }) => written.is_some_and(|written| written == list),
                (_, Member::Item(_)) => panic!("no list"),
            }
        };
        for list in ["()", r#"("a" "b";c);d="\"\\";e;f=-1;g=0;h=:aGk=:;i=?0"#, "(?1 tok 10)"] {
            assert!(is_as_written(list), "{list}");
        }
        for list in
            ["( )", "( 1)", "(1 )", "(1  2)", "(1; a)", "(1);a=?1", "(01)", "(-0)", "();a=00", "(1;a=?1)"]
        {
            assert!(!is_as_written(list), "{list}");
        }
    }

    #[test]
    fn every_byte_is_of_the_classes_that_the_standard_says() {
        for byte in 0..=u8::MAX {
            let is = |class: u8| CLASSES[usize::from(byte)] & class != 0;
            let (alphanumeric, digit) = (byte.is_ascii_alphanumeric(), byte.is_ascii_digit());
            let key = byte.is_ascii_lowercase() || digit || b"_-.*".contains(&byte);
            assert_eq!(is(KEY), key, "{byte}");
            assert_eq!(is(TOKEN), alphanumeric || b"!#$%&'*+-.^_`|~:/".contains(&byte), "{byte}");
            assert_eq!(is(BASE64), alphanumeric || b"+/=".contains(&byte), "{byte}");
            assert_eq!(is(DIGIT), digit, "{byte}");
            assert_eq!(is(PLAIN), matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte), "{byte}");
        }
    }

    #[test]
    fn what_is_generous_in_the_standard_is_refused_here() {
        for bad in [
            "a=1,",
            "a=1,,b=2",
            "A=1",
            "a=1 b=2",
            "a=1.5",
            "a=1234567890123456",
            r#"a="x"#,
            "a=:aGk:",
            "a=:aGl=:",
            "a=?2",
            "a=@1",
            "a=(1",
            "a=(1(2))",
            r#"a="\x""#,
            "a=1, a=2",
            "a=1;b;b",
            "a=\u{e9}",
            "=1",
            "a=-",
        ] {
            assert!(dictionary(bad.as_bytes(), 4_096).is_err(), "{bad}");
        }
        assert_eq!(dictionary(b"a=1", 2), Err(StructuredError::TooLong));
        assert_eq!(dictionary(b"", 2), Ok(Members::new()));
    }

    proptest! {
        #[test]
        fn whatever_reads_is_written_canonically(text in "[a-z0-9=(),;\":?@/+ \\\\-]{0,60}") {
            if dictionary(text.as_bytes(), 4_096).is_ok() {
                let once = again(&text);
                prop_assert_eq!(again(&once), once);
            }
        }
    }
}
