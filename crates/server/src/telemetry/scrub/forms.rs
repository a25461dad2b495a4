//! How far a secret reaches from where a beginning of it was found.

use std::ops::Range;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use claviger_domain::token::Brand;

use super::needles::{Alphabet, Hit, Needles};

/// The characters of a whole token after its prefix.
const TOKEN_BODY: usize = 43;
/// A token that lost its end is masked from here on: ten characters are public.
const CUT_TOKEN_BODY: usize = 16;
const MIN_PROVIDER: usize = 8;
const MIN_JWT_HEAD: usize = 6;
const MIN_JWT_REST: usize = 2;
/// Credentials outside a header: those with a digit, and those without.
const MIN_CREDENTIAL: usize = 8;
const MIN_WORDY_CREDENTIAL: usize = 24;
/// What was encoded twice is longer than this.
const MIN_TWICE: usize = 40;
/// `-----BEGIN ENCRYPTED ` and the like.
const PEM_HEAD: usize = 32;

/// Where secrets stand in a text; those in escapes are for another view of it.
pub fn find(needles: &Needles, brand: Brand, text: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    // Runs that were judged already, so that each is judged once: time stays linear.
    let mut judged = Judged::default();
    for (hit, start, end) in needles.find(text) {
        let span = match hit {
            Hit::Encoded(alphabet) => {
                encoded(needles, brand, (text, start, end), (alphabet, judged.of(alphabet)))
            }
            Hit::Name | Hit::Word => named(text, (start, end), hit == Hit::Word, &mut judged.value),
            Hit::Scheme => credential(text, (start, end)),
            Hit::Url => password(text, end, &mut judged.url),
            Hit::Pem => pem(text, (start, end), &mut judged.pem),
            Hit::Known | Hit::Tag | Hit::Provider | Hit::Jwt => {
                plain(brand, text, (hit, start, end), &mut judged)
            }
        };
        found.extend(span);
    }
    found
}

/// Up to where runs were judged.
#[derive(Default)]
struct Judged {
    base64: usize,
    hex: usize,
    list: usize,
    value: usize,
    url: usize,
    pem: usize,
    provider: usize,
    jwt: usize,
}

impl Judged {
    fn of(&mut self, alphabet: Alphabet) -> &mut usize {
        match alphabet {
            Alphabet::Base64 => &mut self.base64,
            Alphabet::Hex => &mut self.hex,
            Alphabet::List => &mut self.list,
        }
    }
}

fn run(text: &[u8], from: usize, is_in: impl Fn(u8) -> bool) -> usize {
    text[from..].iter().position(|b| !is_in(*b)).map_or(text.len(), |length| from + length)
}

