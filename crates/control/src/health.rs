//! `/healthz`, `/readyz` and `/metrics`.

use axum::{
    Json,
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{extract, listen::Peer, state::ControlState};

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

/// Metrics, to whoever is on this machine or brings an operator's token.
pub async fn metrics(State(state): State<ControlState>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let open = match head.extensions.get::<ConnectInfo<Peer>>().map(|c| &c.0) {
        Some(Peer::Remote(address) | Peer::Encrypted(address)) => address.ip().to_canonical().is_loopback(),
        Some(Peer::Local { .. }) => true,
        Some(Peer::Stranger) | None => false,
    };
    if !open && let Err(problem) = extract::authenticate(&state, &head).await {
        return problem.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.process.metrics()).into_response()
}
