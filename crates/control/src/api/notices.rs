//! Operations on notices.

use axum::{Json, extract::State};
use claviger_domain::{
    id::NoticeId,
    notice::{
        NoticeRecord,
        delivery::{DeliveryRecord, DeliveryState},
        message::Message,
    },
    ports::notices::NoticeFilter,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{page::Page, time::Moment};
use crate::{
    extract::{Operator, Paging, Path, Query},
    problem::Problem,
    state::ControlState,
};

/// Which notices.
#[derive(Debug, Deserialize, IntoParams)]
pub struct NoticeParams {
    /// Only those with a delivery in this state: `pending`, `delivered` or `dead`.
    #[param(pattern = "^(pending|delivered|dead)$")]
    state: Option<String>,
}

/// A notice and how its deliveries went.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NoticeView {
    /// Its id.
    pub id: String,
    /// What it is about, such as `key.expiring`.
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// What it says, in one line.
    pub title: String,
    /// The key concerned.
    pub key: Option<String>,
    /// When it was raised.
    pub raised_at: Moment,
    /// One for each channel that it concerned.
    pub deliveries: Vec<DeliveryView>,
}

/// One delivery.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeliveryView {
    /// The channel.
    pub channel: String,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; `null` when it is not.
    pub next_try_at: Option<Moment>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

impl From<DeliveryRecord> for DeliveryView {
    fn from(d: DeliveryRecord) -> Self {
        Self {
            channel: d.channel.to_string(),
            state: d.state.as_str().to_owned(),
            attempts: d.attempts,
            next_try_at: (d.state == DeliveryState::Pending).then_some(Moment(d.next_try_at)),
            last_error: (!d.last_error.is_empty()).then_some(d.last_error),
        }
    }
}

impl From<(NoticeRecord, Vec<DeliveryRecord>)> for NoticeView {
    fn from((notice, deliveries): (NoticeRecord, Vec<DeliveryRecord>)) -> Self {
        let message = Message::of(&notice);
        let title = message.payload["data"]["title"].as_str().unwrap_or_default().to_owned();
        Self {
            id: notice.id.to_string(),
            kind: notice.notice.kind().to_owned(),
            severity: notice.severity.as_str().to_owned(),
            title,
            key: notice.about.key.map(|k| k.to_string()),
            raised_at: Moment(notice.raised_at),
            deliveries: deliveries.into_iter().map(Into::into).collect(),
        }
    }
}

/// `GET /admin/v1/notices`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
    Query(params): Query<NoticeParams>,
) -> Result<Json<Page<NoticeView>>, Problem> {
    let word = |text: &String| {
        let bad = || Problem::invalid("state", "expected pending, delivered or dead");
        DeliveryState::parse(text).ok_or_else(bad)
    };
    let before = |text: &String| NoticeId::parse(text).map_err(|e| Problem::invalid("after", e.to_string()));
    let filter = NoticeFilter {
        state: params.state.as_ref().map(word).transpose()?,
        before: paging.after.as_ref().map(before).transpose()?,
        limit: paging.limit.saturating_add(1),
    };
    let rows = state.services.notices.list(&filter).await?;
    Ok(Json(Page::of(rows, &paging, |(notice, _)| notice.id.to_string())))
}

/// `POST /admin/v1/notices/{id}/retry`
pub async fn retry(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<NoticeView>, Problem> {
    let id = NoticeId::parse(&id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    Ok(Json(state.services.notices.retry(&id, &operator.caller).await?.into()))
}
