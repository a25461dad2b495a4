//! THE list of operations: who may use each, its method, its path below `/admin/v1`, what it does, what runs.
//!
//! The router, the served document and the tests that try every role on every operation are made of this list. A
//! handler's types say what it takes and answers ([`crate::describe`]).

pub mod approvals;
pub mod audit;
pub mod backup;
pub mod budgets;
pub mod cache;
pub mod certificates;
pub mod channels;
pub mod credentials;
pub mod credit;
pub mod direct_use;
pub mod document;
pub mod extent;
pub mod jobs;
pub mod keys;
pub mod limits;
pub mod notices;
pub mod operators;
pub mod owners;
pub mod page;
pub mod performance;
pub mod policies;
pub mod reconcile;
pub mod reviews;
pub mod rotations;
pub mod savings;
pub mod sessions;
pub mod status;
pub mod time;
pub mod token_keys;
pub mod upstreams;
pub mod usage;
pub mod view;
pub mod workloads;
pub mod workspaces;
pub mod wrappings;

use axum::{Router, http::StatusCode};
use claviger_domain::operator::verb::Verb;

use crate::{
    operation::{Access, Operation, delete, get, patch, post, put},
    state::ControlState,
};

/// Every operation.
#[must_use]
pub fn operations() -> Vec<Operation> {
    [
        of_keys(),
        of_rotations(),
        of_budgets(),
        credit::operations(),
        of_the_cache(),
        of_policies(),
        of_tenants(),
        of_upstreams(),
        of_workloads(),
        of_records(),
        of_notices(),
        of_operators(),
        of_the_process(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_keys() -> Vec<Operation> {
    vec![
        post(Verb::KeyCreate, "/keys", "Make a key; only this answer ever shows it", keys::create::create),
        post(
            Verb::KeyImport,
            "/keys/import",
            "Make many keys, each whole or not at all; only this answer ever shows them",
            keys::import::import,
        ),
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
        post(
            Verb::KeyPurge,
            "/keys/{id}/purge",
            "Forget what could still prove a revoked or expired key; its record stays",
            keys::state::purge,
        ),
        get(
            Verb::KeyLimits,
            "/keys/{id}/limits",
            "Show a key's limits and what is left",
            keys::limits::limits,
        ),
        get(
            Verb::TokenList,
            "/keys/{id}/tokens",
            "List living families of the tokens that a key has bought",
            keys::tokens::list,
        ),
        post(
            Verb::TokenRevoke,
            "/keys/{id}/tokens/revoke",
            "Refuse the tokens that a key has bought so far",
            keys::tokens::revoke,
        ),
    ]
}

fn of_rotations() -> Vec<Operation> {
    vec![
        get(
            Verb::KeySigningShow,
            "/keys/{id}/signing",
            "Show what a key's signatures are verified with",
            keys::signing::show,
        ),
        post(
            Verb::KeySigningRotate,
            "/keys/{id}/signing/rotate",
            "Give a key a new signing secret; only this answer ever shows it",
            keys::signing::rotate,
        ),
        post(
            Verb::KeyRotate,
            "/keys/{id}/rotate",
            "Make a key's successor, wrapped; only this answer ever shows its wrapping token",
            keys::rotate::rotate,
        ),
        get(Verb::RotationList, "/rotations", "List rotations by their start", rotations::list),
        get(
            Verb::RotationShow,
            "/rotations/{id}",
            "Show a rotation, who uses which of the two keys, and who still uses the old one",
            rotations::show,
        ),
        post(
            Verb::RotationCancel,
            "/rotations/{id}/cancel",
            "Give a rotation up before the new key is used",
            rotations::cancel,
        ),
        post(
            Verb::RotationRollback,
            "/rotations/{id}/rollback",
            "Go back to the old key while it lives",
            rotations::roll_back,
        ),
        post(
            Verb::RotationRedeliver,
            "/rotations/{id}/redeliver",
            "Wrap a successor that nobody uses yet anew, with a new secret; only this answer ever shows its wrapping token",
            rotations::redeliver,
        ),
        get(
            Verb::WrappingShow,
            "/wrappings/{id}",
            "Look at a wrapped delivery without opening it",
            wrappings::show,
        ),
        post(
            Access::Anyone,
            "/unwrap",
            "Open a wrapped key, once: whoever holds its token may",
            wrappings::unwrap,
        )
        .or(StatusCode::NOT_FOUND)
        .or(StatusCode::CONFLICT)
        .or(StatusCode::GONE),
    ]
}

fn of_budgets() -> Vec<Operation> {
    vec![
        get(Verb::BudgetList, "/budgets", "List budgets and how they stand", budgets::list),
        put(Verb::BudgetSet, "/budgets", "Set a ceiling on money, or change it", budgets::set),
        delete(Verb::BudgetDrop, "/budgets", "Drop a budget: it binds nobody any more", budgets::drop_budget),
    ]
}

fn of_the_cache() -> Vec<Operation> {
    vec![
        get(Verb::CacheShow, "/cache", "Show what is in the response cache of this node", cache::show),
        post(
            Verb::CacheFlush,
            "/cache/flush",
            "Throw away what the response cache keeps, of one workspace or of all",
            cache::flush,
        ),
    ]
}

fn of_policies() -> Vec<Operation> {
    vec![
        get(Verb::PolicyShow, "/policy", "Show what a workspace demands of its keys", policies::show),
        get(Verb::PolicyList, "/policies", "List the policies that were set", policies::list),
        patch(
            Verb::PolicySet,
            "/policy",
            "Demand something of a workspace's keys; says which living keys break it",
            policies::set,
        ),
        get(
            Verb::ReviewList,
            "/reviews",
            "List reviews of what keys may do, the newest first",
            reviews::list,
        ),
        get(
            Verb::ReviewShow,
            "/keys/{id}/review",
            "Show what a key may do and did not use in the last 90 days",
            reviews::show,
        ),
        post(
            Verb::ReviewDecide,
            "/keys/{id}/review",
            "Confirm what a key may do, or take away what it did not use",
            reviews::decide,
        ),
        get(
            Verb::CertificateList,
            "/certificates",
            "List certificates of revocation, the newest first",
            certificates::list,
        ),
        get(
            Verb::CertificatePublicKey,
            "/certificates/public-key",
            "The key that certificates are verified with",
            certificates::public_key,
        ),
        get(
            Verb::CertificateShow,
            "/certificates/{id}",
            "Show a certificate, by its id or its key's",
            certificates::show,
        ),
        delete(
            Verb::PolicyDrop,
            "/policy",
            "Drop a workspace's policy, so that the default holds",
            policies::drop_policy,
        ),
    ]
}

fn of_tenants() -> Vec<Operation> {
    vec![
        post(Verb::WorkspaceCreate, "/workspaces", "Make a workspace", workspaces::create),
        get(Verb::WorkspaceList, "/workspaces", "List workspaces by creation", workspaces::list),
        patch(
            Verb::WorkspaceUpdate,
            "/workspaces/{id}",
            "Change a workspace's environment class",
            workspaces::update,
        ),
        post(
            Verb::WorkspaceArchive,
            "/workspaces/{id}/archive",
            "Archive a workspace: its keys stop working",
            workspaces::archive,
        ),
        post(Verb::OwnerCreate, "/owners", "Make an owner", owners::create),
        get(Verb::OwnerList, "/owners", "List owners by creation", owners::list),
        patch(
            Verb::OwnerUpdate,
            "/owners/{id}",
            "Change where an owner's notices go, and its limits",
            owners::update,
        ),
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
        get(
            Verb::CredentialUsage,
            "/credentials/usage",
            "Who still uses the provider's own keys: what it billed to each, beside what went through here",
            direct_use::usage,
        )
        .or(StatusCode::CONFLICT),
        get(
            Verb::CostReconcile,
            "/reconciliation",
            "Hold the provider's usage and cost reports against the ledger, and name every leak",
            reconcile::reconciliation,
        )
        .or(StatusCode::CONFLICT),
        delete(Verb::CredentialRemove, "/credentials/{id}", "Take a credential out", credentials::remove),
    ]
}

fn of_workloads() -> Vec<Operation> {
    vec![
        post(
            Verb::IssuerAdd,
            "/issuers",
            "Add an issuer of other platforms' identities",
            workloads::add_issuer,
        ),
        get(Verb::IssuerList, "/issuers", "List issuers by creation", workloads::issuers),
        delete(
            Verb::IssuerRemove,
            "/issuers/{id}",
            "Take an issuer out that no rule goes by",
            workloads::remove_issuer,
        ),
        post(Verb::TrustAdd, "/trust", "Trust some identities: they buy short-lived keys", workloads::add),
        get(Verb::TrustList, "/trust", "List rules of trust by creation", workloads::list),
        get(Verb::TrustShow, "/trust/{id}", "Show a rule of trust", workloads::show),
        delete(
            Verb::TrustRemove,
            "/trust/{id}",
            "Take a rule of trust out; what was bought by it ends at once",
            workloads::remove,
        ),
        post(
            Verb::TrustTest,
            "/trust/test",
            "Say what a token would get, claim by claim; nothing is used up",
            workloads::test,
        ),
    ]
}

fn of_records() -> Vec<Operation> {
    vec![
        get(Verb::UsageShow, "/usage", "Report requests, tokens and cost", usage::usage),
        get(
            Verb::SavingsShow,
            "/savings",
            "Report what prompt caching, batches and the response cache saved, and how it was computed",
            savings::savings,
        ),
        get(Verb::AuditList, "/audit", "List what happened", audit::list),
        get(Verb::AuditExport, "/audit/export", "Export the whole audit log", audit::export),
        post(Verb::AuditVerify, "/audit/verify", "Prove that no record was edited or removed", audit::verify),
        get(Verb::AuditCheckpoint, "/audit/checkpoint", "The newest signed checkpoint", audit::checkpoint)
            .or(StatusCode::NOT_FOUND),
    ]
}

fn of_notices() -> Vec<Operation> {
    vec![
        post(Verb::ChannelAdd, "/channels", "Add a channel by which notices go out", channels::add),
        get(Verb::ChannelList, "/channels", "List channels by creation", channels::list),
        post(Verb::ChannelTest, "/channels/{id}/test", "Send a trial notice now", channels::test),
        patch(Verb::ChannelUpdate, "/channels/{id}", "Change a channel", channels::update),
        delete(Verb::ChannelRemove, "/channels/{id}", "Take a channel out", channels::remove),
        get(
            Verb::NoticeList,
            "/notices",
            "List notices and how their deliveries went, newest first",
            notices::list,
        ),
        post(
            Verb::NoticeRetry,
            "/notices/{id}/retry",
            "Try a notice's dead deliveries once more",
            notices::retry,
        ),
        get(Verb::JobList, "/jobs", "List durable jobs and when they are due", jobs::list),
        post(Verb::JobRun, "/jobs/{name}/run", "Run a job now, beside its schedule", jobs::run),
        get(Verb::TokenKeyList, "/token-keys", "List the keys that sign access tokens", token_keys::list),
        post(
            Verb::TokenKeyRotate,
            "/token-keys/rotate",
            "Put the keys that sign access tokens out of use at once, with all that they signed",
            token_keys::rotate,
        ),
        get(Verb::ReportShow, "/reports/weekly", "The weekly rotation report", jobs::weekly)
            .or(StatusCode::NOT_FOUND),
        get(
            Verb::ReportPerformance,
            "/reports/performance",
            "How fast and how well calls were answered, with advice",
            performance::performance,
        ),
    ]
}

fn of_operators() -> Vec<Operation> {
    vec![
        post(Access::Anyone, "/session", "Log in, or open the sealed code of break-glass", sessions::open),
        get(Verb::SessionShow, "/session", "Who asks, and with what rights", sessions::show),
        delete(Verb::SessionEnd, "/session", "Log out", sessions::end),
        post(
            Verb::SessionStepUp,
            "/session/step-up",
            "Prove the second factor for an action",
            sessions::step_up,
        ),
        post(
            Verb::SessionEnrol,
            "/session/enrol",
            "Change one's own password or second factor",
            sessions::enrol,
        ),
        post(Verb::OperatorAdd, "/operators", "Enrol an operator", operators::add),
        get(Verb::OperatorList, "/operators", "List operators by enrolment", operators::list),
        patch(
            Verb::OperatorUpdate,
            "/operators/{id}",
            "Change an operator; their sessions end",
            operators::update,
        ),
        delete(Verb::OperatorRemove, "/operators/{id}", "Remove an operator", operators::remove),
        post(
            Verb::OperatorTokenCreate,
            "/operator-tokens",
            "Mint a machine's token; only this answer ever shows it",
            operators::create_token,
        ),
        get(
            Verb::OperatorTokenList,
            "/operator-tokens",
            "List sessions and machines' tokens, newest first",
            operators::tokens,
        ),
        delete(Verb::OperatorTokenRevoke, "/operator-tokens/{id}", "End a token", operators::revoke_token),
        post(
            Verb::BreakGlassPrepare,
            "/break-glass",
            "Make the sealed code; only this answer ever shows it",
            operators::prepare_break_glass,
        ),
        post(
            Verb::BreakGlassReview,
            "/break-glass/{id}/review",
            "Write down what a break-glass session did, and why",
            operators::review_break_glass,
        ),
        get(Verb::ApprovalList, "/approvals", "List requests that wait for a second person", approvals::list),
        get(
            Verb::ApprovalShow,
            "/approvals/{id}",
            "Show a request that waits or waited, and what was answered",
            approvals::show,
        ),
        post(
            Verb::ApprovalAnswer,
            "/approvals/{id}/answer",
            "Take the answer to one's own request; a secret in it once",
            approvals::answer,
        ),
        post(
            Verb::ApprovalApprove,
            "/approvals/{id}/approve",
            "Say yes to somebody else's request: it is done, once",
            approvals::approve,
        ),
        post(
            Verb::ApprovalDeny,
            "/approvals/{id}/deny",
            "Say no to somebody else's request, or take one's own back",
            approvals::deny,
        ),
    ]
}

fn of_the_process() -> Vec<Operation> {
    vec![
        post(Verb::BackupMake, "/backup", "Copy the database and what opens it", backup::backup),
        get(Verb::StatusShow, "/status", "How the process does", status::status),
        get(Verb::SettingsShow, "/settings", "Show the settings in force, without secrets", status::settings),
        get(Access::Anyone, "/openapi.json", "This document", document::openapi),
    ]
}

/// Every operation below `/admin/v1`, each behind its gate.
pub fn routes(state: &ControlState) -> Router<ControlState> {
    operations().into_iter().fold(Router::new(), |router, operation| operation.mount(router, state))
}

#[cfg(test)]
mod tests;
