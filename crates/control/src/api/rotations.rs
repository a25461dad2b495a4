//! Operations on rotations of client keys.

use axum::{Json, extract::State};
use claviger_domain::{
    id::{KeyId, RotationId},
    ports::{ClientUse, lifecycle::RotationFilter},
    rotation::RotationRecord,
};
use claviger_service::rotation::{Share, Standing};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{keys::rotate::StartedView, page::Page, time::Moment};
use crate::{
    answer::{One, Secret, Versioned},
    extract::{Body, Operator, Paging, Path, Query},
    problem::Problem,
    state::ControlState,
};

/// A rotation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RotationView {
    /// Its id.
    pub id: String,
    /// The key that goes.
    pub old: String,
    /// The key that comes.
    pub successor: String,
    /// Whose both are.
    pub owner: String,
    /// Where both belong.
    pub workspace: String,
    /// Why.
    pub reason: String,
    /// `created`, `delivered`, `overlapping`, `retiring`, `finished`, `cancelled`, `rolled_back`.
    pub state: String,
    /// How long both keys work, in seconds.
    pub overlap_secs: u64,
    /// When the overlap is over.
    pub deadline: Moment,
    /// When it began.
    pub started_at: Moment,
    /// When the successor was unwrapped.
    pub delivered_at: Option<Moment>,
    /// When the successor was first used.
    pub activated_at: Option<Moment>,
    /// When the old key began to walk down the ladder.
    pub retiring_at: Option<Moment>,
    /// When it ended.
    pub ended_at: Option<Moment>,
    /// Why the old key is kept beyond the overlap: `undelivered`, `unused`, `suspended`; `null`: it is not.
    pub hold: Option<String>,
    /// What that means, and what leads on.
    pub hold_reason: Option<String>,
    /// Since when it is kept so.
    pub held_since: Option<Moment>,
    /// Row version.
    pub version: i64,
}

impl From<RotationRecord> for RotationView {
    fn from(r: RotationRecord) -> Self {
        Self {
            deadline: Moment(r.deadline()),
            id: r.id.to_string(),
            old: r.old.to_string(),
            successor: r.successor.to_string(),
            owner: r.owner.to_string(),
            workspace: r.workspace.to_string(),
            reason: r.reason,
            state: r.state.as_str().to_owned(),
            overlap_secs: r.overlap_secs,
            started_at: Moment(r.started_at),
            delivered_at: r.delivered_at.map(Moment),
            activated_at: r.activated_at.map(Moment),
            retiring_at: r.retiring_at.map(Moment),
            ended_at: r.ended_at.map(Moment),
            hold: r.hold.map(|hold| hold.why.as_str().to_owned()),
            hold_reason: r.hold.map(|hold| hold.why.means().to_owned()),
            held_since: r.hold.map(|hold| Moment(hold.since)),
            version: r.version,
        }
    }
}

impl Versioned for RotationView {
    fn version(&self) -> i64 {
        self.version
    }
}

/// Requests of the two keys within some time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct ShareView {
    /// Of the old key and its child keys.
    pub old_requests: u64,
    /// Of the new key and its child keys.
    pub new_requests: u64,
    /// Which part is the old key's, 0 to 1; `null`: there were none.
    pub share_old: Option<f64>,
}

impl From<Share> for ShareView {
    fn from(share: Share) -> Self {
        Self { old_requests: share.old, new_requests: share.new, share_old: share.of_old() }
    }
}

/// Somebody who used the old key since the rotation began.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemainingView {
    /// The address.
    pub client_ip: String,
    /// The program.
    pub user_agent: String,
    /// How often.
    pub requests: u64,
    /// When for the last time.
    pub last_used_at: Moment,
}

impl From<ClientUse> for RemainingView {
    fn from(client: ClientUse) -> Self {
        let ClientUse { client_ip, user_agent, requests, last_used_at } = client;
        Self { client_ip, user_agent, requests, last_used_at: Moment(last_used_at) }
    }
}

