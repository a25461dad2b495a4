//! What a request asks of the cache, if it may ask at all.

use claviger_claude_wire::question;
use claviger_domain::recall::{Facts, Question};
use claviger_service::recall::Asking;
use http::{HeaderMap, header};

use crate::{
    authorize::{Destination, Payload, Permit, betas},
    path::Operation,
};

/// A request that may be answered out of the cache.
pub struct Ask {
    /// What it asks.
    pub asking: Asking,
    /// The caller wants it answered anew.
    pub anew: bool,
}

/// What the caller's `cache-control` says (RFC 9111, 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Control {
    no_store: bool,
    no_cache: bool,
    max_age_secs: Option<u64>,
}

impl Control {
    fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        let lines = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
        for directive in lines.flat_map(|line| line.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => control.no_store = true,
                "no-cache" => control.no_cache = true,
                "max-age" => {
                    // What cannot be read is as strict as can be.
                    let secs = value.trim().trim_matches('"').parse().unwrap_or(0);
                    control.max_age_secs = Some(control.max_age_secs.map_or(secs, |known| known.min(secs)));
                }
                _ => {}
            }
        }
        control
    }
}

/// What a request of a key that asks for the cache asks; `None`: it must be sent, and its answer not kept.
pub fn of(permit: &Permit) -> Option<Ask> {
    let (head, live) = (&permit.head, &permit.caller.live);
    let (ttl, key) = (live.cache()?, &live.grant.key);
    let control = Control::of(&head.headers);
    let Payload::Message { body, facts } = &permit.payload else { return None };
    // What is named at the provider can be deleted there; what can be minted there is somebody's.
    if head.operation != Operation::CreateMessage
        || control.no_store
        || !facts.named.is_empty()
        || facts.may_mint
    {
        return None;
    }
    let read = question::Question::read(&body.bytes).ok().filter(|read| read.is_still)?;
    let credential = match &permit.destination {
        Destination::Any => None,
        Destination::Credential(credential) => Some(credential),
        Destination::Bound => return None,
    };
    let question = Question::of(Facts {
        workspace: &key.workspace,
        class: key.class,
        credential,
        target: head.uri.path_and_query().map_or("", |target| target.as_str()),
        betas: betas(&head.headers).collect(),
        headers: of_the_api(&head.headers),
        body: read.digest,
    });
    let Control { no_cache, max_age_secs, .. } = control;
    let asking = Asking { question, workspace: key.workspace.clone(), ttl, max_age_secs };
    Some(Ask { asking, anew: no_cache || max_age_secs == Some(0) })
}

/// Headers that the API goes by, but for the betas.
fn of_the_api(headers: &HeaderMap) -> Vec<(&str, &[u8])> {
    let all = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    all.filter(|(name, _)| name.starts_with("anthropic-") && *name != "anthropic-beta").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(lines: &[&'static str]) -> (bool, bool, Option<u64>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, http::HeaderValue::from_static(line));
        }
        let Control { no_store, no_cache, max_age_secs } = Control::of(&headers);
        (no_store, no_cache, max_age_secs)
    }

    #[test]
    fn cache_control_is_read_in_any_spelling_and_the_strictest_word_counts() {
        assert_eq!(control(&[]), (false, false, None));
        assert_eq!(control(&["no-store"]), (true, false, None));
        assert_eq!(control(&["private, No-Cache", "NO-STORE"]), (true, true, None));
        assert_eq!(control(&["max-age=60, max-age = 5 "]), (false, false, Some(5)));
        assert_eq!(control(&["max-age=\"7\""]), (false, false, Some(7)));
        assert_eq!(control(&["max-age=soon"]), (false, false, Some(0)));
        assert_eq!(control(&["max-age"]), (false, false, Some(0)));
        assert_eq!(control(&["no-transform, only-if-cached"]), (false, false, None));
    }

    #[test]
    fn what_the_api_goes_by_is_told_from_what_describes_the_client() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "a"),
            ("user-agent", "x"),
            ("x-stainless-retry-count", "1"),
            ("anthropic-workspace-id", "wrkspc_1"),
        ] {
            headers.append(name, http::HeaderValue::from_static(value));
        }
        let mut found = of_the_api(&headers);
        found.sort_unstable();
        assert_eq!(
            found,
            [("anthropic-version", &b"2023-06-01"[..]), ("anthropic-workspace-id", b"wrkspc_1")]
        );
    }
}