fn run_back(text: &[u8], to: usize, is_in: impl Fn(u8) -> bool) -> usize {
    text[..to].iter().rposition(|b| !is_in(*b)).map_or(0, |last| last + 1)
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Secrets that show themselves.
fn plain(
    brand: Brand,
    text: &[u8],
    (hit, start, end): (Hit, usize, usize),
    judged: &mut Judged,
) -> Option<Range<usize>> {
    match hit {
        Hit::Known => Some(start..end),
        Hit::Tag => token(brand, text, (start, end)),
        Hit::Provider => provider(text, (start, end), &mut judged.provider),
        Hit::Jwt => jwt(text, (start, end), &mut judged.jwt),
        Hit::Scheme | Hit::Name | Hit::Word | Hit::Url | Hit::Pem | Hit::Encoded(_) => None,
    }
}

fn provider(text: &[u8], (start, end): (usize, usize), judged: &mut usize) -> Option<Range<usize>> {
    if start < *judged {
        return None;
    }
    let webhook = text[end - 1] == b'_';
    *judged = run(text, end, |b| is_word(b) || webhook && b"+/=".contains(&b));
    (*judged - end >= MIN_PROVIDER).then_some(start..*judged)
}

/// A head, a dot, and something behind it. What holds for a beginning within the same run holds for the first one.
fn jwt(text: &[u8], (start, end): (usize, usize), judged: &mut usize) -> Option<Range<usize>> {
    if start < *judged {
        return None;
    }
    *judged = run(text, end, |b| is_word(b) || b == b'.');
    let to = start + text[start..*judged].iter().rposition(|b| *b != b'.')? + 1;
    let rest = &text[end..to];
    let (first, last) = (rest.iter().position(|b| *b == b'.')?, rest.iter().rposition(|b| *b == b'.')?);
    (last >= MIN_JWT_HEAD && rest.len() - first > MIN_JWT_REST).then_some(start..to)
}

/// A token of ours: three letters, the tag, and enough of the rest.
fn token(brand: Brand, text: &[u8], (tag, body): (usize, usize)) -> Option<Range<usize>> {
    let start = tag.checked_sub(3)?;
    let letters = &text[start..tag];
    let end = run(text, body, |b| b.is_ascii_alphanumeric());
    let ours =
        letters.eq_ignore_ascii_case(brand.as_str().as_bytes()) || letters.eq_ignore_ascii_case(b"cvg");
    let apart = start == 0 || !is_word(text[start - 1]);
    let needed = if ours || apart { CUT_TOKEN_BODY } else { TOKEN_BODY };
    (letters.iter().all(u8::is_ascii_alphabetic) && end - body >= needed).then_some(start..end)
}

/// The value after a name: `name: value`, `"name": "value"`, `("name", "value")`, `name=value`.
fn named(text: &[u8], (start, end): (usize, usize), word: bool, judged: &mut usize) -> Option<Range<usize>> {
    if start < *judged || start > 0 && is_word(text[start - 1]) {
        return None;
    }
    let quoted_name = quote(text, end).is_some();
    let at = run(text, end + usize::from(quoted_name), |b| b.is_ascii_whitespace());
    let sign = *text.get(at)?;
    let at = opened(text, run(text, at + 1, |b| matches!(b, b' ' | b'\t')));
    let mark = quote(text, at);
    let is_value = match sign {
        b'=' => true,
        b':' => !word || quoted_name || mark.is_some(),
        b',' => quoted_name && mark.is_some(),
        _ => false,
    };
    if !is_value {
        return None;
    }
    let from = after_scheme(text, at + usize::from(mark.is_some()));
    let to = run(text, from, |b| match mark {
        Some(mark) => b != mark && b != b'\\' && b != b'\n',
        None => !b.is_ascii_whitespace() && !b"\"',;&})]\\".contains(&b),
    });
    *judged = to;
    let value = &text[from..to];
    let says_nothing: [&[u8]; 7] = [b"", b"[scrubbed", b"[scrubbed]", b"null", b"true", b"false", b"None"];
    (!says_nothing.contains(&value) && !value.starts_with(b"{") && value != b"[").then_some(from..to)
}

fn quote(text: &[u8], at: usize) -> Option<u8> {
    text.get(at).copied().filter(|b| matches!(b, b'"' | b'\''))
}

/// Past what a language prints before a quote.
fn opened(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    let past = [&b"Some("[..], b"Some(b", b"b"].into_iter().filter(|word| rest.starts_with(word));
    past.map(|word| at + word.len()).find(|at| quote(text, *at).is_some()).unwrap_or(at)
}

/// Past a scheme's name, which may stay.
fn after_scheme(text: &[u8], at: usize) -> usize {
    let to = run(text, at, |b| b.is_ascii_alphabetic());
    let scheme = &text[at..to];
    let is_scheme =
        [&b"bearer"[..], b"basic", b"dpop", b"digest"].iter().any(|s| scheme.eq_ignore_ascii_case(s));
    if is_scheme && text.get(to) == Some(&b' ') { run(text, to, |b| b == b' ') } else { at }
}

/// A credential after its scheme, outside a header: it must not be a word of a sentence, nor a parameter.
fn credential(text: &[u8], (start, end): (usize, usize)) -> Option<Range<usize>> {
    if start > 0 && is_word(text[start - 1]) {
        return None;
    }
    let to = run(text, end, |b| is_word(b) || b".~+/=".contains(&b));
    let value = &text[end..to];
    let parameter = matches!(text.get(to), Some(b'"' | b'\\')) && value.ends_with(b"=");
    let least = if value.iter().any(u8::is_ascii_digit) { MIN_CREDENTIAL } else { MIN_WORDY_CREDENTIAL };
    (value.len() >= least && !parameter).then_some(end..to)
}

/// The password in `://user:password@host`.
fn password(text: &[u8], from: usize, judged: &mut usize) -> Option<Range<usize>> {
    if from < *judged {
        return None;
    }
    let to = run(text, from, |b| !b.is_ascii_whitespace() && !b"/?#\"'<>\\,`".contains(&b));
    *judged = to;
    let at = from + text[from..to].iter().rposition(|b| *b == b'@')?;
    let colon = from + text[from..at].iter().position(|b| *b == b':')? + 1;
    (colon < at).then_some(colon..at)
}

/// A private key's lines, to their end or the text's.
fn pem(text: &[u8], (start, from): (usize, usize), judged: &mut usize) -> Option<Range<usize>> {
    let head = &text[start.saturating_sub(PEM_HEAD)..start];
    if start < *judged || !head.windows(10).any(|part| part == b"-----BEGIN") {
        return None;
    }
    let rest = &text[from..];
    let end =
        rest.windows(8).position(|part| part == b"-----END").unwrap_or_else(|| run(rest, 0, |b| b != b'"'));
    // Past the line that ends it.
    *judged = from + end + PEM_HEAD;
    (end > 0).then_some(from..from + end)
}

/// The whole run of another alphabet, when there is a secret in it.
fn encoded(
    needles: &Needles,
    brand: Brand,
    (text, start, end): (&[u8], usize, usize),
    (alphabet, judged): (Alphabet, &mut usize),
) -> Option<Range<usize>> {
    if start < *judged {
        return None;
    }
    let is_in = |b: u8| match alphabet {
        Alphabet::Base64 => is_base64(b),
        Alphabet::Hex => b.is_ascii_hexdigit(),
        Alphabet::List => b.is_ascii_digit() || matches!(b, b',' | b' '),
    };
    let (from, to) = (run_back(text, start, is_in), run(text, end, is_in));
    *judged = to;
    let whole = &text[from..to];
    let reveals = |raw: &[u8]| {
        let mut judged = Judged::default();
        needles.find(raw).any(|(hit, start, end)| plain(brand, raw, (hit, start, end), &mut judged).is_some())
    };
    let found = read(alphabet, whole).any(|raw| reveals(&raw));
    let padding = if alphabet == Alphabet::Base64 { padding(&text[to..]) } else { 0 };
    let blank = |b: &u8| matches!(b, b',' | b' ');
    let (before, behind) = match alphabet {
        Alphabet::List => {
            (whole.iter().position(|b| !blank(b))?, whole.iter().rev().position(|b| !blank(b))?)
        }
        Alphabet::Base64 | Alphabet::Hex => (0, 0),
    };
    found.then_some(from + before..to + padding - behind)
}

/// Whole runs of base64 or hex that hold a secret in such a run again.
pub fn find_twice(needles: &Needles, brand: Brand, text: &[u8]) -> Vec<Range<usize>> {
    let again = |raw: &[u8]| {
        let mut judged = Judged::default();
        needles.find(raw).any(|(hit, start, end)| match hit {
            Hit::Encoded(alphabet) => {
                encoded(needles, brand, (raw, start, end), (alphabet, judged.of(alphabet))).is_some()
            }
            // In clear in the first run: that is for [`find`].
            Hit::Known | Hit::Tag | Hit::Provider | Hit::Jwt | Hit::Scheme => false,
            Hit::Name | Hit::Word | Hit::Url | Hit::Pem => false,
        })
    };
    let mut found = Vec::new();
    let mut to = 0;
    while let Some(from) = text[to..].iter().position(|b| is_base64(*b)).map(|past| to + past) {
        to = run(text, from, is_base64);
        let whole = &text[from..to];
        let mut alphabets = [Alphabet::Base64, Alphabet::Hex].into_iter();
        if whole.len() >= MIN_TWICE && alphabets.any(|a| read(a, whole).any(|raw| again(&raw))) {
            found.push(from..to + padding(&text[to..]));
        }
    }
    found
}

const fn is_base64(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'+' | b'/')
}

