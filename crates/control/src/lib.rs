//! The control plane: health, metrics, and the operations by which Claviger is administered.

pub mod api;
pub mod extract;
pub mod health;
pub mod listen;
pub mod problem;
pub mod state;

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, routing::get};

use problem::Problem;
use state::{ControlState, Process};

pub use state::Boxed;

/// Largest body of an operation, in bytes.
const MAX_BODY: usize = 1 << 20;

/// All routes of the control plane. Who may use which is decided by each operation's extractor, so the same router
/// stands behind both doors.
pub fn router(state: ControlState) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .nest("/admin/v1", api::routes())
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

async fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such operation; they are below /admin/v1")
}

/// What the binary must bring.
pub type ProcessHandle = std::sync::Arc<dyn Process>;
