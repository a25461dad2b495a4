//! Keys inside other text: for scanners of source code, who read it piece by piece.

use std::borrow::Cow;

use memchr::memmem;

use super::{
    Brand, KeyClass, PREFIX_LEN, TOKEN_LEN, Token, TokenKind, base62, inspect,
    side::{SideToken, SideUse},
};

/// What every secret of the provider's begins with.
const PROVIDER: &[u8] = b"sk-ant-";
/// Shorter runs after [`PROVIDER`] are words about keys, not keys.
const MIN_PROVIDER_RUN: usize = 16;
/// No key is longer, so that whoever reads piece by piece knows how much of the last piece to keep.
pub const MAX_KEY_LEN: usize = 256;

/// A key that stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundKey {
    /// Where it begins, in bytes.
    pub start: usize,
    /// How long it is, in bytes; at most [`MAX_KEY_LEN`].
    pub len: usize,
    /// What it is.
    pub kind: TokenKind,
}

/// All keys that begin at `from` or later, in order: ours of any brand and use whose checksum holds, and whatever looks like a
/// secret of the provider's. What stands before `from` is looked at only to see where a word begins.
#[must_use]
pub fn find_keys(text: &[u8], from: usize) -> Vec<FoundKey> {
    let tags = [KeyClass::Live, KeyClass::Test].map(KeyClass::tag);
    let tags = tags.into_iter().chain(SideUse::ALL.map(SideUse::tag));
    let ours =
        tags.flat_map(|tag| memmem::find_iter(text, tag).filter_map(|at| ours_at(text, at.checked_sub(3)?)));
    let theirs = memmem::find_iter(text, PROVIDER).filter_map(|at| theirs_at(text, at));
    let mut found: Vec<FoundKey> = ours.chain(theirs).filter(|f| f.start >= from).collect();
    found.sort_unstable_by_key(|f| f.start);
    found
}

/// The checksum alone decides: what stands around the key does not.
fn ours_at(text: &[u8], start: usize) -> Option<FoundKey> {
    let key = text.get(start..start + TOKEN_LEN)?;
    let brand = Brand::parse(std::str::from_utf8(&key[..3]).ok()?).ok()?;
    let side = SideToken::use_of(brand, key).is_some_and(|to| SideToken::parse(brand, to, key).is_ok());
    if !side && Token::parse(brand, key).is_err() {
        return None;
    }
    Some(FoundKey { start, len: TOKEN_LEN, kind: kind_of(brand, key) })
}

fn kind_of(brand: Brand, key: &[u8]) -> TokenKind {
    std::str::from_utf8(key).map_or(TokenKind::Unknown, |text| inspect::inspect(brand, text).kind)
}

fn theirs_at(text: &[u8], start: usize) -> Option<FoundKey> {
    let within_word = start.checked_sub(1).is_some_and(|before| is_key_byte(text[before]));
    let tail = text.get(start + PROVIDER.len()..)?;
    let run = tail.iter().take(MAX_KEY_LEN - PROVIDER.len()).take_while(|b| is_key_byte(**b)).count();
    if within_word || run < MIN_PROVIDER_RUN || !tail[..run].iter().any(u8::is_ascii_digit) {
        return None;
    }
    let len = PROVIDER.len() + run;
    Some(FoundKey { start, len, kind: kind_of(Brand::DEFAULT, &text[start..start + len]) })
}

const fn is_key_byte(byte: u8) -> bool {
    base62::is_digit(byte) || byte == b'-' || byte == b'_'
}

/// What may be shown of a key that was found: enough to know which one, too little to use it.
#[must_use]
pub fn masked(key: &[u8]) -> String {
    let shown = if key.starts_with(PROVIDER) { PROVIDER.len() + 5 } else { PREFIX_LEN + 4 };
    format!("{}…", String::from_utf8_lossy(key.get(..shown).unwrap_or_default()))
}

/// A token that lost its end still tells something from here on: the public id is shorter.
const MIN_TOKEN_RUN: usize = 16;
const MIN_JWT_RUN: usize = 32;

