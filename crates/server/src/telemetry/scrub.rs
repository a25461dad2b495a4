//! The last guard of the logs: whatever is or looks like a secret in the final bytes is replaced, however it got there.
//!
//! One automaton looks for the beginnings of secrets and for secrets that it was told, in clear and as they begin in base64,
//! hex and lists of byte values; only where it finds one is anything decoded. Escapes (percent, JSON, Rust) are undone beforehand,
//! level by level, in a copy that knows where its bytes came from.

mod forms;
mod needles;
#[cfg(test)]
mod tests;
mod view;

use std::{
    borrow::Cow,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use claviger_domain::{secret::SecretBytes, token::Brand};

use needles::Needles;
use view::View;

const MASK: &[u8] = b"[scrubbed]";
/// Escapes within escapes that are undone: JSON in JSON in a URL.
const MAX_LEVELS: usize = 3;
/// The longest line that is printed; what is longer ends early and says so.
const MAX_LINE: usize = 256 * 1024;
/// So much before the end of a line that was cut is left out, too: a secret may have lost its end there.
const CUT_MARGIN: usize = 8 * 1024;

/// Replaces secrets in bytes: our tokens, the provider's, JWTs, credentials by their header's or field's name, passwords in
/// URLs, private keys, and secrets told to it by value. Clones know the same.
#[derive(Clone)]
pub struct Scrubber {
    brand: Brand,
    told: Arc<Mutex<Told>>,
    needles: Arc<ArcSwap<Needles>>,
}

/// What it was told, by where it came from.
#[derive(Default)]
struct Told {
    settings: Vec<SecretBytes>,
    keys: Vec<SecretBytes>,
}

impl Scrubber {
    /// A scrubber for keys of this brand, and of any other.
    #[must_use]
    pub fn new(brand: Brand) -> Self {
        let needles = Arc::new(ArcSwap::from_pointee(Needles::new(&[])));
        Self { brand, told: Arc::default(), needles }
    }

    /// Tells the secrets that the settings hold, such as a password in a URL.
    pub fn know_settings(&self, secrets: Vec<SecretBytes>) {
        self.tell(|told| told.settings = secrets);
    }

    /// Tells which provider keys and other sealed secrets there are now; those told before are forgotten.
    pub fn know(&self, secrets: Vec<SecretBytes>) {
        self.tell(|told| told.keys = secrets);
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut told);
        let all: Vec<&[u8]> = told.settings.iter().chain(&told.keys).map(SecretBytes::expose).collect();
        self.needles.store(Arc::new(Needles::new(&all)));
    }

    /// The bytes without secrets; borrowed when there was none. UTF-8 stays UTF-8, and JSON stays JSON.
    #[must_use]
    pub fn scrub<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let spans = self.spans(bytes);
        if spans.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut copied = 0;
        for span in spans {
            out.extend_from_slice(&bytes[copied..span.start]);
            out.extend_from_slice(MASK);
            copied = span.end;
        }
        out.extend_from_slice(&bytes[copied..]);
        let was_json = bytes.first() == Some(&b'{') && is_json(bytes);
        Cow::Owned(if was_json && !is_json(&out) { quoted(&out) } else { out })
    }

    /// One line as it may be printed: scrubbed, and of bounded length.
    #[must_use]
    pub fn line<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let clean = self.scrub(bytes);
        if bytes.len() <= MAX_LINE {
            return clean;
        }
        let text = String::from_utf8_lossy(&clean[..clean.len().min(MAX_LINE - CUT_MARGIN)]).into_owned()
            + " … (cut)";
        Cow::Owned(if bytes.first() == Some(&b'{') {
            quoted(text.as_bytes())
        } else {
            (text + "\n").into_bytes()
        })
    }

    /// Text for people, such as the last word of a command.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.scrub(text.as_bytes())).into_owned()
    }

    /// Where secrets stand: in order, apart.
    fn spans(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let needles = self.needles.load();
        let mut found = forms::find(&needles, self.brand, bytes);
        found.extend(forms::find_twice(&needles, self.brand, bytes));
        let mut views: Vec<View> = Vec::new();
        while views.len() < MAX_LEVELS {
            let Some(view) = view::unescaped(views.last().map_or(bytes, View::bytes)) else { break };
            let inside = forms::find(&needles, self.brand, view.bytes());
            views.push(view);
            found.extend(
                inside.into_iter().map(|span| views.iter().rev().fold(span, |span, view| view.source(span))),
            );
        }
        merged(bytes, found)
    }
}

/// In order, apart, and never beginning within an escape, whose backslash would be left alone.
fn merged(bytes: &[u8], mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    for span in &mut found {
        let slashes = bytes[..span.start].iter().rev().take_while(|b| **b == b'\\').count();
        span.start -= slashes % 2;
    }
    found.sort_by_key(|span| span.start);
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for span in found {
        match apart.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            Some(_) | None => apart.push(span),
        }
    }
    apart
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// A line that lost its form, as one string in an object.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut line = serde_json::json!({ "scrubbed": text.trim_end() }).to_string().into_bytes();
    line.push(b'\n');
    line
}
