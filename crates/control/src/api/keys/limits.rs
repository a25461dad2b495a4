//! `GET /admin/v1/keys/{id}/limits`

use axum::{Json, extract::State};
use claviger_domain::limit::{Bucket, LimitKind, LimitSubject, Limits};
use claviger_service::grants::Counter;
use serde::Serialize;
use utoipa::ToSchema;

use super::key_id;
use crate::{
    api::{limits::LimitsView, time::Moment},
    extract::{Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// One limit that holds for a key, and how it stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CounterView {
    /// Whose limit it is: `key`, `parent`, `owner`, `workspace`.
    #[schema(value_type = String)]
    pub subject: LimitSubject,
    /// Which limit.
    #[schema(value_type = String)]
    pub kind: LimitKind,
    /// For calls that `work`, or for those that `look` something up; `null`: for both.
    #[schema(value_type = Option<String>)]
    pub bucket: Option<&'static str>,
    /// How much it admits.
    pub limit: u64,
    /// How much is held for calls in flight, and given back if they do not take it.
    pub held: u64,
    /// How much is left, beside what is held.
    pub remaining: u64,
    /// When it is whole again if nothing else comes; `null`: time gives nothing back.
    pub reset: Option<Moment>,
}

impl From<Counter> for CounterView {
    fn from(counter: Counter) -> Self {
        let Counter { bucket, headroom, held, resets } = counter;
        Self {
            subject: headroom.subject,
            kind: headroom.kind,
            bucket: bucket.map(|bucket| match bucket {
                Bucket::Work => "work",
                Bucket::Look => "look",
            }),
            limit: headroom.limit,
            held,
            remaining: headroom.remaining,
            reset: resets.then_some(Moment(headroom.reset)),
        }
    }
}

/// Limits that all keys of an owner or a workspace share.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SharedLimitsView {
    /// Whose.
    pub id: String,
    /// Rates, quotas and concurrency.
    pub limits: LimitsView,
    /// Calls in flight.
    pub in_flight: u32,
}

/// All limits that hold for a key, and how each stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KeyLimitsView {
    /// The key's id.
    pub key: String,
    /// Rates, quotas and concurrency: those in force.
    pub limits: LimitsView,
    /// Uses in its whole life.
    pub max_uses: Option<u64>,
    /// How often it was used.
    pub usage_count: u64,
    /// Calls in flight.
    pub in_flight: u32,
    /// Its owner's.
    pub owner: SharedLimitsView,
    /// Its workspace's.
    pub workspace: SharedLimitsView,
    /// Every limit, as it stands now on this node.
    pub counters: Vec<CounterView>,
}

/// All limits that hold for a key, and how each stands right now. Looking changes nothing.
pub async fn limits(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<KeyLimitsView>, Problem> {
    let id = key_id(&id)?;
    let (record, usage) = state.services.keys.show(&id).await?;
    let live = state.services.grants.look_at(&id).await?;
    let shared = |id: &str, limits: Limits, in_flight| SharedLimitsView {
        id: id.to_owned(),
        limits: limits.into(),
        in_flight,
    };
    let grant = &live.grant;
    Ok(Json(KeyLimitsView {
        key: record.id.to_string(),
        limits: grant.key.policy.limits.into(),
        max_uses: record.policy.max_uses,
        usage_count: usage.uses,
        in_flight: live.runtime.in_flight(),
        owner: shared(record.owner.as_str(), grant.owner_limits, live.owner_in_flight()),
        workspace: shared(record.workspace.as_str(), grant.workspace_limits, live.workspace_in_flight()),
        counters: live.counters(state.clock.now()).into_iter().map(Into::into).collect(),
    }))
}
