//! How fast and how well calls were answered.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use claviger_domain::performance::StageTime;
use claviger_service::reports::RowsBy;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::extent::ExtentParams;
use crate::{
    extract::{Operator, Query},
    problem::Problem,
    state::ControlState,
};

/// What stages are called in the metrics.
const STAGES: &str = "claviger_stage_duration_seconds_";

/// Which calls.
#[derive(Debug, Deserialize, IntoParams)]
pub struct PerformanceParams {
    /// What one row stands for; absent: models.
    #[param(inline)]
    by: Option<PerformanceBy>,
    /// Only of this key.
    key: Option<String>,
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// From this moment on (RFC 3339, or a UTC day); absent: thirty days before the end.
    since: Option<String>,
    /// Before this moment; absent: up to now.
    until: Option<String>,
}

/// What a row stands for.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PerformanceBy {
    #[default]
    Model,
    Key,
    Credential,
}

/// The report in three forms.
#[derive(Debug, Serialize, ToSchema)]
pub struct PerformanceView {
    /// As Markdown.
    markdown: String,
    /// As a whole HTML page.
    html: String,
    /// Its figures and advice.
    #[schema(value_type = Object)]
    json: Value,
}

/// `GET /admin/v1/reports/performance`
pub async fn performance(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(params): Query<PerformanceParams>,
) -> Result<Json<PerformanceView>, Problem> {
    let by = match params.by.unwrap_or_default() {
        PerformanceBy::Model => RowsBy::Model,
        PerformanceBy::Key => RowsBy::Key,
        PerformanceBy::Credential => RowsBy::Credential,
    };
    let wanted = ExtentParams {
        key: params.key,
        workspace: params.workspace,
        since: params.since,
        until: params.until,
    };
    let extent = wanted.extent(&state).await?;
    let stages = stages(&state.process.metrics());
    let report = state.services.reports.performance(&extent, by, stages).await?;
    let json = serde_json::to_value(&report).unwrap_or_default();
    Ok(Json(PerformanceView { markdown: report.markdown(), html: report.html(), json }))
}

/// The mean time in each stage, from the metrics in the OpenMetrics text format.
fn stages(metrics: &str) -> Vec<StageTime> {
    let mut sums: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
    for line in metrics.lines() {
        let Some((kind, rest)) = line.strip_prefix(STAGES).and_then(|rest| rest.split_once("{stage=\""))
        else {
            continue;
        };
        let Some((stage, number)) = rest.split_once("\"} ") else { continue };
        let sum = sums.entry(stage).or_default();
        match kind {
            "count" => sum.0 = number.trim().parse().unwrap_or(0),
            "sum" => sum.1 = number.trim().parse().unwrap_or(0.0),
            _ => {}
        }
    }
    let seen = sums.into_iter().filter(|(_, (count, _))| *count > 0);
    seen.map(|(stage, (count, seconds))| StageTime {
        stage: stage.to_owned(),
        count,
        mean_ms: mean_ms(count, seconds),
    })
    .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mean_ms(count: u64, seconds: f64) -> f64 {
    (seconds * 1e9 / count as f64).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read_from_the_metrics() {
        let text = "# TYPE claviger_stage_duration_seconds histogram\n\
                    claviger_stage_duration_seconds_sum{stage=\"admit\"} 0.003\n\
                    claviger_stage_duration_seconds_count{stage=\"admit\"} 4\n\
                    claviger_stage_duration_seconds_bucket{le=\"0.01\",stage=\"admit\"} 4\n\
                    claviger_stage_duration_seconds_sum{stage=\"route\"} 0.0\n\
                    claviger_stage_duration_seconds_count{stage=\"route\"} 0\n";
        assert_eq!(stages(text), [StageTime { stage: "admit".to_owned(), count: 4, mean_ms: 0.75 }]);
    }
}
