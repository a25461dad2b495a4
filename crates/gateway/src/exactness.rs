//! The whole list of what the gateway changes in passing. Whatever is not named here reaches the other side as it
//! was sent: path and query, headers in their order and number, body bytes, unknown fields, betas and events.

use claviger_claude_wire::headers::{HOP_BY_HOP, TRACE, X_API_KEY, is_upstream_account};
use claviger_domain::signature;
use http::{HeaderMap, HeaderName, header};

/// A proof of possession (RFC 9449): of the caller, towards the gateway.
const DPOP: &str = "dpop";

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Answer,
}

/// One exception to byte-exactness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Its name.
    pub name: &'static str,
    /// Which way.
    pub direction: Direction,
    /// What is changed, and into what.
    pub what: &'static str,
    /// Why it must be.
    pub why: &'static str,
}

/// All exceptions.
pub const EXCEPTIONS: [Exception; 20] = [
    Exception {
        name: "credential",
        direction: Direction::Request,
        what: "x-api-key, authorization, proxy-authorization and dpop are taken out; the provider's key is put in, in the form that the client used",
        why: "the provider key never leaves the gateway, the caller's never reaches the provider",
    },
    Exception {
        name: "signature",
        direction: Direction::Request,
        what: "x-request-signature, x-request-signature-version, x-request-timestamp, x-request-nonce, signature and signature-input are taken out; content-digest passes",
        why: "they prove the caller to the gateway and nobody else; content-digest (RFC 9530) is of the body, which passes unchanged",
    },
    Exception {
        name: "host",
        direction: Direction::Request,
        what: "host names the upstream; the upstream's path prefix is put before the path",
        why: "it is another server",
    },
    Exception {
        name: "hop_by_hop",
        direction: Direction::Request,
        what: "connection, the headers that it names, keep-alive, proxy-connection, te, trailer (and trailers), transfer-encoding, upgrade",
        why: "they speak of one connection (RFC 9110, section 7.6.1); the framing is kept: Content-Length stays, chunked stays chunked",
    },
    Exception {
        name: "accept_encoding",
        direction: Direction::Request,
        what: "identity where we may have to write (streams, batches, lists, files), else gzip or identity, whichever the client takes",
        why: "usage is read from the answer, events and results_url are written into it",
    },
    Exception {
        name: "trace",
        direction: Direction::Request,
        what: "traceparent, tracestate and baggage are dropped, unless forward_trace_headers is set",
        why: "they may carry internal names",
    },
    Exception {
        name: "list_paging",
        direction: Direction::Request,
        what: "limit and cursor of a list are ours while a filtered page is refilled",
        why: "the caller's page must be full of the caller's own",
    },
    Exception {
        name: "hop_by_hop",
        direction: Direction::Answer,
        what: "connection, the headers that it names, keep-alive, proxy-connection, te, trailer (and trailers), transfer-encoding, upgrade",
        why: "they speak of one connection; the framing is kept",
    },
    Exception {
        name: "account",
        direction: Direction::Answer,
        what: "anthropic-organization-id, anthropic-workspace-id, anthropic-ratelimit-*, anthropic-priority-*, anthropic-fast-* are dropped",
        why: "they describe the provider account, which is not the caller's",
    },
    Exception {
        name: "limits",
        direction: Direction::Answer,
        what: "anthropic-ratelimit-requests-, -input-tokens-, -output-tokens- and -tokens-limit, -remaining and -reset of the caller are put in",
        why: "the caller's own limits are the ones that bind",
    },
    Exception {
        name: "budget",
        direction: Direction::Answer,
        what: "anthropic-ratelimit-unified-* tell how much is spent of the hard budget that the caller is nearest to",
        why: "Claude Code shows it, and warns at 75 and 95 %",
    },
    Exception {
        name: "request_id",
        direction: Direction::Answer,
        what: "x-request-id is put in: the client's own if it sent one, else ours; request-id stays the upstream's",
        why: "records are found by it",
    },
    Exception {
        name: "stream_events",
        direction: Direction::Answer,
        what: "ping events after 15 s of silence, and one error event at the end of a cut stream, at event borders only",
        why: "connections die of silence; a broken stream must not look like a finished one",
    },
    Exception {
        name: "lists",
        direction: Direction::Answer,
        what: "lists of batches, files and models are ours, re-serialised, where something had to be left out",
        why: "no caller sees what another workspace made, or models that its key may not use",
    },
    Exception {
        name: "results_url",
        direction: Direction::Answer,
        what: "the origin of results_url in batch objects is ours; content-length follows",
        why: "clients fetch it with the key that they have",
    },
    Exception {
        name: "simulated",
        direction: Direction::Answer,
        what: "x-claviger-simulated: true on answers to test keys",
        why: "nobody shall take them for Claude's",
    },
    Exception {
        name: "response_cache",
        direction: Direction::Answer,
        what: "of keys that ask for it: x-claviger-cache: hit or miss; a hit has the first answer's body, content-type and anthropic- headers, an age, and a request-id of ours",
        why: "whoever is given an answer for the second time must see that",
    },
    Exception {
        name: "leaving",
        direction: Direction::Answer,
        what: "x-claviger-rotation while a successor of the caller's key waits; x-claviger-deprecation, deprecation and sunset once the key is deprecated, in place of the upstream's deprecation and sunset",
        why: "whoever still uses a key that goes must hear of it where it is used",
    },
    Exception {
        name: "signing_secret",
        direction: Direction::Answer,
        what: "x-claviger-signing-secret: rotates-at=TIME while a successor of the caller's signing secret waits, or the secret that signed has been replaced",
        why: "whoever signs must fetch the new secret in time",
    },
    Exception {
        name: "unfinished",
        direction: Direction::Answer,
        what: "an answer whose record could not be kept, or that the upstream broke off, ends with an aborted connection",
        why: "a request that its client saw finished is in the ledger; a broken answer is never ended cleanly",
    },
];

