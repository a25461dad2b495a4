//! What a notice says, as mail and as JSON. One notice is a headline, a paragraph, a list of facts and what to do next;
//! each form is made from the same four.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Incident, Notice, NoticeRecord, RotationStep};
use crate::{
    clock::{MICROS_PER_DAY, Timestamp},
    id::KeyId,
    key::{RevocationReason, deprecation::DeprecationStage},
    money::usd_text,
};

/// A notice in every form.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// An HTML page without scripts, pictures or links.
    pub html: String,
    /// The payload of webhooks: `type`, `timestamp`, `data`.
    pub payload: Value,
}

/// What all forms are made from.
struct Content {
    headline: String,
    paragraph: String,
    /// Name in JSON, label for people, value.
    facts: Vec<(&'static str, &'static str, Value)>,
    next: String,
}

impl Message {
    /// Writes a notice out.
    #[must_use]
    pub fn of(record: &NoticeRecord) -> Self {
        let content = content(record);
        Self {
            subject: format!("[claviger] {}", one_line(&content.headline)),
            text: text(record, &content),
            html: html(record, &content),
            payload: payload(record, &content),
        }
    }
}

fn content(record: &NoticeRecord) -> Content {
    let key = record.about.key.as_ref().map_or("", KeyId::as_str);
    match &record.notice {
        Notice::KeyExpiring { name, expires_at, .. } => {
            let left = days_left(record.raised_at, *expires_at);
            Content {
                headline: format!("Key \"{name}\" expires in {}", in_days(left)),
                paragraph: "From then on every request with it is refused.".to_owned(),
                facts: vec![
                    ("expires_at", "Expires", moment(*expires_at)),
                    ("days_left", "Days left", left.into()),
                ],
                next: format!("Rotate it in time: claviger key rotate {key}"),
            }
        }
        Notice::Rotation { .. } => rotation(&record.notice),
        Notice::Deprecation { name, stage, next_at } => Content {
            headline: format!("Key \"{name}\" is deprecated: {}", stage.as_str().replace('_', " ")),
            paragraph: stage_means(*stage).to_owned(),
            facts: vec![
                ("stage", "Stage", stage.as_str().into()),
                ("next_at", "Next step", next_at.map_or(Value::Null, moment)),
            ],
            next: "Move whoever still uses it to its successor.".to_owned(),
        },
        Notice::Revocation { name, reason, immediate, affected } => Content {
            headline: format!("Key \"{name}\" was revoked: {}", reason.as_str()),
            paragraph: revocation_means(*reason, *immediate),
            facts: vec![
                ("reason", "Reason", reason.as_str().into()),
                ("immediate", "Calls in flight were cut", (*immediate).into()),
                ("affected", "Affected", affected.clone().into()),
            ],
            next: "Give those who still need access a new key.".to_owned(),
        },
        Notice::Incident { incident, what, client_ip } => Content {
            headline: format!("Incident: {}", incident_means(*incident)),
            paragraph: what.clone(),
            facts: vec![
                ("incident", "Incident", incident.as_str().into()),
                ("client_ip", "From", client_ip.as_str().into()),
            ],
            next: incident_next(*incident, key),
        },
        Notice::PolicyBreach { name, rule, what, deadline } => Content {
            headline: format!("Key \"{name}\" breaks its policy: {rule}"),
            paragraph: what.clone(),
            facts: vec![
                ("rule", "Rule", rule.as_str().into()),
                ("deadline", "To be mended until", deadline.map_or(Value::Null, moment)),
            ],
            next: "Change the key, or have the policy changed.".to_owned(),
        },
        Notice::UnusedRevoked { name, unused_days, last_used_at } => Content {
            headline: format!("Key \"{name}\" was revoked: unused for {}", in_days(*unused_days)),
            paragraph: "Nobody used it or a key that it came from for longer than its policy allows."
                .to_owned(),
            facts: vec![
                ("unused_days", "Days unused", (*unused_days).into()),
                ("last_used_at", "Last used", last_used_at.map_or(Value::Null, moment)),
            ],
            next: "Whoever needs access again gets a new key.".to_owned(),
        },
        Notice::SigningRotation { name, valid_from, until } => signing_rotation(name, *valid_from, *until),
        Notice::SigningOld { name, until } => signing_old(name, *until, key),
        Notice::WeeklyReport { report, from, until, summary } => Content {
            headline: "Weekly rotation report".to_owned(),
            paragraph: summary.clone(),
            facts: vec![
                ("report", "Report", report.as_str().into()),
                ("from", "From", moment(*from)),
                ("until", "Until", moment(*until)),
            ],
            next: "Read it again with: claviger report weekly".to_owned(),
        },
        Notice::Budget { .. } => budget(&record.notice),
        Notice::Reconciled { .. } => reconciled(&record.notice),
        Notice::Trial { channel } => trial(channel),
    }
}