/// A text with every key and token in it cut to its beginning, whether its checksum holds or not: for messages that repeat
/// what somebody typed in a wrong place.
#[must_use]
pub fn without_keys(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let run = |at: usize, is_in: fn(u8) -> bool| bytes[at..].iter().take_while(|b| is_in(**b)).count();
    let tags =
        [KeyClass::Live, KeyClass::Test].map(KeyClass::tag).into_iter().chain(SideUse::ALL.map(SideUse::tag));
    let ours = tags.flat_map(|tag| memmem::find_iter(bytes, tag)).map(|at| at + 6);
    let ours = ours.map(|at| (at, run(at, base62::is_digit), MIN_TOKEN_RUN));
    let theirs = memmem::find_iter(bytes, PROVIDER).map(|at| at + PROVIDER.len());
    let theirs = theirs.map(|at| (at, run(at, is_key_byte), MIN_PROVIDER_RUN));
    let jwts = memmem::find_iter(bytes, b"eyJ").map(|at| at + 3);
    let jwts = jwts.map(|at| (at, run(at, |b| is_key_byte(b) || b == b'.'), MIN_JWT_RUN));
    let mut found: Vec<(usize, usize)> = ours
        .chain(theirs)
        .chain(jwts)
        .filter(|(_, run, least)| run >= least)
        .map(|(at, run, _)| (at, at + run))
        .collect();
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_unstable();
    let (mut out, mut copied) = (String::with_capacity(text.len()), 0);
    for (start, end) in found {
        if start >= copied {
            out.push_str(&text[copied..start]);
            out.push('…');
        }
        copied = copied.max(end);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Entropy, EntropyError},
        token::Token,
    };
    use proptest::prelude::*;

    const LIVE: &str = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";

    struct Bytes(u8);
    impl Entropy for Bytes {
        fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
            out.iter_mut().enumerate().for_each(|(i, b)| *b = self.0.wrapping_mul(31).wrapping_add(i as u8));
            Ok(())
        }
    }

    fn kinds(text: &str) -> Vec<(usize, usize, TokenKind)> {
        find_keys(text.as_bytes(), 0).into_iter().map(|f| (f.start, f.len, f.kind)).collect()
    }

    #[test]
    fn keys_are_found_wherever_they_stand() {
        let provider = format!("sk-ant-api03-{}AA", "x1".repeat(46));
        let text = format!("KEY={LIVE}\nx = '{provider}'; y=\"{LIVE}{LIVE}\"");
        let found = kinds(&text);
        let at = |n| (n, 52, TokenKind::LiveKey);
        assert_eq!(found[0], at(4));
        assert_eq!(found[1], (62, provider.len(), TokenKind::ProviderApiKey));
        assert_eq!(found[2..], [at(62 + provider.len() + 6), at(62 + provider.len() + 58)]);
        assert_eq!(kinds(&format!("sk-ant-admin01-{}", "a".repeat(20)))[0].2, TokenKind::ProviderAdminKey);
    }

    #[test]
    fn what_administers_and_what_opens_a_delivery_is_found_too() {
        for (to, kind) in [
            (SideUse::Operator, TokenKind::OperatorToken),
            (SideUse::Wrapping, TokenKind::WrappingToken),
            (SideUse::Signing, TokenKind::SigningSecret),
            (SideUse::Refresh, TokenKind::RefreshToken),
        ] {
            let token = SideToken::generate(Brand::DEFAULT, to, &Bytes(7)).unwrap();
            let text = [b"token: ", token.expose().as_slice()].concat();
            assert_eq!(find_keys(&text, 0), [FoundKey { start: 7, len: TOKEN_LEN, kind }]);
        }
    }

    #[test]
    fn words_about_keys_are_not_keys() {
        let typo = LIVE.replace('A', "B");
        for text in [
            "sk-ant-api03-…",
            "sk-ant-api03-",
            "task-ant-colony-simulation-2-framework",
            "sk-ant-colony-simulation",
            "a_test_of_live_things_live_test_",
            "_live_",
            &typo,
            &LIVE[..51],
            &LIVE[1..],
        ] {
            assert_eq!(kinds(text), [], "{text}");
        }
    }

    #[test]
    fn what_is_shown_does_not_open_anything() {
        assert_eq!(masked(LIVE.as_bytes()), "cvg_live_0123…");
        assert_eq!(masked(b"sk-ant-api03-abcdefghijklmnop"), "sk-ant-api03…");
    }

    proptest! {
        #[test]
        fn a_key_of_any_brand_is_found_in_any_text(seed in any::<u8>(), brand in "[a-z]{3}", before in "[ -~]{0,40}", after in "[ -~]{0,40}") {
            let token = Token::generate(Brand::parse(&brand).unwrap(), KeyClass::Test, &Bytes(seed)).unwrap();
            let text = [before.as_bytes(), token.expose(), after.as_bytes()].concat();
            let wanted = FoundKey { start: before.len(), len: TOKEN_LEN, kind: TokenKind::TestKey };
            prop_assert!(find_keys(&text, 0).contains(&wanted));
            prop_assert!(find_keys(&text, before.len()).contains(&wanted));
            prop_assert!(!find_keys(&text, before.len() + 1).contains(&wanted));
        }
    }

    #[test]
    fn a_message_that_repeats_a_key_shows_its_beginning_only() {
        let wrong = format!("cvg_live_{}", "x".repeat(43));
        let jwt = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJrZXkifQ.c2ln";
        let text = format!("no key `{wrong}`, `{LIVE}` or sk-ant-api03-abcdefghijklmnop, {jwt}é");
        assert_eq!(without_keys(&text), "no key `cvg_live_…`, `cvg_live_…` or sk-ant-…, eyJ…é");
        for plain in ["no key `key_0123456789`", "the_live_show", "sk-ant-…", "é eyJ is how it begins"] {
            assert_eq!(without_keys(plain), plain);
        }
    }
}
