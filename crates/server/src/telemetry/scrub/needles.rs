//! What the automaton looks for, in the alphabets of logs.

use aho_corasick::AhoCorasick;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

/// Shorter secrets are words.
const MIN_KNOWN: usize = 6;

/// What a hit means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// A secret that was told.
    Known,
    /// The tag of our tokens, after their brand.
    Tag,
    /// The beginning of a provider's key or token, or of a webhook's secret.
    Provider,
    /// The beginning of a JWT.
    Jwt,
    /// An authentication scheme, before its credential.
    Scheme,
    /// A header's or field's name, before its value.
    Name,
    /// A field's name that is also a word: only where it is plainly a name.
    Word,
    /// `://`, which a user name and a password may follow.
    Url,
    /// The end of the line before a private key.
    Pem,
    /// A piece of one of the above in base64, hex, or as a list of byte values.
    Encoded(Alphabet),
}

/// How bytes were written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alphabet {
    /// Either of base64's.
    Base64,
    /// Hexadecimal digits.
    Hex,
    /// `[99, 118, 103]`.
    List,
}

const TAGS: &[&str] = &["_live_", "_test_", "_oper_", "_wrap_", "_sign_", "_rfsh_"];
const NAMES: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "api_key",
    "x-vault-token",
    "x-request-signature",
    "signature",
    "dpop",
    "cookie",
    "set-cookie",
    "access_token",
    "refresh_token",
    "id_token",
    "signing_secret",
    "client_secret",
    "client_assertion",
    "subject_token",
    "actor_token",
    "wrapping_token",
    "session_token",
    "totp_secret",
    "recovery_code",
    "private_key",
];
const WORDS: &[&str] = &["password", "passwd", "secret", "token", "assertion", "pepper"];

/// The automaton, and what each of its patterns means.
pub struct Needles {
    automaton: Option<AhoCorasick>,
    hits: Vec<Hit>,
}

impl Needles {
    /// Looks for all forms, and for these secrets.
    pub fn new(known: &[&[u8]]) -> Self {
        let mut list: Vec<(Vec<u8>, Hit)> = Vec::new();
        for (texts, hit) in [(TAGS, Hit::Tag), (&["sk-ant-", "whsec_"], Hit::Provider), (&["eyJ"], Hit::Jwt)]
        {
            texts.iter().for_each(|text| push_encoded(&mut list, text.as_bytes(), hit));
        }
        let plain: [(&[&str], Hit); 5] = [
            (&["bearer ", "dpop ", "basic "], Hit::Scheme),
            (NAMES, Hit::Name),
            (WORDS, Hit::Word),
            (&["://"], Hit::Url),
            (&["PRIVATE KEY-----"], Hit::Pem),
        ];
        for (texts, hit) in plain {
            list.extend(texts.iter().map(|text| (text.as_bytes().to_vec(), hit)));
        }
        for secret in
            known.iter().map(|secret| secret.trim_ascii()).filter(|secret| secret.len() >= MIN_KNOWN)
        {
            push_encoded(&mut list, secret, Hit::Known);
            if secret.contains(&b' ') {
                list.push((secret.iter().map(|b| if *b == b' ' { b'+' } else { *b }).collect(), Hit::Known));
            }
        }
        // Fails beyond 4 GB of patterns only.
        let automaton =
            AhoCorasick::builder().ascii_case_insensitive(true).build(list.iter().map(|(text, _)| text)).ok();
        Self { automaton, hits: list.into_iter().map(|(_, hit)| hit).collect() }
    }

    /// All hits, those within others, too: what, from where, to where; in order of their ends.
    pub fn find<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (Hit, usize, usize)> + 'a {
        let hits = self.automaton.iter().flat_map(move |automaton| automaton.find_overlapping_iter(text));
        hits.map(|hit| (self.hits[hit.pattern().as_usize()], hit.start(), hit.end()))
    }
}

/// The text itself, if it is one, and what of it is the same wherever it stands in something encoded.
fn push_encoded(list: &mut Vec<(Vec<u8>, Hit)>, text: &[u8], hit: Hit) {
    // Bytes that are no text would cut characters.
    if std::str::from_utf8(text).is_ok() {
        list.push((text.to_vec(), hit));
    }
    for lead in 0..3_usize {
        let shifted = [&[0; 2][..lead.min(2)], text].concat();
        let all = STANDARD_NO_PAD.encode(&shifted);
        // Characters that hold bits of what stands around are not known.
        let core = &all[(lead * 8).div_ceil(6)..shifted.len() * 8 / 6];
        list.push((core.as_bytes().to_vec(), Hit::Encoded(Alphabet::Base64)));
        if core.contains(['+', '/']) {
            let urlsafe = core.replace('+', "-").replace('/', "_");
            list.push((urlsafe.into_bytes(), Hit::Encoded(Alphabet::Base64)));
        }
    }
    list.push((hex::encode(text).into_bytes(), Hit::Encoded(Alphabet::Hex)));
    let values: Vec<String> = text.iter().map(u8::to_string).collect();
    for comma in [", ", ","] {
        list.push((values.join(comma).into_bytes(), Hit::Encoded(Alphabet::List)));
    }
}