fn signing_rotation(name: &str, valid_from: Timestamp, until: Timestamp) -> Content {
    Content {
        headline: format!("The signing secret of key \"{name}\" is replaced"),
        paragraph: "Its successor is made and both are accepted. Adapters fetch it by themselves.".to_owned(),
        facts: vec![
            ("valid_from", "The new one is to be used from", moment(valid_from)),
            ("until", "The old one is refused from", moment(until)),
        ],
        next: "Who signs by hand fetches it: GET /v1/claviger/signing-secret, signed".to_owned(),
    }
}

fn signing_old(name: &str, until: Timestamp, key: &str) -> Content {
    Content {
        headline: format!("Key \"{name}\" still signs with its old secret"),
        paragraph: "From the time below on its signed requests are refused.".to_owned(),
        facts: vec![("until", "The old one is refused from", moment(until))],
        next: format!("Give its holder the new one: claviger key signing rotate {key}"),
    }
}

fn trial(channel: &str) -> Content {
    Content {
        headline: format!("Channel \"{channel}\" works"),
        paragraph: "An operator tries this channel. Nothing has happened.".to_owned(),
        facts: vec![("channel", "Channel", channel.into())],
        next: "There is nothing to do.".to_owned(),
    }
}

fn rotation(notice: &Notice) -> Content {
    let Notice::Rotation {
        rotation,
        step,
        old_key_id,
        new_key_id,
        reason,
        overlap_secs,
        completion_at,
        hold,
    } = notice
    else {
        return nothing();
    };
    let (headline, paragraph, next) = step_means(*step);
    let held = hold.map(|why| ("hold", "Held because", why.as_str().into()));
    let facts = [
        ("rotation", "Rotation", rotation.as_str().into()),
        ("step", "Step", step.as_str().into()),
        ("old_key_id", "Old key", old_key_id.as_str().into()),
        ("new_key_id", "New key", new_key_id.as_str().into()),
        ("reason", "Reason", reason.as_str().into()),
        ("overlap_period", "Overlap", span(*overlap_secs).into()),
        ("completion_date", "Completion", moment(*completion_at)),
    ];
    Content {
        headline: format!("Rotation of {old_key_id} {headline}"),
        paragraph: paragraph.to_owned(),
        facts: facts.into_iter().chain(held).collect(),
        next: next.to_owned(),
    }
}

/// What a notice of another kind has to say here.
const fn nothing() -> Content {
    Content { headline: String::new(), paragraph: String::new(), facts: Vec::new(), next: String::new() }
}

fn budget(notice: &Notice) -> Content {
    let Notice::Budget { budget, whose, period, window, resets_at, percent, limit, settled_usd, hard } =
        notice
    else {
        return nothing();
    };
    let limit_usd = usd_text(i128::from(limit.as_pico()));
    let what = if *percent >= 100 { "is spent".to_owned() } else { format!("is spent by {percent} %") };
    let paragraph = match (*hard, *percent >= 100) {
        (true, true) => "Calls that count against it are refused from now on.",
        (true, false) => "Once it is spent, calls that count against it are refused.",
        (false, _) => "Nobody is refused: it only tells.",
    };
    Content {
        headline: format!("The budget of {whose}, ${limit_usd} {}, {what}", period.phrase()),
        paragraph: paragraph.to_owned(),
        facts: vec![
            ("budget", "Budget", budget.as_str().into()),
            ("percent", "Per cent spent", (*percent).into()),
            ("limit_usd", "Limit in $", limit_usd.into()),
            ("settled_usd", "Spent in $", settled_usd.as_str().into()),
            ("period_began_at", "Since", moment(*window)),
            ("resets_at", "Begins anew", resets_at.map_or(Value::Null, moment)),
        ],
        next: "See who spends it: claviger usage; change it: claviger budget set".to_owned(),
    }
}

