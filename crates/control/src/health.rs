//! `/healthz`, `/readyz` and `/metrics`.

use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{listen::Peer, problem::Problem, state::ControlState};

/// The process answers.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests should be sent here, and which part is red if not.
pub async fn readyz(State(state): State<ControlState>) -> Response {
    let ready = state.services.health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready, "parts": state.services.health.parts()}))).into_response()
}

/// Metrics, to whoever is on this machine.
pub async fn metrics(State(state): State<ControlState>, ConnectInfo(peer): ConnectInfo<Peer>) -> Response {
    let open = match peer {
        Peer::Remote(address) | Peer::Encrypted(address) => address.ip().to_canonical().is_loopback(),
        Peer::Local { .. } => true,
        Peer::Stranger => false,
    };
    if !open {
        let why = "metrics are open on loopback and on the socket only";
        return Problem::new(StatusCode::FORBIDDEN, "local_only", why).into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.process.metrics()).into_response()
}
