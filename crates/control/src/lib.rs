//! The control plane: health, metrics, and the operations by which Claviger is administered.

pub mod answer;
pub mod api;
pub mod approved;
pub mod authorize;
pub mod describe;
pub mod extract;
pub mod gate;
pub mod health;
pub mod input;
pub mod judge;
pub mod listen;
pub mod once;
pub mod openapi;
pub mod operation;
pub mod payments;
pub mod problem;
pub mod reach;
pub mod state;
pub mod trail;

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};

use problem::Problem;
use state::{ControlState, Process};

pub use state::Boxed;

/// All routes of the control plane. Who may use which is decided by each operation's gate, so the same router
/// stands behind both doors.
pub fn router(state: ControlState) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route(payments::PATH, post(payments::notify))
        .nest(openapi::PREFIX, api::routes(&state))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .with_state(state)
}

async fn unknown() -> Problem {
    let why =
        "there is no such operation; they are below /admin/v1, and /admin/v1/openapi.json describes them";
    Problem::new(StatusCode::NOT_FOUND, "not_found", why)
}

/// The answer's `Allow` names those that are there.
async fn other_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path has other methods; `Allow` names them",
    )
}

/// What the binary must bring.
pub type ProcessHandle = std::sync::Arc<dyn Process>;