fn reconciled(notice: &Notice) -> Content {
    let Notice::Reconciled { upstream, day, leaked_usd, keys, unexplained_usd } = notice else {
        return nothing();
    };
    let (headline, paragraph) = if keys.is_empty() {
        (
            format!("The bill of {upstream} for {day} is not what the ledger says"),
            "The provider's cost report and the ledger differ by what no call explains.",
        )
    } else {
        (
            format!("{upstream} billed ${leaked_usd} on {day} for calls that did not come through Claviger"),
            "Somebody calls the provider with its own keys, past every key, limit and budget here.",
        )
    };
    Content {
        headline,
        paragraph: paragraph.to_owned(),
        facts: vec![
            ("upstream", "Upstream", upstream.as_str().into()),
            ("day", "UTC day", day.as_str().into()),
            ("leaked_usd", "Leaked in $", leaked_usd.as_str().into()),
            ("keys", "With the provider's keys", keys.clone().into()),
            (
                "unexplained_usd",
                "Unexplained in $",
                unexplained_usd.as_deref().map_or(Value::Null, Value::from),
            ),
        ],
        next: "See each finding with: claviger reconcile".to_owned(),
    }
}

const fn step_means(step: RotationStep) -> (&'static str, &'static str, &'static str) {
    match step {
        RotationStep::Started => (
            "has begun",
            "A successor was made and waits to be unwrapped. The old key goes on working.",
            "Unwrap the successor and put it in the old key's place.",
        ),
        RotationStep::Delivered => (
            "was delivered",
            "The successor was unwrapped and works from its first use on.",
            "Put it in the old key's place.",
        ),
        RotationStep::Activated => (
            "is under way",
            "The successor was used for the first time. Both keys work until the overlap ends.",
            "Move whoever still uses the old key.",
        ),
        RotationStep::Retiring => (
            "retires the old key",
            "The old key is no longer used, or the overlap has ended. It is refused soon.",
            "Move whoever still uses the old key now.",
        ),
        RotationStep::Completed => (
            "is complete",
            "The old key is revoked; the successor stands in its place.",
            "There is nothing to do.",
        ),
        RotationStep::Cancelled => (
            "was cancelled",
            "The successor is revoked; the old key goes on until its own expiry.",
            "Rotate again in time.",
        ),
        RotationStep::RolledBack => (
            "was rolled back",
            "The old key is in full force again; the successor is revoked.",
            "Put the old key back in place, then rotate again.",
        ),
        RotationStep::Redelivered => (
            "was delivered anew",
            "The successor waits in a new wrapping. What was handed over before opens nothing.",
            "Unwrap the successor and put it in the old key's place.",
        ),
        RotationStep::Held => (
            "cannot go on",
            "The overlap is over, but nobody uses the successor. The old key works on until its own expiry, so that its \
             owner is not left without a key.",
            "See why with `claviger rotation status`, then have the successor unwrapped and put in place.",
        ),
    }
}

const fn stage_means(stage: DeprecationStage) -> &'static str {
    match stage {
        DeprecationStage::Warned => "It still works. It will be slowed down, then refused.",
        DeprecationStage::Limited => "It still works, with lower limits.",
        DeprecationStage::FinalWarning => "It still works, for the last day.",
        DeprecationStage::Refused => "Requests with it are refused. Soon it is revoked for ever.",
    }
}

fn revocation_means(reason: RevocationReason, immediate: bool) -> String {
    let why = match reason {
        RevocationReason::Expired => "It had run out.",
        RevocationReason::Compromised => "Somebody else had it. It never comes back.",
        RevocationReason::Rotation => "Its successor stands in its place.",
        RevocationReason::UserRequest => "Its owner asked for it.",
        RevocationReason::SecurityPolicy => "A policy demanded it.",
    };
    let how = if immediate { "Calls in flight were cut." } else { "Calls in flight could finish." };
    format!("{why} {how}")
}

const fn incident_means(incident: Incident) -> &'static str {
    match incident {
        Incident::SecondUnwrap => "a wrapping token was opened twice",
        Incident::BreakGlass => "break-glass was used",
        Incident::Lockout => "an operator was locked out",
        Incident::DeadKeyUsed => "a compromised key was tried",
        Incident::RefreshReused => "a refresh token was used twice",
    }
}