/// What may follow a run of base64.
fn padding(rest: &[u8]) -> usize {
    rest.iter().take(2).take_while(|b| **b == b'=').count()
}

/// What a run may stand for, by where its first group may begin.
fn read(alphabet: Alphabet, run: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let leads = match alphabet {
        Alphabet::Base64 => 4,
        Alphabet::Hex => 2,
        Alphabet::List => 1,
    };
    (0..leads).filter_map(move |lead| match alphabet {
        Alphabet::Base64 => from_base64(run, lead),
        Alphabet::Hex => from_hex(run, lead),
        Alphabet::List => Some(from_list(run)),
    })
}

const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));

/// Either alphabet, from where a group of four may begin.
fn from_base64(run: &[u8], lead: usize) -> Option<Vec<u8>> {
    let part = run.get(lead..)?;
    let part = &part[..part.len() - usize::from(part.len() % 4 == 1)];
    let standard = |b: &u8| match b {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    BASE64.decode(part.iter().map(standard).collect::<Vec<u8>>()).ok()
}

fn from_hex(run: &[u8], lead: usize) -> Option<Vec<u8>> {
    let part = run.get(lead..)?;
    hex::decode(&part[..part.len() & !1]).ok()
}

/// The values of a list; what is no byte stands as zero.
fn from_list(run: &[u8]) -> Vec<u8> {
    let items = run.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    items
        .map(|item| std::str::from_utf8(item).ok().and_then(|item| item.parse().ok()).unwrap_or_default())
        .collect()
}
