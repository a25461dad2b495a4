//! What a string is, check by check, without asking anyone: for `key inspect`, the API and scanners.

use serde::Serialize;

use super::{
    Brand, CHECKED_LEN, KeyClass, PREFIX_LEN, TOKEN_LEN, base62, checksum,
    side::{SideToken, SideUse},
};

/// The four checks of the key format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// It begins with `<brand>_live_` or `<brand>_test_`.
    pub prefix: bool,
    /// It is 52 characters long.
    pub length: bool,
    /// Everything after the prefix is base62.
    pub charset: bool,
    /// Its last six characters are the CRC-32 of those before.
    pub checksum: bool,
}

impl Checks {
    /// All four hold.
    #[must_use]
    pub const fn all(&self) -> bool {
        self.prefix && self.length && self.charset && self.checksum
    }
}

/// What the text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// One of ours, for the real API.
    LiveKey,
    /// One of ours, for the simulator.
    TestKey,
    /// A provider API key (`sk-ant-api…`): it should be sealed here, not handed around.
    ProviderApiKey,
    /// A provider Admin key (`sk-ant-admin…`).
    ProviderAdminKey,
    /// A provider OAuth token (`sk-ant-oat…`, `sk-ant-ort…`).
    ProviderOauthToken,
    /// Another secret of the provider's (`sk-ant-…`).
    ProviderOther,
    /// One of ours that administers (`cvg_oper_…`).
    OperatorToken,
    /// One of ours that opens a delivery, once (`cvg_wrap_…`).
    WrappingToken,
    /// One of ours that signs requests (`cvg_sign_…`).
    SigningSecret,
    /// One of ours that buys access tokens, once (`cvg_rfsh_…`).
    RefreshToken,
    /// Nothing that is recognised.
    Unknown,
}

/// The answer of `key inspect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// What it is.
    pub kind: TokenKind,
    /// The format's checks, one by one.
    pub checks: Checks,
    /// All of them hold. Says nothing about whether such a key exists.
    pub valid: bool,
}

/// Inspects any text; reads nothing else and never fails.
#[must_use]
pub fn inspect(brand: Brand, text: &str) -> Inspection {
    let checks = checks(brand, text.as_bytes());
    Inspection { kind: kind(brand, text), checks, valid: checks.all() }
}

/// Inspects a text whose brand is not known: a key that is whole under the brand that it begins with is one of that
/// brand; anything else is judged by the `usual` one, since many foreign secrets begin with three letters, too.
#[must_use]
pub fn inspect_any_brand(usual: Brand, text: &str) -> Inspection {
    let own = text.get(..3).and_then(|head| Brand::parse(head).ok());
    let whole = own.map(|brand| inspect(brand, text)).filter(|found| found.valid);
    whole.unwrap_or_else(|| inspect(usual, text))
}

fn kind(brand: Brand, text: &str) -> TokenKind {
    match class_of(brand, text.as_bytes()) {
        Some(KeyClass::Live) => return TokenKind::LiveKey,
        Some(KeyClass::Test) => return TokenKind::TestKey,
        None => {}
    }
    match SideToken::use_of(brand, text.as_bytes()) {
        Some(SideUse::Operator) => return TokenKind::OperatorToken,
        Some(SideUse::Wrapping) => return TokenKind::WrappingToken,
        Some(SideUse::Signing) => return TokenKind::SigningSecret,
        Some(SideUse::Refresh) => return TokenKind::RefreshToken,
        None => {}
    }
    let Some(rest) = text.strip_prefix("sk-ant-") else { return TokenKind::Unknown };
    match rest {
        r if r.starts_with("api") => TokenKind::ProviderApiKey,
        r if r.starts_with("admin") => TokenKind::ProviderAdminKey,
        r if r.starts_with("oat") || r.starts_with("ort") => TokenKind::ProviderOauthToken,
        _ => TokenKind::ProviderOther,
    }
}

fn class_of(brand: Brand, text: &[u8]) -> Option<KeyClass> {
    let (head, tail) = text.split_at_checked(3)?;
    let class = [KeyClass::Live, KeyClass::Test].into_iter().find(|c| tail.starts_with(c.tag()))?;
    (head == brand.0).then_some(class)
}

pub(super) fn checks(brand: Brand, text: &[u8]) -> Checks {
    let prefix = class_of(brand, text).is_some();
    // Characters, not bytes: a key with an accented letter in it has the right length and the wrong charset.
    let length = text.iter().filter(|b| (**b & 0xC0) != 0x80).count() == TOKEN_LEN;
    let charset = prefix && text.get(PREFIX_LEN..).is_some_and(|t| t.iter().all(|b| base62::is_digit(*b)));
    let sum = charset
        && text.len() == TOKEN_LEN
        && text.split_at_checked(CHECKED_LEN).is_some_and(|(checked, sum)| checksum(checked) == sum);
    Checks { prefix, length, charset, checksum: sum }
}

#[cfg(test)]
mod tests {
    use super::super::{PublicId, Token};
    use super::*;
    use crate::clock::{Entropy, EntropyError};
    use proptest::prelude::*;