/// Whether a header belongs to one connection.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
}

/// What becomes of a header of the request.
#[must_use]
pub fn passes_upstream(name: &HeaderName, forward_trace: bool) -> bool {
    match *name {
        // The most frequent ones first, by pointer-sized comparison.
        header::CONTENT_TYPE | header::CONTENT_LENGTH | header::USER_AGENT | header::ACCEPT => true,
        header::AUTHORIZATION | header::PROXY_AUTHORIZATION | header::HOST | header::ACCEPT_ENCODING => false,
        _ => {
            let name = name.as_str();
            name != X_API_KEY
                && name != DPOP
                && !is_hop_by_hop(name)
                && !signature::HEADERS.contains(&name)
                && (forward_trace || !TRACE.contains(&name))
        }
    }
}

/// What becomes of a header of the answer.
#[must_use]
pub fn passes_downstream(name: &HeaderName) -> bool {
    match *name {
        header::CONTENT_TYPE | header::CONTENT_LENGTH | header::DATE => true,
        _ => {
            let name = name.as_str();
            !is_upstream_account(name) && !is_hop_by_hop(name) && name != "x-request-id"
        }
    }
}

/// The headers that `connection` names, lower-case.
#[must_use]
pub fn named_by_connection(headers: &HeaderMap) -> smallvec::SmallVec<[HeaderName; 2]> {
    let mut named = smallvec::SmallVec::new();
    for value in headers.get_all(header::CONNECTION) {
        for word in value.as_bytes().split(|b| *b == b',') {
            let word = word.trim_ascii();
            // What nearly everybody sends names no header.
            if !word.eq_ignore_ascii_case(b"keep-alive")
                && !word.eq_ignore_ascii_case(b"close")
                && let Ok(name) = HeaderName::from_bytes(word)
            {
                named.push(name);
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_exceptions_is_the_ruled_one() {
        let mut list = String::new();
        for e in EXCEPTIONS {
            list.push_str(&format!("{:?} {}: {}\n", e.direction, e.name, e.what));
        }
        insta::assert_snapshot!(list);
    }

    #[test]
    fn headers_that_do_not_pass_are_exactly_these() {
        let names = [
            "accept",
            "accept-encoding",
            "anthropic-beta",
            "anthropic-fast-input-tokens-limit",
            "anthropic-organization-id",
            "anthropic-priority-input-tokens-limit",
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-unified-status",
            "anthropic-version",
            "anthropic-workspace-id",
            "authorization",
            "baggage",
            "connection",
            "content-digest",
            "content-encoding",
            "content-length",
            "content-type",
            "cookie",
            "date",
            "expect",
            "forwarded",
            "host",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "request-id",
            "retry-after",
            "server",
            "set-cookie",
            "signature",
            "signature-input",
            "te",
            "traceparent",
            "tracestate",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "user-agent",
            "via",
            "x-api-key",
            "x-claude-code-session-id",
            "x-forwarded-for",
            "x-request-id",
            "x-request-nonce",
            "x-request-signature",
            "x-request-signature-version",
            "x-request-timestamp",
            "x-should-retry",
            "x-stainless-retry-count",
            "x-unknown",
        ];
        let dropped = |keep: &dyn Fn(&HeaderName) -> bool| {
            let names = names.iter().filter(|n| !keep(&HeaderName::from_static(n)));
            names.copied().collect::<Vec<_>>().join(" ")
        };
        insta::assert_snapshot!(dropped(&|n| passes_upstream(n, false)), @r#"accept-encoding authorization baggage connection host keep-alive proxy-authenticate proxy-authorization proxy-connection signature signature-input te traceparent tracestate trailer transfer-encoding upgrade x-api-key x-request-nonce x-request-signature x-request-signature-version x-request-timestamp"#);
        insta::assert_snapshot!(dropped(&|n| passes_upstream(n, true)), @r#"accept-encoding authorization connection host keep-alive proxy-authenticate proxy-authorization proxy-connection signature signature-input te trailer transfer-encoding upgrade x-api-key x-request-nonce x-request-signature x-request-signature-version x-request-timestamp"#);
        insta::assert_snapshot!(dropped(&passes_downstream), @r#"anthropic-fast-input-tokens-limit anthropic-organization-id anthropic-priority-input-tokens-limit anthropic-ratelimit-requests-limit anthropic-ratelimit-unified-status anthropic-workspace-id connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding upgrade x-request-id"#);
    }

    #[test]
    fn connection_names_headers_that_are_dropped_with_it() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, "keep-alive, X-Hop , bad header".parse().unwrap());
        headers.append(header::CONNECTION, "close,x-other".parse().unwrap());
        let named = named_by_connection(&headers);
        assert_eq!(named.iter().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-hop", "x-other"]);
    }
}