/// A rotation and how far the new key is adopted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StandingView {
    /// The rotation.
    #[serde(flatten)]
    pub rotation: RotationView,
    /// Which part of the requests since it began is the old key's, 0 to 1; `null`: there were none.
    pub share_old: Option<f64>,
    /// When the old key was last used.
    pub last_use_old: Option<Moment>,
    /// Where on the ladder the old key stands: `warned`, `limited`, `final_warning`, `refused`.
    pub stage: Option<String>,
    /// When the next rung, or revocation, comes.
    pub next_stage_at: Option<Moment>,
    /// Requests since it began.
    pub since_start: ShareView,
    /// Requests within the last 24 hours.
    pub last_day: ShareView,
    /// Who used the old key since it began, whoever did last first.
    pub remaining: Vec<RemainingView>,
    /// The ledger was looked through back to here only; `null`: to the rotation's begin.
    pub remaining_truncated_at: Option<Moment>,
}

impl From<Standing> for StandingView {
    fn from(s: Standing) -> Self {
        let deprecation = s.old.deprecation.filter(|_| s.rotation.state.is_open());
        Self {
            rotation: s.rotation.into(),
            share_old: s.since_start.of_old(),
            last_use_old: s.last_use_old.map(Moment),
            stage: deprecation.map(|d| d.stage.as_str().to_owned()),
            next_stage_at: deprecation.map(|d| Moment(d.next_at())),
            since_start: s.since_start.into(),
            last_day: s.last_day.into(),
            remaining: s.remaining.seen.into_iter().map(Into::into).collect(),
            remaining_truncated_at: s.remaining.truncated_at.map(Moment),
        }
    }
}

impl Versioned for StandingView {
    fn version(&self) -> i64 {
        self.rotation.version
    }
}

/// Which rotations.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ListRotations {
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// Only those of this key, whichever of the two it is.
    key: Option<String>,
    /// Only those that have not ended.
    open: Option<bool>,
}

fn rotation_id(field: &str, text: &str) -> Result<RotationId, Problem> {
    RotationId::parse(text).map_err(|e| Problem::invalid(field, e.to_string()))
}

/// `GET /admin/v1/rotations`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
    Query(query): Query<ListRotations>,
) -> Result<Json<Page<RotationView>>, Problem> {
    let workspace = match &query.workspace {
        Some(workspace) => Some(state.services.tenants.workspace(workspace).await?.id),
        None => None,
    };
    let bad_key = |e: claviger_domain::id::IdError| Problem::invalid("key", e.to_string());
    let filter = RotationFilter {
        key: query.key.as_deref().map(KeyId::parse).transpose().map_err(bad_key)?,
        workspace,
        open: query.open.unwrap_or_default(),
        after: paging.after.as_deref().map(|after| rotation_id("after", after)).transpose()?,
        // One more than is shown tells whether there are more.
        limit: paging.limit + 1,
    };
    let rows = state.services.rotations.list(&filter).await?;
    Ok(Json(Page::of(rows, &paging, |row| row.id.to_string())))
}

/// `GET /admin/v1/rotations/{id}`
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<One<StandingView>, Problem> {
    Ok(One(state.services.rotations.standing(&rotation_id("id", &id)?).await?.into()))
}

/// `POST /admin/v1/rotations/{id}/cancel`
pub async fn cancel(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<RotationView>, Problem> {
    let id = rotation_id("id", &id)?;
    Ok(One(state.services.rotations.cancel(&id, &operator.caller).await?.into()))
}

/// `POST /admin/v1/rotations/{id}/rollback`
pub async fn roll_back(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<RotationView>, Problem> {
    let id = rotation_id("id", &id)?;
    Ok(One(state.services.rotations.roll_back(&id, &operator.caller).await?.into()))
}

/// Body of `POST /admin/v1/rotations/{id}/redeliver`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redeliver {
    /// How long the new key waits to be unwrapped, in seconds; a day when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub wrap_ttl_secs: Option<u64>,
}

/// `POST /admin/v1/rotations/{id}/redeliver`
pub async fn redeliver(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<Redeliver>,
) -> Result<Secret<StartedView>, Problem> {
    let id = rotation_id("id", &id)?;
    let started = state.services.rotations.redeliver(&id, body.wrap_ttl_secs, &operator.caller).await?;
    Ok(Secret(started.into()))
}
