//! What became of a request, as a line: in the journal and, the same bytes, in the output.

use std::borrow::Cow;

use claviger_claude_wire::{
    price::{CallKind, PriceTable},
    usage::read_message,
};
use claviger_domain::clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

/// The tries of one request that are listed: the first and the last half; the others are counted.
const LISTED: usize = 16;

/// How a request ended, in the words of Message Batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With a message.
    Succeeded,
    /// With an error.
    Errored,
    /// It was cancelled at the provider.
    Canceled,
    /// The provider did not come to it in time.
    Expired,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// The id that was sent as `x-request-id`.
    pub id: String,
    /// When, RFC 3339.
    pub at: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The status of the answer; none came without it.
    pub status: Option<u16>,
    /// The answer's `request-id`: the ledger has it, too.
    pub request_id: Option<String>,
    /// Why it was not the last one, or why the request failed.
    pub reason: Option<String>,
}

/// The tries of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    count: u64,
    first: Vec<Attempt>,
    last: std::collections::VecDeque<Attempt>,
}

impl Attempts {
    /// One more.
    pub fn add(&mut self, attempt: Attempt) {
        self.count += 1;
        if self.first.len() < LISTED / 2 {
            self.first.push(attempt);
            return;
        }
        if self.last.len() == LISTED / 2 {
            self.last.pop_front();
        }
        self.last.push_back(attempt);
    }

    /// How many there were.
    pub const fn count(&self) -> u64 {
        self.count
    }

    fn listed(&self) -> Vec<&Attempt> {
        self.first.iter().chain(&self.last).collect()
    }
}

/// What became of one request.
#[derive(Debug)]
pub struct Record<'a> {
    /// Which one.
    pub custom_id: &'a str,
    /// Its fingerprint, in hex.
    pub request: &'a str,
    /// `{"type":…}`, as JSON on one line.
    pub result: String,
    /// What it cost, in pico-dollars.
    pub cost: i128,
    /// How it came about: fields beside these.
    pub how: Value,
}

impl Record<'_> {
    /// The line, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut about = json!({"request": self.request, "cost_pusd": self.cost.to_string()});
        if let (Some(about), Some(how)) = (about.as_object_mut(), self.how.as_object()) {
            about.extend(how.clone());
        }
        let id = Value::from(self.custom_id);
        format!("{{\"custom_id\":{id},\"result\":{},\"claviger\":{about}}}\n", self.result).into_bytes()
    }
}

/// How calls of one's own came to their answer.
pub fn how(attempts: &Attempts) -> Value {
    json!({"attempts": attempts.listed(), "attempts_count": attempts.count()})
}

/// The result of a message that came as `body`.
pub fn succeeded(body: &[u8]) -> Option<String> {
    let message: &RawValue = serde_json::from_slice(body).ok()?;
    message
        .get()
        .starts_with('{')
        .then(|| format!(r#"{{"type":"succeeded","message":{}}}"#, on_one_line(message)))
}

/// The result of a request that was answered with an error; `said` stands in for an answer that is none of the API's.
pub fn errored(body: &[u8], said: &str) -> String {
    let own = || json!({"type": "error", "error": {"type": "api_error", "message": said}}).to_string();
    let theirs = serde_json::from_slice::<&RawValue>(body).ok().filter(|_| error_of(body).is_some());
    let error = theirs.map_or_else(own, |theirs| on_one_line(theirs).into_owned());
    format!(r#"{{"type":"errored","error":{error}}}"#)
}

/// Line breaks of JSON stand between its words only: blanks say the same.
pub fn on_one_line(json: &RawValue) -> Cow<'_, str> {
    if json.get().contains(['\n', '\r']) {
        Cow::Owned(json.get().replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json.get())
    }
}

/// Type and message of an error of the API's.
pub fn error_of(body: &[u8]) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Envelope {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "type")]
        kind: String,
        message: String,
    }
    let said: Envelope = serde_json::from_slice(body).ok()?;
    Some((said.error.kind, said.error.message))
}

