//! The Admin API, as far as it tells who used which key and what it cost: `/v1/organizations/api_keys`,
//! `/v1/organizations/usage_report/messages` and `/v1/organizations/cost_report`. An Admin key opens these and nothing else.

pub(crate) mod books;
mod cost;
mod keys;
mod prices;
mod report;

use crate::auth;
use crate::call::{Call, Reply};
use crate::error::ApiError;
use crate::page::PageQuery;

/// What Admin keys begin with.
const ADMIN_KEY: &str = "sk-ant-admin";

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    ListApiKeys,
    GetApiKey(&'a str),
    UsageReport,
    CostReport,
}

impl Question<'_> {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ListApiKeys => "api_key.list",
            Self::GetApiKey(_) => "api_key.get",
            Self::UsageReport => "usage_report.messages",
            Self::CostReport => "cost_report",
        }
    }
}

/// Answers one question.
///
/// # Errors
/// 401 without a valid Admin key, 400 for a question that cannot be understood.
pub(crate) fn answer(call: &Call, question: Question<'_>) -> Result<Reply, ApiError> {
    let core = &call.core;
    if !core.config.diagnostics {
        return Err(ApiError::not_found("Not found"));
    }
    let key = auth::presented(&call.head.headers);
    let key = key.ok_or_else(|| ApiError::unauthenticated("x-api-key header is required"))?;
    let allowed = &core.config.admin_keys;
    if !is_admin_key(key) || !(allowed.is_empty() || allowed.iter().any(|one| one == key)) {
        return Err(ApiError::unauthenticated("invalid x-api-key"));
    }
    let version = auth::version(&call.head.headers)?;
    core.settle_batches();
    let query = PageQuery::of(call.head.uri.query());
    match question {
        Question::ListApiKeys => keys::list(core, &query, version),
        Question::GetApiKey(id) => keys::get(core, id, version),
        Question::UsageReport => report::messages(core, &query, call.now_ms),
        Question::CostReport => cost::report(core, &query, call.now_ms),
    }
}

/// Whether a key is one that opens the Admin API, and nothing else.
pub(crate) fn is_admin_key(key: &str) -> bool {
    key.starts_with(ADMIN_KEY)
}
