//! What holders read.

use std::net::IpAddr;

use claviger_domain::{
    budget::Standing as BudgetStanding,
    clock::{MICROS_PER_SEC, Timestamp},
    key::{KeyRecord, child::HEARTBEAT_SECS},
    limit::{Bucket, LimitSubject},
    money::usd_text,
    token::Token,
};
use claviger_service::{
    children::{Notice, Standing},
    grants::Counter,
    signing::{HeldSecret, HolderSecrets},
};
use serde_json::{Value, json};

/// A new child; the only time its key is shown.
pub fn minted(key: &KeyRecord, token: &Token, now: Timestamp) -> Value {
    let mut view = child(key, now);
    view["key"] = json!(String::from_utf8_lossy(token.expose()));
    view
}

/// A child.
pub fn child(key: &KeyRecord, now: Timestamp) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "status": key.status(now).as_str(),
        "parent": key.parent,
        "expires_at": key.expires_at.map(Timestamp::to_rfc3339),
        "expires_in_secs": expires_in(key, now),
        "heartbeat_secs": HEARTBEAT_SECS,
    })
}

fn expires_in(key: &KeyRecord, now: Timestamp) -> Option<i64> {
    key.expires_at.map(|at| at.micros_since(now).max(0) / MICROS_PER_SEC)
}

/// How a key stands.
pub fn standing(own: &Standing, seen_from: IpAddr, now: Timestamp) -> Value {
    let Standing { key, status, workspace, environment, owner, uses, in_flight, left, notice } = own;
    let policy = &key.policy;
    json!({
        "id": key.id,
        "name": key.name,
        "class": key.class,
        "status": status.as_str(),
        "hint": key.hint,
        "parent": key.parent,
        "workspace": {"id": key.workspace, "name": workspace, "environment": environment},
        "owner": {"id": key.owner, "name": owner},
        "created_at": key.created_at.to_rfc3339(),
        "expires_at": key.expires_at.map(Timestamp::to_rfc3339),
        "expires_in_secs": expires_in(key, now),
        "models": policy.permissions.models,
        "endpoints": policy.permissions.endpoints,
        "scopes": policy.permissions.scopes,
        "allow_ip": policy.allow_ip,
        "seen_from": seen_from,
        "hours": policy.hours,
        "limits": left.iter().map(limit).collect::<Vec<_>>(),
        "concurrency": {"limit": policy.limits.concurrency, "in_flight": in_flight},
        "uses": uses,
        "max_uses": policy.max_uses,
        "uses_left": policy.max_uses.map(|most| most.saturating_sub(*uses)),
        "rotation": notice.as_ref().map(rotation),
    })
}

/// A holder's signing secrets: the only place but an operator's answer that shows them.
pub fn signing(held: &HolderSecrets) -> Value {
    let one = |secret: &HeldSecret| {
        let HeldSecret { text, record } = secret;
        json!({
            "id": record.id,
            "signing_secret": String::from_utf8_lossy(text.expose()),
            "valid_from": record.valid_from.to_rfc3339(),
            "until": record.until.map(Timestamp::to_rfc3339),
        })
    };
    json!({ "current": held.current.as_ref().map(one), "next": held.next.as_ref().map(one) })
}

/// How a budget stands that the holder's calls count against. Whose it is is said, not by which id.
pub fn budget(standing: &BudgetStanding) -> Value {
    let BudgetStanding { record, window, settled, reserved, left, overshoot_bound } = standing;
    json!({
        "subject": record.subject.kind(),
        "period": record.calendar.period().as_str(),
        "tz": record.calendar.zone(),
        "hard": record.hard,
        "mode": record.mode.as_str(),
        "limit_pusd": record.limit.to_string(),
        "limit_usd": usd_text(i128::from(record.limit.as_pico())),
        "settled_pusd": settled.to_string(),
        "reserved_pusd": reserved.to_string(),
        "left_pusd": left.to_string(),
        "left_usd": usd_text(*left),
        "overshoot_bound_pusd": overshoot_bound.to_string(),
        "resets_at": window.end.map(Timestamp::to_rfc3339),
        "prepaid": record.credit.is_some(),
    })
}

fn limit(counter: &Counter) -> Value {
    let Counter { bucket, headroom, held, resets } = counter;
    json!({
        "subject": headroom.subject,
        "of_parent": headroom.subject == LimitSubject::Parent,
        "kind": headroom.kind,
        "bucket": bucket.map(|bucket| match bucket { Bucket::Work => "work", Bucket::Look => "look" }),
        "limit": headroom.limit,
        "held": held,
        "remaining": headroom.remaining,
        "reset": resets.then(|| headroom.reset.to_rfc3339()),
    })
}

fn rotation(notice: &Notice) -> Value {
    json!({
        "successor": notice.successor,
        "overlap_until": notice.overlap_until.map(Timestamp::to_rfc3339),
        "stage": notice.stage,
        "next_at": notice.next_at.map(Timestamp::to_rfc3339),
    })
}