/// What a message cost by the list, in pico-dollars; nothing where it cannot be read.
pub fn cost(prices: &PriceTable, message: &[u8], kind: CallKind, at: Timestamp) -> i128 {
    let Ok(read) = read_message(message) else { return 0 };
    if read.is_unbilled_refusal() {
        return 0;
    }
    prices.cost(read.model.as_deref().unwrap_or_default(), &read.usage, kind, at.as_micros()).pico
}

/// What a line says that was written before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which request.
    pub custom_id: String,
    /// The fingerprint of the request that was answered, in hex.
    pub request: String,
    /// How it ended.
    pub ended: Ended,
    /// What it cost, in pico-dollars.
    pub cost: i128,
}

impl Known {
    /// Reads a line; `None`: it is none of ours.
    pub fn read(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Written {
            custom_id: String,
            result: Tagged,
            claviger: About,
        }
        #[derive(Deserialize)]
        struct Tagged {
            #[serde(rename = "type")]
            ended: Ended,
        }
        #[derive(Deserialize)]
        struct About {
            request: String,
            cost_pusd: String,
        }
        let Written { custom_id, result, claviger } = serde_json::from_slice(line).ok()?;
        let cost = claviger.cost_pusd.parse().ok()?;
        Some(Self { custom_id, request: claviger.request, ended: result.ended, cost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u64) -> Attempt {
        Attempt {
            id: format!("b-{number}"),
            at: "2026-11-22T12:00:00Z".to_owned(),
            took_ms: number,
            status: Some(529),
            request_id: Some(format!("req_{number}")),
            reason: Some("overloaded_error: later".to_owned()),
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let mut attempts = Attempts::default();
        attempts.add(attempt(1));
        attempts.add(Attempt { status: Some(200), reason: None, ..attempt(2) });
        let body = b"{\"id\":\"msg_1\",\n \"usage\":{\"input_tokens\":1}}";
        let record = Record {
            custom_id: "a",
            request: "00ff",
            result: succeeded(body).unwrap(),
            cost: 12,
            how: how(&attempts),
        };
        let line = record.line();
        insta::assert_snapshot!(String::from_utf8(line.clone()).unwrap().trim_end(), @r#"{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg_1",  "usage":{"input_tokens":1}}},"claviger":{"attempts":[{"at":"2026-11-22T12:00:00Z","id":"b-1","reason":"overloaded_error: later","request_id":"req_1","status":529,"took_ms":1},{"at":"2026-11-22T12:00:00Z","id":"b-2","reason":null,"request_id":"req_2","status":200,"took_ms":2}],"attempts_count":2,"cost_pusd":"12","request":"00ff"}}"#);
        let known = Known::read(&line).unwrap();
        assert_eq!(
            known,
            Known { custom_id: "a".into(), request: "00ff".into(), ended: Ended::Succeeded, cost: 12 }
        );
        for torn in [
            &line[..line.len() - 3],
            b"",
            b"{}",
            b"{\"custom_id\":\"a\",\"result\":{\"type\":\"succeeded\"}}",
        ] {
            assert_eq!(Known::read(torn), None);
        }
    }

    #[test]
    fn errors_are_the_api_s_own_where_it_said_one() {
        let said = br#"{"type":"error","error":{"type":"invalid_request_error","message":"no"},"request_id":"req_1"}"#;
        assert_eq!(
            errored(said, "x"),
            format!(r#"{{"type":"errored","error":{}}}"#, String::from_utf8_lossy(said))
        );
        insta::assert_snapshot!(errored(b"<html>", "status 502"), @r#"{"type":"errored","error":{"error":{"message":"status 502","type":"api_error"},"type":"error"}}"#);
        assert_eq!(succeeded(b"<html>"), None);
        assert_eq!(succeeded(b"7"), None);
    }

    #[test]
    fn of_many_tries_the_first_and_the_last_are_listed() {
        let mut attempts = Attempts::default();
        for number in 1..=40 {
            attempts.add(attempt(number));
        }
        let listed: Vec<u64> = attempts.listed().iter().map(|a| a.took_ms).collect();
        assert_eq!(listed, (1..=8).chain(33..=40).collect::<Vec<_>>());
        assert_eq!(attempts.count(), 40);
    }
}
