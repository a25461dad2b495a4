//! Takes secrets out of texts on their way to a log: whatever has the form of a key, token or credential header, in
//! clear, base64, hex or percent escapes, and the secrets that it was told of, in the same forms.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use base64::{Engine, engine::general_purpose as alphabet};
use regex::{Captures, Regex};
use tracing_subscriber::fmt::MakeWriter;

use crate::secret::Secret;

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";
const LEAST_KNOWN_BYTES: usize = 6;

/// The patterns. They are constants and tested: one that cannot be read would match nothing.
struct Patterns {
    /// Keys and tokens of a gateway of any brand, provider's keys, and JWTs.
    forms: Option<Regex>,
    /// The same where they were decoded from something else: their ends are not known.
    decoded: Option<Regex>,
    /// Credentials by the header's name: with a scheme, and without.
    schemes: Option<Regex>,
    headers: Option<Regex>,
    /// Members of token answers and forms.
    fields: Option<Regex>,
    base64: Option<Regex>,
    hex: Option<Regex>,
    escaped: Option<Regex>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let read = |pattern: &str| Regex::new(pattern).ok();
    Patterns {
        forms: read(concat!(
            r"\b[a-z]{3}_[a-z]{4}_[0-9A-Za-z]{43,}",
            r"|\bsk-ant-[a-z0-9]+-[0-9A-Za-z_-]{16,}",
            r"|\beyJ[0-9A-Za-z_-]{6,}\.[0-9A-Za-z_-]{2,}\.[0-9A-Za-z_-]*"
        )),
        decoded: read(concat!(
            r"[a-z]{3}_[a-z]{4}_[0-9A-Za-z]{43}",
            r"|sk-ant-[a-z0-9]+-[0-9A-Za-z_-]{16}",
            r"|eyJ[0-9A-Za-z_-]{6,}\.[0-9A-Za-z_-]{2,}\."
        )),
        schemes: read(concat!(
            r#"(?i)(\b(?:proxy-)?authorization["']?(?:["']\s*,|\s*[:=])\s*["']?(?:bearer|basic|dpop)\s+)"#,
            r#"[^\s"',;&})\]]+"#
        )),
        headers: read(concat!(
            r"(?i)(\b(?:x-api-key|api-key|x-vault-token|dpop|x-request-signature|signature)",
            r#"(?:["']\s*,\s*["']|["']?\s*[:=]\s*["']?))[^\s"',;&})\]]+"#
        )),
        fields: read(concat!(
            r"(?i)(\b(?:access_token|refresh_token|id_token|signing_secret|client_secret|client_assertion",
            r#"|subject_token|actor_token)(?:["']\s*[:,]\s*["']|["']?\s*=\s*["']?))[^\s"',;&})\]]+"#
        )),
        base64: read(r"[0-9A-Za-z+/_-]{32,}={0,2}"),
        hex: read(r"[0-9A-Fa-f]{64,}"),
        escaped: read(r"[0-9A-Za-z._~-]*%[0-9A-Fa-f]{2}[0-9A-Za-z%._~-]*"),
    }
});

/// The filter. Clones know the same secrets.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Vec<String>>>);

impl Redactor {
    /// One that goes by form alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns a secret by value; one of fewer than 6 bytes is left out.
    #[must_use]
    pub fn knowing(self, secret: &Secret) -> Self {
        let text = secret.reveal();
        if text.len() >= LEAST_KNOWN_BYTES {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.extend(forms_of(text));
            // The longest first: a form may contain another.
            known.sort_by_key(|form| std::cmp::Reverse(form.len()));
            known.dedup();
        }
        self
    }

