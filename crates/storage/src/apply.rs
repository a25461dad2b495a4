//! The one write path of the control plane: all changes of a decision, its audit record and its feed entries, or
//! nothing.

use claviger_domain::{
    audit::AuditEvent,
    ports::{Applied, Change, FeedKind, StoreError},
};

use crate::{
    approvals, audit, budgets, certificates, children, credit,
    engine::{Db, Tx},
    failure::Failure,
    idempotency, jobs, keys, notices, operators, policies, reviews, rotations, secrets, signing, tenants,
    tokens, upstreams, workload, wrappings,
};

/// How often a transaction that had to give way to another is begun again.
const ATTEMPTS: u32 = 3;

pub(crate) async fn apply(db: &Db, changes: &[Change], event: &AuditEvent) -> Result<Applied, StoreError> {
    let mut attempt = 1;
    loop {
        match once(db, changes, event).await {
            Ok(applied) => return Ok(applied),
            Err(Failure::GiveWay) if attempt < ATTEMPTS => attempt += 1,
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// Chain before feed, always: two transactions that take the same locks in the same order cannot deadlock.
async fn once(db: &Db, changes: &[Change], event: &AuditEvent) -> Result<Applied, Failure> {
    let mut tx = db.begin().await?;
    let mut entries = Vec::with_capacity(changes.len());
    for change in changes {
        write(&mut tx, change).await?;
        if let Some(entry) = entry(change)
            && !entries.contains(&entry)
        {
            entries.push(entry);
        }
    }
    idempotency::mark(&mut tx, event).await?;
    let (audit_number, seq) = audit::append_with(&mut tx, event, &entries).await?;
    certificates::expect(&mut tx, changes, seq, audit_number).await?;
    tx.commit().await?;
    Ok(Applied { seq, audit_number })
}

async fn write(tx: &mut Tx, change: &Change) -> Result<(), Failure> {
    match change {
        Change::InsertKey(key) => keys::insert(tx, key).await,
        Change::UpdateKey(key) => keys::update(tx, key).await,
        Change::InsertWorkspace(workspace) => tenants::insert_workspace(tx, workspace).await,
        Change::UpdateWorkspace(workspace) => tenants::update_workspace(tx, workspace).await,
        Change::InsertOwner(owner) => tenants::insert_owner(tx, owner).await,
        Change::UpdateOwner(owner) => tenants::update_owner(tx, owner).await,
        Change::InsertUpstream(upstream) => upstreams::insert_upstream(tx, upstream).await,
        Change::UpdateUpstream(upstream) => upstreams::update_upstream(tx, upstream).await,
        Change::InsertCredential(credential) => upstreams::insert_credential(tx, credential).await,
        Change::UpdateCredential(credential) => upstreams::update_credential(tx, credential).await,
        Change::PutSecret(secret) => secrets::put(tx, secret).await,
        Change::RaiseNotice(notice) => notices::raise(tx, notice).await,
        Change::InsertChannel(channel) => notices::insert_channel(tx, channel).await,
        Change::UpdateChannel(channel) => notices::update_channel(tx, channel).await,
        Change::UpdateDelivery(delivery) => notices::put_delivery(tx, delivery).await,
        Change::InsertReport(report) => notices::insert_report(tx, report).await,
        Change::InsertOperator(operator) => operators::insert(tx, operator).await,
        Change::UpdateOperator(operator) => operators::update(tx, operator).await,
        Change::UseTotpStep(operator, step) => operators::use_step(tx, operator, *step).await,
        Change::InsertOperatorToken(token) => operators::insert_token(tx, token).await,
        Change::UpdateOperatorToken(token) => operators::update_token(tx, token).await,
        Change::EndOperatorTokens(operator, at) => operators::end_tokens(tx, operator, *at).await,
        Change::InsertStepUp(proof) => operators::insert_step_up(tx, proof).await,
        Change::InsertApproval(approval) => approvals::insert(tx, approval).await,
        Change::UpdateApproval(approval) => approvals::update(tx, approval).await,
        Change::KeepApprovalAnswer(id, sealed) => approvals::keep_answer(tx, id, sealed).await,
        Change::HoldOwnerCap(cap) => policies::hold_cap(tx, cap).await,
        Change::HoldChildCap(cap) => children::hold(tx, cap).await,
        Change::PutPolicy(policy) => policies::put(tx, policy).await,
        Change::DropPolicy(workspace, version) => {
            policies::drop_policy(tx, workspace.as_ref(), *version).await
        }
        Change::InsertSigning(record) => signing::insert(tx, record).await,
        Change::UpdateSigning(record) => signing::update(tx, record).await,
        Change::InsertRotation(rotation) => rotations::insert(tx, rotation).await,
        Change::UpdateRotation(rotation) => rotations::update(tx, rotation).await,
        Change::InsertWrapping(wrapping) => wrappings::insert(tx, wrapping).await,
        Change::UpdateWrapping(wrapping) => wrappings::update(tx, wrapping).await,
        Change::InsertCertificate(certificate) => certificates::insert(tx, certificate).await,
        // Once its place in feed and audit log is known.
        Change::Certify(_) => Ok(()),
        Change::InsertReview(review) => reviews::insert(tx, review).await,
        Change::UpdateReview(review) => reviews::update(tx, review).await,
        Change::InsertTokenKey(key) => tokens::insert_key(tx, key).await,
        Change::UpdateTokenKey(key) => tokens::update_key(tx, key).await,
        Change::InsertTokenFamily(family) => tokens::insert_family(tx, family).await,
        Change::UpdateTokenFamily(family) => tokens::update_family(tx, family).await,
        Change::InsertRefreshToken(token) => tokens::insert_token(tx, token).await,
        Change::DenyTokens(denial) => tokens::deny(tx, denial).await,
        Change::InsertIssuer(issuer) => workload::insert_issuer(tx, issuer).await,
        Change::DropIssuer(id, version) => workload::drop_issuer(tx, id, *version).await,
        Change::InsertTrust(rule) => workload::insert_rule(tx, rule).await,
        Change::UpdateTrust(rule) => workload::update_rule(tx, rule).await,
        Change::DropTrust(id, version) => workload::drop_rule(tx, id, *version).await,
        Change::UseAssertion(used) => workload::use_assertion(tx, used).await,
        Change::InsertBudget(budget) => budgets::insert(tx, budget).await,
        Change::UpdateBudget(budget) => budgets::update(tx, budget).await,
        Change::InsertCreditAccount(account) => credit::open(tx, account).await,
        Change::BookCredit(new) => credit::book(tx, new).await,
        Change::HoldLease(lease) => jobs::hold(tx, lease).await,
    }
}

/// What running nodes must hear of; `None`: nobody reacts to it.
fn entry(change: &Change) -> Option<(FeedKind, &str)> {
    Some(match change {
        Change::InsertKey(key) | Change::UpdateKey(key) => (FeedKind::Key, key.id.as_str()),
        Change::InsertWorkspace(w) | Change::UpdateWorkspace(w) => (FeedKind::Workspace, w.id.as_str()),
        Change::InsertOwner(o) | Change::UpdateOwner(o) => (FeedKind::Owner, o.id.as_str()),
        Change::InsertUpstream(u) | Change::UpdateUpstream(u) => (FeedKind::Upstream, u.id.as_str()),
        Change::InsertCredential(c) | Change::UpdateCredential(c) => (FeedKind::Credential, c.id.as_str()),
        Change::PutSecret(s) => (FeedKind::Secret, s.name.as_str()),
        Change::InsertSigning(s) | Change::UpdateSigning(s) => (FeedKind::Key, s.key.as_str()),
        // What it demands stands in the grants of its workspace's keys; the default policy's in all.
        Change::PutPolicy(p) => (FeedKind::Workspace, policies::name(p.workspace.as_ref())),
        Change::DropPolicy(w, _) => (FeedKind::Workspace, policies::name(w.as_ref())),
        Change::InsertTokenKey(k) | Change::UpdateTokenKey(k) => (FeedKind::TokenKey, k.kid.as_str()),
        Change::DenyTokens(d) => (FeedKind::TokenDenial, d.subject.as_str()),
        Change::InsertBudget(b) => (FeedKind::Budget, b.record.id.as_str()),
        Change::UpdateBudget(b) => (FeedKind::Budget, b.id.as_str()),
        Change::RaiseNotice(_)
        | Change::InsertChannel(_)
        | Change::UpdateChannel(_)
        | Change::UpdateDelivery(_)
        | Change::InsertReport(_)
        | Change::InsertOperator(_)
        | Change::UpdateOperator(_)
        | Change::UseTotpStep(..)
        | Change::InsertOperatorToken(_)
        | Change::UpdateOperatorToken(_)
        | Change::EndOperatorTokens(..)
        | Change::InsertStepUp(_)
        | Change::InsertApproval(_)
        | Change::UpdateApproval(_)
        | Change::KeepApprovalAnswer(..)
        | Change::HoldOwnerCap(_)
        | Change::HoldChildCap(_)
        | Change::InsertRotation(_)
        | Change::UpdateRotation(_)
        | Change::InsertWrapping(_)
        | Change::UpdateWrapping(_)
        | Change::InsertCertificate(_)
        | Change::Certify(_)
        | Change::InsertReview(_)
        | Change::UpdateReview(_)
        | Change::InsertTokenFamily(_)
        | Change::UpdateTokenFamily(_)
        | Change::InsertRefreshToken(_)
        | Change::InsertIssuer(_)
        | Change::DropIssuer(..)
        | Change::InsertTrust(_)
        | Change::UpdateTrust(_)
        | Change::DropTrust(..)
        | Change::UseAssertion(_)
        // What running nodes must know stands in the account's budget.
        | Change::InsertCreditAccount(_)
        | Change::BookCredit(_)
        | Change::HoldLease(_) => return None,
    })
}

/// An update that touched no row met another version.
pub(crate) fn expect_one(touched: u64, what: &'static str) -> Result<(), Failure> {
    if touched == 1 { Ok(()) } else { Err(StoreError::Conflict { what }.into()) }
}
