//! Heads, rebuilt once on their way: what passes is decided by [`exactness`](crate::exactness).

use bytes::{BufMut, Bytes, BytesMut};
use claviger_claude_wire::headers::{
    RATELIMIT_INPUT_TOKENS, RATELIMIT_OUTPUT_TOKENS, RATELIMIT_REQUESTS, RATELIMIT_TOKENS, RateLimitNames,
    unified,
};
use claviger_domain::{
    budget::Nearest,
    clock::{MICROS_PER_SEC, Timestamp},
    limit::{Headroom, Headrooms},
};
use claviger_service::grants::Told;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{exactness, refuse::Cap};

/// The client's id of the request, or ours.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Marks answers of the simulator.
pub const X_CLAVIGER_SIMULATED: HeaderName = HeaderName::from_static("x-claviger-simulated");
/// Says whether an answer came out of the response cache.
pub const X_CLAVIGER_CACHE: HeaderName = HeaderName::from_static("x-claviger-cache");
/// Says when the caller's signing secret is replaced.
pub const X_CLAVIGER_SIGNING_SECRET: HeaderName = HeaderName::from_static("x-claviger-signing-secret");
/// Tells SDKs whether to try again.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Our id of a request, in answers of our own.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What content codings the upstream may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// None: the answer is read and may be written into.
    Identity,
    /// Gzip if the client takes it.
    AtMostGzip,
    /// Whatever the client takes: the answer is neither read nor written into.
    AsAsked,
}