    /// The text without its secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), REDACTED);
            }
        }
        let patterns = &*PATTERNS;
        text = replace(patterns.forms.as_ref(), text, |_| Some(REDACTED.to_owned()));
        for named in [&patterns.schemes, &patterns.headers, &patterns.fields] {
            let keep_name = |found: &Captures<'_>| Some(format!("{}{REDACTED}", found.get(1)?.as_str()));
            text = replace(named.as_ref(), text, keep_name);
        }
        self.decoded(text, 0)
    }

    /// Without what hides a secret in another alphabet, or in one that was put into another.
    fn decoded(&self, text: String, depth: u8) -> String {
        let patterns = &*PATTERNS;
        let hidden = |is: bool| is.then(|| REDACTED.to_owned());
        let text = replace(patterns.hex.as_ref(), text, |found| {
            let run = found.get(0)?.as_str();
            hidden(hex::decode(&run[..run.len() & !1]).is_ok_and(|raw| self.is_secret(&raw, depth)))
        });
        let text = replace(patterns.base64.as_ref(), text, |found| {
            hidden(self.is_hidden_in(found.get(0)?.as_str(), depth))
        });
        replace(patterns.escaped.as_ref(), text, |found| {
            hidden(self.is_secret(&unescape(found.get(0)?.as_str()), depth))
        })
    }

    /// A writer for `tracing_subscriber::fmt` that redacts each event as a whole.
    #[must_use]
    pub fn writer<M>(&self, inner: M) -> RedactingWriter<M> {
        RedactingWriter { redactor: self.clone(), inner }
    }

    /// Reads a run as base64 of both alphabets, from each place where a group of four may begin.
    fn is_hidden_in(&self, run: &str, depth: u8) -> bool {
        let run = run.trim_end_matches('=').replace('-', "+").replace('_', "/");
        (0..4.min(run.len())).any(|offset| {
            let part = &run[offset..];
            let whole = if part.len() % 4 == 1 { &part[..part.len() - 1] } else { part };
            let decoder = alphabet::GeneralPurpose::new(
                &base64::alphabet::STANDARD,
                alphabet::NO_PAD.with_decode_allow_trailing_bits(true),
            );
            decoder.decode(whole).is_ok_and(|raw| self.is_secret(&raw, depth))
        })
    }

    fn is_secret(&self, raw: &[u8], depth: u8) -> bool {
        let text = String::from_utf8_lossy(raw);
        let is_known = {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            known.iter().any(|form| text.contains(form.as_str()))
        };
        if is_known || PATTERNS.decoded.as_ref().is_some_and(|pattern| pattern.is_match(&text)) {
            return true;
        }
        // What is no text was read from a wrong place, or holds nothing that can be read.
        depth == 0 && raw.is_ascii() && self.decoded(text.clone().into_owned(), 1) != *text
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

/// Replaces what `with` gives something for.
fn replace(pattern: Option<&Regex>, text: String, with: impl Fn(&Captures<'_>) -> Option<String>) -> String {
    let Some(pattern) = pattern else { return text };
    let kept = |found: &Captures<'_>| found.get(0).map_or_else(String::new, |all| all.as_str().to_owned());
    match pattern.replace_all(&text, |found: &Captures<'_>| with(found).unwrap_or_else(|| kept(found))) {
        Cow::Borrowed(_) => text,
        Cow::Owned(changed) => changed,
    }
}

/// What a secret looks like in the alphabets of logs.
fn forms_of(text: &str) -> Vec<String> {
    let raw = text.as_bytes();
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
    let ascii = inside.encode_utf16().fold(String::new(), |mut out, unit| {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(char::from(byte)),
            Ok(_) | Err(_) => out.push_str(&format!("\\u{unit:04x}")),
        }
        out
    });
    let percent = |keep: fn(u8) -> bool| {
        raw.iter().fold(String::new(), |mut out, byte| {
            if keep(*byte) {
                out.push(char::from(*byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
    };
    let unreserved = percent(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let forms = vec![
        text.to_owned(),
        inside,
        ascii,
        percent(|b| b.is_ascii_alphanumeric()),
        unreserved.replace("%20", "+"),
        unreserved,
        alphabet::STANDARD.encode(raw),
        alphabet::STANDARD_NO_PAD.encode(raw),
        alphabet::URL_SAFE.encode(raw),
        alphabet::URL_SAFE_NO_PAD.encode(raw),
        hex::encode(raw),
        hex::encode_upper(raw),
    ];
    forms.into_iter().filter(|form| form.len() >= LEAST_KNOWN_BYTES).collect()
}

/// Percent escapes; a broken one stays as it is.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let mut byte = [0];
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if escape.is_some_and(|digits| hex::decode_to_slice(digits, &mut byte).is_ok()) {
            out.push(byte[0]);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

/// Makes writers that redact.
#[derive(Debug, Clone)]
pub struct RedactingWriter<M> {
    redactor: Redactor,
    inner: M,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for RedactingWriter<M> {
    type Writer = Redacting<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Redacting { redactor: self.redactor.clone(), inner: self.inner.make_writer(), held: Vec::new() }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        let inner = self.inner.make_writer_for(meta);
        Redacting { redactor: self.redactor.clone(), inner, held: Vec::new() }
    }
}

/// Holds one event until it is whole.
#[derive(Debug)]
pub struct Redacting<W: Write> {
    redactor: Redactor,
    inner: W,
    held: Vec<u8>,
}

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let clean = self.redactor.redact(&String::from_utf8_lossy(&held));
        self.inner.write_all(clean.as_bytes())?;
        self.inner.flush()
    }
}

impl<W: Write> Drop for Redacting<W> {
    fn drop(&mut self) {
        // A log that cannot be written has nowhere to say so.
        let _ = self.flush();
    }
}
