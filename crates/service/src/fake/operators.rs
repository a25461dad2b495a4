//! The fake store's operators, tokens and approvals.

use std::collections::HashMap;

use async_trait::async_trait;
use claviger_domain::{
    audit::Digest,
    clock::Timestamp,
    id::{ApprovalId, OperatorId, OperatorTokenId, WorkspaceId},
    operator::{
        approval::{Answer, ApprovalRecord, ApprovalState},
        lockout::Lockout,
        name::OperatorName,
        record::OperatorRecord,
        token::{OperatorTokenRecord, TokenKind},
    },
    ports::{
        Change, StoreError,
        operators::{OperatorStore, StepUp},
    },
};

use super::{FakeStore, conflict};
use crate::lock::lock;

#[derive(Default)]
pub(crate) struct OperatorState {
    pub(crate) operators: Vec<OperatorRecord>,
    pub(crate) tokens: Vec<OperatorTokenRecord>,
    pub(crate) step_ups: Vec<StepUp>,
    pub(crate) approvals: Vec<ApprovalRecord>,
    pub(crate) answers: HashMap<ApprovalId, Vec<u8>>,
    pub(crate) lockouts: HashMap<u64, Lockout>,
}

macro_rules! put {
    ($list:expr, $row:expr, $what:literal) => {{
        let mut row = $row;
        let place = $list.iter_mut().find(|r| r.id == row.id && r.version == row.version);
        row.version += 1;
        *place.ok_or(conflict($what))? = row;
    }};
}

impl OperatorState {
    /// Writes what is an operator's; gives back what is not.
    pub(super) fn write(&mut self, change: Change) -> Result<Option<Change>, StoreError> {
        match change {
            Change::InsertOperator(operator) => {
                if self.operators.iter().any(|o| o.name == operator.name) {
                    return Err(conflict("operator name"));
                }
                self.operators.push(*operator);
            }
            Change::UpdateOperator(operator) => {
                let step = self.operators.iter().find(|o| o.id == operator.id).map_or(0, |o| o.totp_step);
                put!(self.operators, OperatorRecord { totp_step: step, ..*operator }, "operator");
            }
            Change::UseTotpStep(id, step) => {
                let place = self.operators.iter_mut().find(|o| o.id == id && o.totp_step < step);
                place.ok_or(conflict("second factor"))?.totp_step = step;
            }
            Change::InsertOperatorToken(token) => self.tokens.push(*token),
            Change::UpdateOperatorToken(token) => put!(self.tokens, *token, "operator token"),
            Change::EndOperatorTokens(id, at) => {
                let theirs = |t: &&mut OperatorTokenRecord| {
                    t.operator.as_ref() == Some(&id)
                        && t.ended_at.is_none()
                        && matches!(t.kind, TokenKind::Session | TokenKind::Machine)
                };
                self.tokens.iter_mut().filter(theirs).for_each(|t| t.ended_at = Some(at));
            }
            Change::InsertStepUp(proof) => {
                self.step_ups.retain(|p| p.until > proof.at);
                self.step_ups.push(proof);
            }
            Change::InsertApproval(approval) => self.approvals.push(*approval),
            Change::UpdateApproval(approval) => put!(self.approvals, *approval, "approval"),
            Change::KeepApprovalAnswer(id, sealed) => drop(self.answers.insert(id, sealed)),
            other => return Ok(Some(other)),
        }
        Ok(None)
    }
}

#[async_trait]
impl OperatorStore for FakeStore {
    async fn operators(&self) -> Result<Vec<OperatorRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).operators.operators.clone())
    }

    async fn operator(&self, id: &OperatorId) -> Result<Option<OperatorRecord>, StoreError> {
        Ok(self.operators().await?.into_iter().find(|o| o.id == *id))
    }

    async fn operator_by_name(&self, name: &OperatorName) -> Result<Option<OperatorRecord>, StoreError> {
        Ok(self.operators().await?.into_iter().find(|o| o.name == *name))
    }

    async fn has_operators(&self) -> Result<bool, StoreError> {
        Ok(!self.operators().await?.is_empty())
    }

    async fn operator_token(&self, id: &OperatorTokenId) -> Result<Option<OperatorTokenRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).operators.tokens.iter().find(|t| t.id == *id).cloned())
    }

    async fn operator_tokens(&self) -> Result<Vec<OperatorTokenRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let listed = |t: &&OperatorTokenRecord| t.ended_at.is_none() || t.kind == TokenKind::BreakGlass;
        Ok(state.operators.tokens.iter().rev().filter(listed).cloned().collect())
    }

    async fn touch_operator_token(&self, id: &OperatorTokenId, at: Timestamp) -> Result<(), StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        let place = state.operators.tokens.iter_mut().find(|t| t.id == *id && t.last_used_at < at);
        place.into_iter().for_each(|t| t.last_used_at = at);
        Ok(())
    }

    async fn step_up(&self, token: &OperatorTokenId, action: Digest) -> Result<Option<StepUp>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let same = |p: &&StepUp| p.token == *token && p.action == action;
        Ok(state.operators.step_ups.iter().rev().find(same).cloned())
    }

    async fn approval(&self, id: &ApprovalId) -> Result<Option<ApprovalRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).operators.approvals.iter().find(|a| a.id == *id).cloned())
    }

    async fn approvals(&self, open_at: Option<Timestamp>) -> Result<Vec<ApprovalRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let wanted = |a: &&ApprovalRecord| open_at.is_none_or(|at| a.is_open(at));
        Ok(state.operators.approvals.iter().rev().filter(wanted).cloned().collect())
    }

    async fn unfinished_approvals(&self, before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError> {
        let all = self.approvals(None).await?;
        let is_left = |a: &ApprovalRecord| {
            a.state == ApprovalState::Approved && a.decided_at.is_some_and(|at| at <= before)
        };
        Ok(all.into_iter().rev().filter(is_left).collect())
    }

    async fn untaken_answers(&self, before: Timestamp) -> Result<Vec<ApprovalRecord>, StoreError> {
        let all = self.approvals(None).await?;
        let is_left =
            |a: &ApprovalRecord| a.answer == Answer::Secret && a.decided_at.is_some_and(|at| at <= before);
        Ok(all.into_iter().rev().filter(is_left).collect())
    }

    async fn approval_answer(&self, id: &ApprovalId) -> Result<Option<Vec<u8>>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).operators.answers.get(id).filter(|sealed| !sealed.is_empty()).cloned())
    }

    async fn lockout(&self, place: u64) -> Result<Lockout, StoreError> {
        self.up()?;
        Ok(lock(&self.state).operators.lockouts.get(&place).copied().unwrap_or_default())
    }

    async fn count_failure(&self, place: u64, at: Timestamp) -> Result<Lockout, StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        let kept = state.operators.lockouts.entry(place).or_default();
        *kept = kept.failed(at);
        Ok(*kept)
    }

    async fn clear_lockout(&self, place: u64) -> Result<(), StoreError> {
        self.up()?;
        lock(&self.state).operators.lockouts.remove(&place);
        Ok(())
    }

    async fn workspace_of(&self, id: &str) -> Result<Option<WorkspaceId>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let key = state.keys.iter().find(|k| k.id.as_str() == id).map(|k| k.workspace.clone());
        Ok(key.or_else(|| state.workspaces.iter().find(|w| w.id.as_str() == id).map(|w| w.id.clone())))
    }
}