/// The client's headers as they go upstream, without any credential.
#[must_use]
pub fn upstream_headers(client: &HeaderMap, coding: Coding, forward_trace: bool) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(client.keys_len() + 2);
    let named = exactness::named_by_connection(client);
    let mut coded = false;
    for (name, value) in client {
        if exactness::passes_upstream(name, forward_trace) {
            if named.is_empty() || !named.contains(name) {
                out.append(name, value.clone());
            }
        } else if *name == header::ACCEPT_ENCODING {
            match coding {
                Coding::AsAsked => {
                    out.append(name, value.clone());
                }
                Coding::Identity | Coding::AtMostGzip if !coded => {
                    out.append(name, accept_encoding(client, coding));
                }
                Coding::Identity | Coding::AtMostGzip => {}
            }
            coded = true;
        }
    }
    if coding == Coding::Identity && !coded {
        out.append(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if is_chunked(client) {
        out.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    out
}

/// Whether the client sent its body in chunks.
#[must_use]
pub fn is_chunked(client: &HeaderMap) -> bool {
    client.contains_key(header::TRANSFER_ENCODING)
}

/// An answer says its length once: beside chunks it means nothing (RFC 9112, section 6.3), and what the client's
/// connection believed of it would cut or swallow bytes of the next answer.
pub fn one_length(answer: &mut HeaderMap) {
    if answer.contains_key(header::TRANSFER_ENCODING) {
        answer.remove(header::CONTENT_LENGTH);
    } else if let header::Entry::Occupied(mut said) = answer.entry(header::CONTENT_LENGTH)
        && said.iter().nth(1).is_some()
    {
        // Two that differ were refused when the answer's head was read.
        let first = said.get().clone();
        said.insert(first);
    }
}

fn accept_encoding(client: &HeaderMap, coding: Coding) -> HeaderValue {
    let gzip = coding == Coding::AtMostGzip && takes_gzip(client);
    HeaderValue::from_static(if gzip { "gzip" } else { "identity" })
}

fn takes_gzip(client: &HeaderMap) -> bool {
    let words = client.get_all(header::ACCEPT_ENCODING).into_iter();
    words.flat_map(|v| v.as_bytes().split(|b| *b == b',')).any(|word| {
        let mut parts = word.split(|b| *b == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let refused = parts.any(|p| {
            let p = p.trim_ascii();
            p.strip_prefix(b"q=").is_some_and(|q| q.iter().all(|b| matches!(b, b'0' | b'.')))
        });
        !refused && (name.eq_ignore_ascii_case(b"gzip") || name == b"*")
    })
}

/// What the gateway adds to a relayed answer.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Our id of the request.
    pub request_id: &'a str,
    /// The client's own id of the request, which is given back.
    pub client_request_id: Option<&'a HeaderValue>,
    /// What is left of the caller's limits.
    pub headrooms: Headrooms,
    /// The simulator answered.
    pub simulated: bool,
    /// `hit` or `miss`; `None`: the response cache does not apply.
    pub cache: Option<&'static str>,
}

/// The upstream's headers as they go to the client.
#[must_use]
pub fn client_headers(upstream: HeaderMap, own: &Own<'_>) -> HeaderMap {
    let named = exactness::named_by_connection(&upstream);
    let passes =
        |name: &HeaderName| exactness::passes_downstream(name) && (named.is_empty() || !named.contains(name));
    let mut out = if upstream.keys().all(passes) {
        upstream
    } else {
        let mut out = HeaderMap::with_capacity(upstream.keys_len() + 6);
        let mut last = None;
        for (name, value) in upstream {
            // Repeated headers come without their name.
            last = name.or(last);
            if let Some(name) = last.as_ref().filter(|n| passes(n)) {
                out.append(name, value);
            }
        }
        out
    };
    add_own(&mut out, own);
    out
}

fn add_own(out: &mut HeaderMap, own: &Own<'_>) {
    add_headrooms(out, &own.headrooms);
    let id = own.client_request_id.cloned().or_else(|| HeaderValue::from_str(own.request_id).ok());
    if let Some(id) = id {
        out.insert(X_REQUEST_ID, id);
    }
    if own.simulated {
        out.insert(X_CLAVIGER_SIMULATED, HeaderValue::from_static("true"));
    }
    if let Some(word) = own.cache {
        out.insert(X_CLAVIGER_CACHE, HeaderValue::from_static(word));
    }
}

/// Says that the caller's key is on its way out.
pub fn add_told(out: &mut HeaderMap, told: &Told) {
    for (name, value) in told.headers() {
        if let Ok(value) = HeaderValue::from_str(value) {
            out.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Says when the caller's signing secret gives way to its successor.
pub fn add_rotating(out: &mut HeaderMap, at: Timestamp) {
    let mut text = BytesMut::from(&b"rotates-at="[..]);
    text.put_slice(&rfc3339_secs(at));
    if let Some(value) = digits(text.freeze()) {
        out.insert(X_CLAVIGER_SIGNING_SECRET, value);
    }
}

/// Puts the caller's own limits in.
pub fn add_headrooms(out: &mut HeaderMap, headrooms: &Headrooms) {
    let Headrooms { requests, input_tokens, output_tokens, tokens } = headrooms;
    for (names, headroom) in [
        (&RATELIMIT_REQUESTS, requests),
        (&RATELIMIT_INPUT_TOKENS, input_tokens),
        (&RATELIMIT_OUTPUT_TOKENS, output_tokens),
        (&RATELIMIT_TOKENS, tokens),
    ] {
        if let Some(headroom) = headroom {
            add_headroom(out, names, headroom);
        }
    }
}

fn add_headroom(out: &mut HeaderMap, names: &RateLimitNames, headroom: &Headroom) {
    // One allocation for the three values.
    let mut text = BytesMut::with_capacity(48);
    put_number(&mut text, headroom.limit);
    let limit = text.split().freeze();
    put_number(&mut text, headroom.remaining);
    let remaining = text.split().freeze();
    text.put_slice(&rfc3339_secs(headroom.reset));
    for (name, value) in [(names.limit, limit), (names.remaining, remaining), (names.reset, text.freeze())] {
        if let Some(value) = digits(value) {
            out.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Says in Anthropic's own words that a budget is spent, so that its clients show it.
pub fn add_cap(out: &mut HeaderMap, cap: &Cap) {
    let period = period_word(cap.period).unwrap_or_default();
    for (name, value) in [
        (unified::STATUS, "rejected"),
        (unified::OVERAGE_UTILIZATION, "1"),
        (unified::OVERAGE_SURPASSED_THRESHOLD, "1"),
        (unified::OVERAGE_PERIOD, period),
        (unified::OVERAGE_DISABLED_REASON, "org_spend_cap_reached"),
    ] {
        if !value.is_empty() {
            out.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    add_reset(out, cap.reset);
}

/// Says in Anthropic's own words how much of a budget is spent, so that its clients warn in time.
pub fn add_nearest(out: &mut HeaderMap, nearest: &Nearest) {
    let (status, surpassed) = match nearest.percent {
        95.. => ("allowed_warning", Some("0.95")),
        75.. => ("allowed_warning", Some("0.75")),
        _ => ("allowed", None),
    };
    for (name, value) in [
        (unified::STATUS, Some(status)),
        (unified::REPRESENTATIVE_CLAIM, Some("overage")),
        (unified::OVERAGE_STATUS, Some(status)),
        (unified::SURPASSED_THRESHOLD, surpassed),
        (unified::OVERAGE_SURPASSED_THRESHOLD, surpassed),
        (unified::OVERAGE_PERIOD, period_word(nearest.record.calendar.period().as_str())),
    ] {
        if let Some(value) = value {
            out.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    let share = match nearest.percent {
        100.. => "1".to_owned(),
        percent => format!("0.{percent:02}"),
    };
    if let Ok(share) = HeaderValue::from_str(&share) {
        out.insert(HeaderName::from_static(unified::OVERAGE_UTILIZATION), share);
    }
    add_reset(out, nearest.resets_at);
}

/// As their clients know periods; a life is none.
fn period_word(period: &str) -> Option<&'static str> {
    match period {
        "day" => Some("daily"),
        "week" => Some("weekly"),
        "month" => Some("monthly"),
        _ => None,
    }
}

fn add_reset(out: &mut HeaderMap, reset: Option<Timestamp>) {
    if let Some(reset) = reset {
        let secs = HeaderValue::from(reset.as_micros().div_euclid(MICROS_PER_SEC));
        out.insert(HeaderName::from_static(unified::RESET), secs.clone());
        out.insert(HeaderName::from_static(unified::OVERAGE_RESET), secs);
    }
}

fn digits(bytes: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes).ok()
}

/// Writes a number in decimal.
fn put_number(out: &mut BytesMut, number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// RFC 3339 in UTC with whole seconds, rounded up: a limit is never free before the moment that is told.
#[must_use]
pub fn rfc3339_secs(at: Timestamp) -> [u8; 20] {
    let secs = at.plus_micros(999_999).as_secs();
    let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let mut out = *b"0000-00-00T00:00:00Z";
    let mut put = |at: usize, width: usize, value: i64| {
        let mut rest = value;
        for place in (at..at + width).rev() {
            out[place] = b'0' + u8::try_from(rest.rem_euclid(10)).unwrap_or(0);
            rest /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, of_day / 3_600);
    put(14, 2, of_day / 60 % 60);
    put(17, 2, of_day % 60);
    out
}

/// The Gregorian date of a day since the epoch, in years that begin in March, so that leap days come last.
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_domain::limit::{LimitKind, LimitSubject};
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn list(map: &HeaderMap) -> String {
        map.iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect()
    }

    #[test]
    fn request_headers_keep_order_and_number_and_lose_what_is_ruled() {
        let client = map(&[
            ("host", "gw"),
            ("x-b", "1"),
            ("authorization", "Bearer cvg"),
            ("anthropic-beta", "a"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("anthropic-beta", "b"),
            ("accept-encoding", "gzip, br"),
            ("x-api-key", "cvg"),
            ("traceparent", "00-1"),
            ("x-a", ""),
            ("content-length", "2"),
        ]);
        insta::assert_snapshot!(list(&upstream_headers(&client, Coding::AtMostGzip, false)), @r#"
        x-b: 1
        anthropic-beta: a
        anthropic-beta: b
        accept-encoding: gzip
        x-a: 
        content-length: 2
        "#);
        assert!(list(&upstream_headers(&client, Coding::Identity, true)).contains("traceparent: 00-1"));
    }

    #[test]
    fn codings_are_asked_for_as_ruled() {
        let asked = |client: &[(&str, &str)], coding| {
            let out = upstream_headers(&map(client), coding, false);
            out.get("accept-encoding").map(|v| v.to_str().unwrap().to_owned())
        };
        let all = [("accept-encoding", "gzip, deflate"), ("accept-encoding", "br")];
        assert_eq!(asked(&all, Coding::Identity).as_deref(), Some("identity"));
        assert_eq!(asked(&all, Coding::AtMostGzip).as_deref(), Some("gzip"));
        assert_eq!(asked(&all, Coding::AsAsked).as_deref(), Some("gzip, deflate"));
        assert_eq!(asked(&[("accept-encoding", "br")], Coding::AtMostGzip).as_deref(), Some("identity"));
        assert_eq!(
            asked(&[("accept-encoding", "gzip;q=0")], Coding::AtMostGzip).as_deref(),
            Some("identity")
        );
        assert_eq!(asked(&[], Coding::AtMostGzip), None);
        assert_eq!(asked(&[], Coding::Identity).as_deref(), Some("identity"));
    }

    #[test]
    fn answer_headers_show_the_callers_limits_and_not_the_upstreams_account() {
        let upstream = map(&[
            ("date", "Sat, 21 Nov 2026 00:00:00 GMT"),
            ("anthropic-ratelimit-requests-limit", "9"),
            ("set-cookie", "a"),
            ("anthropic-organization-id", "org"),
            ("set-cookie", "b"),
            ("request-id", "req_up"),
            ("connection", "close"),
            ("anthropic-ratelimit-tokens-reset", "x"),
        ]);
        let headroom = |kind, limit| Headroom {
            subject: LimitSubject::Key,
            kind,
            limit,
            remaining: 0,
            reset: Timestamp::from_secs(1_795_219_200),
        };
        let headrooms = Headrooms {
            requests: Some(headroom(LimitKind::RequestsPerMinute, 60)),
            input_tokens: Some(headroom(LimitKind::InputTokensPerMinute, 20_000)),
            output_tokens: Some(headroom(LimitKind::OutputTokensPerHour, 8_000)),
            tokens: Some(headroom(LimitKind::TokensPerDay, 1_000_000_000_000)),
        };
        let own = Own {
            request_id: "req_1",
            client_request_id: None,
            headrooms,
            simulated: true,
            cache: Some("miss"),
        };
        insta::assert_snapshot!(list(&client_headers(upstream, &own)), @r#"
        date: Sat, 21 Nov 2026 00:00:00 GMT
        set-cookie: a
        set-cookie: b
        request-id: req_up
        anthropic-ratelimit-requests-limit: 60
        anthropic-ratelimit-requests-remaining: 0
        anthropic-ratelimit-requests-reset: 2026-11-21T00:00:00Z
        anthropic-ratelimit-input-tokens-limit: 20000
        anthropic-ratelimit-input-tokens-remaining: 0
        anthropic-ratelimit-input-tokens-reset: 2026-11-21T00:00:00Z
        anthropic-ratelimit-output-tokens-limit: 8000
        anthropic-ratelimit-output-tokens-remaining: 0
        anthropic-ratelimit-output-tokens-reset: 2026-11-21T00:00:00Z
        anthropic-ratelimit-tokens-limit: 1000000000000
        anthropic-ratelimit-tokens-remaining: 0
        anthropic-ratelimit-tokens-reset: 2026-11-21T00:00:00Z
        x-request-id: req_1
        x-claviger-simulated: true
        x-claviger-cache: miss
        "#);
    }

    #[test]
    fn an_answers_length_is_said_once_and_not_beside_chunks() {
        let lengths = |pairs: &[(&str, &str)]| {
            let mut headers = map(pairs);
            one_length(&mut headers);
            headers.get_all(header::CONTENT_LENGTH).iter().count()
        };
        assert_eq!(lengths(&[("content-length", "5"), ("transfer-encoding", "chunked")]), 0);
        assert_eq!(lengths(&[("content-length", "5"), ("content-length", "5")]), 1);
        assert_eq!(lengths(&[("content-length", "5")]), 1);
        assert_eq!(lengths(&[]), 0);
    }

    proptest! {
        #[test]
        fn times_are_written_as_a_calendar_says(micros in 0_i64..4_102_444_800_000_000) {
            let text = rfc3339_secs(Timestamp::from_micros(micros));
            let rounded = Timestamp::from_micros(micros).plus_micros(999_999).as_secs();
            let full = Timestamp::from_secs(rounded).to_rfc3339();
            let expected = format!("{}Z", full.split('.').next().unwrap().trim_end_matches('Z'));
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), expected);
        }
    }
}
