//! THE list of operations.

pub mod audit;
pub mod backup;
pub mod credentials;
pub mod keys;
pub mod owners;
pub mod page;
pub mod status;
pub mod time;
pub mod upstreams;
pub mod usage;
pub mod view;
pub mod workspaces;

use axum::{
    Router,
    routing::{delete, get, patch, post},
};

use crate::state::ControlState;

/// Every operation below `/admin/v1`.
pub fn routes() -> Router<ControlState> {
    Router::new()
        .route("/keys", post(keys::create::create).get(keys::list::list))
        .route("/keys/{id}", get(keys::show::show))
        .route("/keys/{id}", patch(keys::update::update))
        .route("/keys/{id}/suspend", post(keys::state::suspend))
        .route("/keys/{id}/resume", post(keys::state::resume))
        .route("/keys/{id}/revoke", post(keys::revoke::revoke))
        .route("/keys/{id}/limits", get(keys::limits::limits))
        .route("/workspaces", post(workspaces::create).get(workspaces::list))
        .route("/workspaces/{id}/archive", post(workspaces::archive))
        .route("/owners", post(owners::create).get(owners::list))
        .route("/owners/{id}/archive", post(owners::archive))
        .route("/upstreams", post(upstreams::add).get(upstreams::list))
        .route("/upstreams/{id}", delete(upstreams::remove))
        .route("/upstreams/{id}/probe", post(upstreams::probe))
        .route("/credentials", post(credentials::add).get(credentials::list))
        .route("/credentials/{id}", delete(credentials::remove))
        .route("/usage", get(usage::usage))
        .route("/audit", get(audit::list))
        .route("/audit/export", get(audit::export))
        .route("/audit/verify", post(audit::verify))
        .route("/audit/checkpoint", get(audit::checkpoint))
        .route("/backup", post(backup::backup))
        .route("/status", get(status::status))
}
