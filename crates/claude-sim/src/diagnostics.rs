//! `/__sim/*`: what the simulator saw, for tests and their oracle.
//!
//! - `GET /__sim/log?skip=N`: the log in memory as JSON lines, without the first N ever written; `DELETE` empties it.
//! - `GET /__sim/counters`: totals.
//! - `PUT /__sim/standing?key=KEY`: the body is a directive list that holds for every request (of that key).

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Method;

use crate::call::{Call, Reply};
use crate::error::ApiError;
use crate::headers::Kind;
use crate::page::PageQuery;

/// Answers `/__sim/{rest}`.
pub(crate) fn answer(call: &Call, rest: &str, body: &Bytes) -> Result<Reply, ApiError> {
    if !call.core.config.diagnostics {
        return Err(ApiError::not_found("Not found"));
    }
    let query = PageQuery::of(call.head.uri.query());
    let method = &call.head.method;
    match rest {
        "log" if method == Method::DELETE => {
            call.core.log.clear();
            Ok(Reply::json("{}".to_owned()))
        }
        "log" if method == Method::GET => {
            call.core.settle_batches();
            let skip = query.get("skip").and_then(|text| text.parse().ok()).unwrap_or(0);
            Ok(Reply::of(Kind::Jsonl, call.core.log.lines(skip).into()))
        }
        "counters" if method == Method::GET => Ok(Reply::json(counters(call))),
        "standing" if method == Method::PUT => {
            let list = std::str::from_utf8(body).map_err(|_| ApiError::invalid("the list is not UTF-8"))?;
            let set = call.core.standing.set(query.get("key"), list);
            set.map_err(|error| ApiError::invalid(error.to_string()))?;
            Ok(Reply::json("{}".to_owned()))
        }
        _ => Err(ApiError::not_found("Not found")),
    }
}

fn counters(call: &Call) -> String {
    let counters = &call.core.log.counters;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        r#"{{"requests":{},"in_flight":{},"completed":{},"cut":{},"gone":{},"refused":{},"inferences":{},"dropped_lines":{}}}"#,
        read(&counters.requests),
        read(&counters.in_flight),
        read(&counters.completed),
        read(&counters.cut),
        read(&counters.gone),
        read(&counters.refused),
        read(&counters.inferences),
        read(&counters.dropped_lines)
    )
}
