//! THE list of operations: who may use each, its method, its path below `/admin/v1`, what it does, what runs.
//!
//! The router, the served document and the tests that try every role on every operation are made of this list. A
//! handler's types say what it takes and answers ([`crate::describe`]).

pub mod audit;
pub mod backup;
pub mod credentials;
pub mod document;
pub mod keys;
pub mod owners;
pub mod page;
pub mod status;
pub mod time;
pub mod upstreams;
pub mod usage;
pub mod view;
pub mod workspaces;

use axum::{Router, http::StatusCode};
use claviger_domain::operator::verb::Verb;

use crate::{
    operation::{Access, Operation, delete, get, patch, post},
    state::ControlState,
};

/// Every operation.
#[must_use]
pub fn operations() -> Vec<Operation> {
    [of_keys(), of_tenants(), of_upstreams(), of_records(), of_the_process()].into_iter().flatten().collect()
}

fn of_keys() -> Vec<Operation> {
    vec![
        post(Verb::KeyCreate, "/keys", "Make a key; only this answer ever shows it", keys::create::create),
        get(Verb::KeyList, "/keys", "List keys by creation", keys::list::list),
        get(Verb::KeyShow, "/keys/{id}", "Show a key", keys::show::show),
        patch(Verb::KeyUpdate, "/keys/{id}", "Change what a key may do", keys::update::update),
        post(
            Verb::KeySuspend,
            "/keys/{id}/suspend",
            "Refuse a key until it is resumed",
            keys::state::suspend,
        ),
        post(Verb::KeyResume, "/keys/{id}/resume", "Let a suspended key work again", keys::state::resume),
        post(Verb::KeyRevoke, "/keys/{id}/revoke", "Refuse a key for ever", keys::revoke::revoke),
        get(
            Verb::KeyLimits,
            "/keys/{id}/limits",
            "Show a key's limits and what is left",
            keys::limits::limits,
        ),
    ]
}

fn of_tenants() -> Vec<Operation> {
    vec![
        post(Verb::WorkspaceCreate, "/workspaces", "Make a workspace", workspaces::create),
        get(Verb::WorkspaceList, "/workspaces", "List workspaces by creation", workspaces::list),
        post(
            Verb::WorkspaceArchive,
            "/workspaces/{id}/archive",
            "Archive a workspace: its keys stop working",
            workspaces::archive,
        ),
        post(Verb::OwnerCreate, "/owners", "Make an owner", owners::create),
        get(Verb::OwnerList, "/owners", "List owners by creation", owners::list),
        post(
            Verb::OwnerArchive,
            "/owners/{id}/archive",
            "Archive an owner: it gets no new keys",
            owners::archive,
        ),
    ]
}

fn of_upstreams() -> Vec<Operation> {
    vec![
        post(Verb::UpstreamAdd, "/upstreams", "Add an upstream", upstreams::add),
        get(Verb::UpstreamList, "/upstreams", "List upstreams by creation", upstreams::list),
        delete(Verb::UpstreamRemove, "/upstreams/{id}", "Take an upstream out", upstreams::remove),
        post(
            Verb::UpstreamProbe,
            "/upstreams/{id}/probe",
            "Ask an upstream whether it answers and takes its credential",
            upstreams::probe,
        ),
        post(Verb::CredentialAdd, "/credentials", "Seal a provider key", credentials::add),
        get(Verb::CredentialList, "/credentials", "List credentials by creation", credentials::list),
        delete(Verb::CredentialRemove, "/credentials/{id}", "Take a credential out", credentials::remove),
    ]
}

fn of_records() -> Vec<Operation> {
    vec![
        get(Verb::UsageShow, "/usage", "Report requests, tokens and cost", usage::usage),
        get(Verb::AuditList, "/audit", "List what happened", audit::list),
        get(Verb::AuditExport, "/audit/export", "Export the whole audit log", audit::export),
        post(Verb::AuditVerify, "/audit/verify", "Prove that no record was edited or removed", audit::verify),
        get(Verb::AuditCheckpoint, "/audit/checkpoint", "The newest signed checkpoint", audit::checkpoint)
            .or(StatusCode::NOT_FOUND),
    ]
}

fn of_the_process() -> Vec<Operation> {
    vec![
        post(Verb::BackupMake, "/backup", "Copy the database and what opens it", backup::backup),
        get(Verb::StatusShow, "/status", "How the process does", status::status),
        get(Access::Anyone, "/openapi.json", "This document", document::openapi),
    ]
}

/// Every operation below `/admin/v1`, each behind its gate.
pub fn routes(state: &ControlState) -> Router<ControlState> {
    operations().into_iter().fold(Router::new(), |router, operation| operation.mount(router, state))
}

#[cfg(test)]
mod tests;