    const VECTORS: &str = include_str!("vectors.json");

    struct Seeded(std::sync::atomic::AtomicU64);
    impl Entropy for Seeded {
        fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
            for byte in out {
                let s = self.0.load(std::sync::atomic::Ordering::Relaxed);
                let s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                self.0.store(s, std::sync::atomic::Ordering::Relaxed);
                *byte = (s >> 56) as u8;
            }
            Ok(())
        }
    }

    #[test]
    fn published_vectors_hold() {
        let v: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        for good in v["valid"].as_array().unwrap() {
            let text = good["token"].as_str().unwrap();
            assert!(inspect(Brand::DEFAULT, text).valid, "{text}");
            let token = Token::parse(Brand::DEFAULT, text.as_bytes()).unwrap();
            assert_eq!(token.public_id().as_str(), good["public_id"].as_str().unwrap());
            assert!(text.ends_with(good["checksum"].as_str().unwrap()));
        }
        for bad in v["invalid"].as_array().unwrap() {
            let text = bad["token"].as_str().unwrap();
            let got = inspect(Brand::DEFAULT, text);
            for (name, value) in [
                ("prefix", got.checks.prefix),
                ("length", got.checks.length),
                ("charset", got.checks.charset),
                ("checksum", got.checks.checksum),
                ("overall", got.valid),
            ] {
                assert_eq!(Some(value), bad["verdict"][name].as_bool(), "{name} of {text:?}");
            }
            assert!(Token::parse(Brand::DEFAULT, text.as_bytes()).is_err());
        }
    }

    #[test]
    fn provider_keys_are_recognised_and_never_valid() {
        for (text, kind) in [
            ("sk-ant-api03-abc", TokenKind::ProviderApiKey),
            ("sk-ant-admin01-abc", TokenKind::ProviderAdminKey),
            ("sk-ant-oat01-abc", TokenKind::ProviderOauthToken),
            ("sk-ant-sid01-abc", TokenKind::ProviderOther),
            ("hello", TokenKind::Unknown),
        ] {
            let got = inspect(Brand::DEFAULT, text);
            assert_eq!((got.kind, got.valid), (kind, false));
        }
    }

    #[test]
    fn published_vectors_hold_whatever_the_brand() {
        let v: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        for list in ["valid", "invalid"] {
            for vector in v[list].as_array().unwrap() {
                let text = vector["token"].as_str().unwrap();
                assert_eq!(
                    inspect_any_brand(Brand::DEFAULT, text),
                    inspect(Brand::DEFAULT, text),
                    "{text:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_key_of_any_brand_is_known_by_itself(seed in any::<u64>(), letters in "[a-z]{3}", live in any::<bool>()) {
            let (class, kind) = if live { (KeyClass::Live, TokenKind::LiveKey) } else { (KeyClass::Test, TokenKind::TestKey) };
            let brand = Brand::parse(&letters).unwrap();
            let token = Token::generate(brand, class, &Seeded(seed.into())).unwrap();
            let text = std::str::from_utf8(token.expose()).unwrap();
            let got = inspect_any_brand(Brand::DEFAULT, text);
            prop_assert_eq!((got.kind, got.valid), (kind, true));
            // Of another brand than it was made with, it is nobody's.
            let other = format!("{}{}", if letters == "zzz" { "aaa" } else { "zzz" }, &text[3..]);
            prop_assert!(!inspect_any_brand(Brand::DEFAULT, &other).valid);
        }

        #[test]
        fn every_generated_key_passes_its_own_parser(seed in any::<u64>(), live in any::<bool>()) {
            let class = if live { KeyClass::Live } else { KeyClass::Test };
            let token = Token::generate(Brand::DEFAULT, class, &Seeded(seed.into())).unwrap();
            let read = Token::parse(Brand::DEFAULT, token.expose()).unwrap();
            prop_assert_eq!(read.class(), class);
            prop_assert_eq!(read.public_id(), token.public_id());
            prop_assert_eq!(PublicId::of_key(&token.public_id().key_id().unwrap()), Some(token.public_id()));
        }

        #[test]
        fn one_changed_or_swapped_character_is_noticed(seed in any::<u64>(), at in 0_usize..51, to in 0_u32..62) {
            let token = Token::generate(Brand::DEFAULT, KeyClass::Live, &Seeded(seed.into())).unwrap();
            let mut text = *token.expose();
            let digit = base62::encode_u32(to)[5];
            if text[at] != digit {
                text[at] = digit;
                prop_assert!(Token::parse(Brand::DEFAULT, &text).is_err());
            }
            let mut swapped = *token.expose();
            swapped.swap(at, at + 1);
            prop_assert_eq!(Token::parse(Brand::DEFAULT, &swapped).is_ok(), &swapped == token.expose());
        }

        #[test]
        fn any_text_is_inspected_without_panic(text in ".{0,80}") {
            let got = inspect(Brand::DEFAULT, &text);
            prop_assert_eq!(got.valid, Token::parse(Brand::DEFAULT, text.as_bytes()).is_ok());
        }
    }
}