fn incident_next(incident: Incident, key: &str) -> String {
    match incident {
        Incident::SecondUnwrap => format!(
            "Ask the recipient whether they opened it first. If not: claviger key revoke {key} --reason COMPROMISED --now"
        ),
        Incident::BreakGlass => "Make sure that you know who did it and why.".to_owned(),
        Incident::Lockout => "Ask the operator whether it was them.".to_owned(),
        Incident::DeadKeyUsed => "Find out who still has it.".to_owned(),
        Incident::RefreshReused => format!(
            "Find out where a copy is: clients that share one refresh token, a backup, or a thief. If you do not know: claviger key tokens revoke {key}"
        ),
    }
}

fn moment(at: Timestamp) -> Value {
    at.to_rfc3339().into()
}

/// Days that have begun: 13 days and an hour are 14.
fn days_left(now: Timestamp, until: Timestamp) -> u32 {
    let micros = until.micros_since(now).max(0);
    u32::try_from(micros.saturating_add(MICROS_PER_DAY - 1) / MICROS_PER_DAY).unwrap_or(u32::MAX)
}

fn in_days(days: u32) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

/// Seconds in the largest unit that fits, as flags take them: `7d`, `12h`, `90s`.
fn span(secs: u64) -> String {
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if secs > 0 && secs.is_multiple_of(length) {
            return format!("{}{unit}", secs / length);
        }
    }
    format!("{secs}s")
}

/// Names come from operators: no line breaks into headers.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// What people see of a fact; nothing for what is not known.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(list) if list.is_empty() => None,
        Value::Array(list) => Some(list.iter().filter_map(shown).collect::<Vec<_>>().join(", ")),
        Value::Bool(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Value::Number(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// What every notice says beside its own facts.
fn common(record: &NoticeRecord) -> Vec<(&'static str, &'static str, Value)> {
    let about = &record.about;
    vec![
        ("key_id", "Key", about.key.as_ref().map(KeyId::as_str).into()),
        ("owner", "Owner", about.owner.as_ref().map(|o| o.as_str()).into()),
        ("workspace", "Workspace", about.workspace.as_ref().map(|w| w.as_str()).into()),
    ]
}

fn text(record: &NoticeRecord, content: &Content) -> String {
    let mut text = format!("{}\n\n{}\n\n", content.headline, content.paragraph);
    for (_, label, value) in content.facts.iter().chain(&common(record)) {
        if let Some(value) = shown(value) {
            let _ = writeln!(text, "{label}: {value}");
        }
    }
    let _ = write!(
        text,
        "\n{}\n\n-- \n{} {}, {}\n",
        content.next,
        record.severity.as_str(),
        record.id,
        record.raised_at.to_rfc3339()
    );
    text
}

fn html(record: &NoticeRecord, content: &Content) -> String {
    let mut rows = String::new();
    for (_, label, value) in content.facts.iter().chain(&common(record)) {
        if let Some(value) = shown(value) {
            let _ = writeln!(rows, "<tr><th align=\"left\">{label}</th><td>{}</td></tr>", escape(&value));
        }
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{headline}</title></head>\n\
         <body>\n<h1>{headline}</h1>\n<p>{paragraph}</p>\n<table>\n{rows}</table>\n<p>{next}</p>\n\
         <p><small>{severity} {id}, {at}</small></p>\n</body></html>\n",
        headline = escape(&content.headline),
        paragraph = escape(&content.paragraph),
        next = escape(&content.next),
        severity = record.severity.as_str(),
        id = record.id,
        at = record.raised_at.to_rfc3339(),
    )
}

fn payload(record: &NoticeRecord, content: &Content) -> Value {
    let mut data = Map::new();
    data.insert("severity".to_owned(), record.severity.as_str().into());
    data.insert("title".to_owned(), content.headline.as_str().into());
    data.insert("text".to_owned(), content.paragraph.as_str().into());
    data.insert("next".to_owned(), content.next.as_str().into());
    for (name, _, value) in common(record).into_iter().chain(content.facts.iter().cloned()) {
        data.insert(name.to_owned(), value);
    }
    let mut payload = Map::new();
    payload.insert("type".to_owned(), record.notice.kind().into());
    payload.insert("timestamp".to_owned(), moment(record.raised_at));
    payload.insert("data".to_owned(), Value::Object(data));
    Value::Object(payload)
}

/// Text that is safe between tags and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}
