//! The last guard of the logs: whatever looks like a secret in the final bytes is replaced, however it got there.

use std::{borrow::Cow, sync::Arc};

use arc_swap::ArcSwap;
use claviger_domain::{secret::SecretBytes, token::Brand};

const MASK: &[u8] = b"[scrubbed]";
/// Shorter runs after a known beginning are words about keys, not keys.
const MIN_SECRET: usize = 8;

/// Replaces secrets in bytes: our keys, the provider's, bearer values, JWTs, and secrets told to it by value.
#[derive(Clone)]
pub struct Scrubber {
    starts: Arc<[Start]>,
    known: Arc<ArcSwap<Vec<SecretBytes>>>,
}

/// A beginning after which a run of secret characters is masked.
struct Start {
    text: Vec<u8>,
    /// Keep the beginning itself visible.
    keep: usize,
}

const fn secret_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~' | b'+' | b'/' | b'=')
}

impl Scrubber {
    /// A scrubber for keys of this brand.
    #[must_use]
    pub fn new(brand: Brand) -> Self {
        let ours = |class| Start { text: format!("{}_{class}_", brand.as_str()).into_bytes(), keep: 9 };
        let word = |text: &str| Start { text: text.as_bytes().to_vec(), keep: text.len() };
        let starts =
            [ours("live"), ours("test"), word("sk-ant-"), word("Bearer "), word("bearer "), word("eyJ")];
        Self { starts: Arc::from(starts), known: Arc::new(ArcSwap::from_pointee(Vec::new())) }
    }

    /// Tells the scrubber which secrets there are now, for those that have no pattern, such as a provider key of
    /// unusual shape.
    pub fn know(&self, secrets: Vec<SecretBytes>) {
        let long = secrets.into_iter().filter(|s| s.expose().len() >= MIN_SECRET).collect();
        self.known.store(Arc::new(long));
    }

    /// The bytes without secrets; borrowed when there was none.
    #[must_use]
    pub fn scrub<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let known = self.known.load();
        let mut out: Option<Vec<u8>> = None;
        let mut at = 0;
        let mut copied = 0;
        while at < bytes.len() {
            let Some((keep, end)) = self.secret_at(&known, bytes, at) else {
                at += 1;
                continue;
            };
            let out = out.get_or_insert_with(|| Vec::with_capacity(bytes.len()));
            out.extend_from_slice(bytes.get(copied..at + keep).unwrap_or_default());
            out.extend_from_slice(MASK);
            at = end;
            copied = end;
        }
        match out {
            None => Cow::Borrowed(bytes),
            Some(mut out) => {
                out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
                Cow::Owned(out)
            }
        }
    }

    /// Whether a secret begins at `at`: how much of it may stay, and where it ends.
    fn secret_at(&self, known: &[SecretBytes], bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        let rest = bytes.get(at..)?;
        if let Some(secret) = known.iter().find(|s| rest.starts_with(s.expose())) {
            return Some((0, at + secret.expose().len()));
        }
        let start = self.starts.iter().find(|s| rest.starts_with(&s.text))?;
        let run = rest.iter().skip(start.text.len()).take_while(|b| secret_char(**b)).count();
        (run >= MIN_SECRET).then_some((start.keep, at + start.text.len() + run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(text: &str) -> String {
        String::from_utf8(Scrubber::new(Brand::DEFAULT).scrub(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn no_secret_shape_leaves_in_a_log_line() {
        for (line, clean) in [
            ("k=cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb.", "k=cvg_live_[scrubbed]"),
            ("x-api-key: sk-ant-api03-abcdefgh\"", "x-api-key: sk-ant-[scrubbed]\""),
            ("Authorization: Bearer abcdefghij\r\n", "Authorization: Bearer [scrubbed]\r\n"),
            ("t=eyJhbGciOiJFZERTQSJ9.e30.sig,", "t=eyJ[scrubbed],"),
            ("a cvg_live_ key, the Bearer is", "a cvg_live_ key, the Bearer is"),
        ] {
            assert_eq!(scrub(line), clean);
        }
    }

    #[test]
    fn a_known_secret_is_masked_whatever_its_shape() {
        let s = Scrubber::new(Brand::DEFAULT);
        s.know(vec![SecretBytes::new(b"p@ss word!".to_vec())]);
        assert_eq!(s.scrub(b"x p@ss word! y").as_ref(), b"x [scrubbed] y");
    }
}
