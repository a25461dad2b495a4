//! Operations on durable jobs and what they make.

use axum::{Json, extract::State};
use claviger_domain::{id::ReportId, ports::notices::ReportRecord};
use claviger_service::scheduler::JobInForce;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{page::Page, time::Moment};
use crate::{
    extract::{Operator, Paging, Path, Query},
    problem::Problem,
    state::ControlState,
};

/// A job and how it stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// When it is due, in words.
    pub schedule: String,
    /// When it runs next.
    pub next_run_at: Moment,
    /// Whether it is being run.
    pub running: bool,
    /// When it was last done.
    pub last_run_at: Option<Moment>,
    /// `ok`, or why it failed; `null` before the first time.
    pub last_outcome: Option<String>,
}

impl From<JobInForce> for JobView {
    fn from(job: JobInForce) -> Self {
        let record = job.record;
        Self {
            name: record.name,
            schedule: job.schedule,
            next_run_at: Moment(record.next_run_at),
            running: record.running_slot.is_some(),
            last_run_at: record.last_run_at.map(Moment),
            last_outcome: (!record.last_outcome.is_empty()).then_some(record.last_outcome),
        }
    }
}

/// What a job did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobDone {
    /// Its name.
    pub name: String,
    /// What was done, in a few words.
    pub done: String,
}

/// `GET /admin/v1/jobs`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<JobView>>, Problem> {
    let rows = state.services.scheduler.list().await?;
    Page::cut(rows, &paging, |row| row.record.name.clone()).map(Json)
}

/// `POST /admin/v1/jobs/{name}/run`
pub async fn run(
    State(state): State<ControlState>,
    operator: Operator,
    Path(name): Path<String>,
) -> Result<Json<JobDone>, Problem> {
    let done = state.services.scheduler.run_now(&name, &operator.caller).await?;
    Ok(Json(JobDone { name, done }))
}

/// Which report.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ReportParams {
    /// Its id; absent: the newest.
    id: Option<String>,
}

/// A weekly report in every form.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReportView {
    /// Its id.
    pub id: String,
    /// Its week begins here,
    pub from: Moment,
    /// and ends before this.
    pub until: Moment,
    /// When it was made.
    pub made_at: Moment,
    /// As Markdown.
    pub markdown: String,
    /// As a whole HTML page.
    pub html: String,
    /// As JSON.
    #[schema(value_type = Object)]
    pub json: Value,
}

impl From<ReportRecord> for ReportView {
    fn from(report: ReportRecord) -> Self {
        Self {
            id: report.id.to_string(),
            from: Moment(report.from),
            until: Moment(report.until),
            made_at: Moment(report.made_at),
            markdown: report.markdown,
            html: report.html,
            json: serde_json::from_str(&report.json).unwrap_or(Value::Null),
        }
    }
}

/// `GET /admin/v1/reports/weekly`
pub async fn weekly(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(params): Query<ReportParams>,
) -> Result<Json<ReportView>, Problem> {
    let id = |text: &String| ReportId::parse(text).map_err(|e| Problem::invalid("id", e.to_string()));
    let id = params.id.as_ref().map(id).transpose()?;
    Ok(Json(state.services.notices.report(id.as_ref()).await?.into()))
}
