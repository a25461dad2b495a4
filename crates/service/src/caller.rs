//! Who calls a use case, for the audit record.

use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::Timestamp,
    id::{ApprovalId, OperatorId},
    ports::idempotency,
};

/// Whoever asked for a change, and how the request came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// The request's id, or empty.
    pub request_id: String,
    /// The client's address, or empty.
    pub client_ip: String,
    /// The client's program, or empty.
    pub user_agent: String,
    /// Method and path, or empty.
    pub api_endpoint: String,
    /// With which rights: kind of token, role, workspace, verbs; or empty.
    pub scope: String,
    /// Whether a fresh second factor was proved for this action.
    pub has_second_factor: bool,
    /// The approval by which it is done, and who gave it.
    pub approved: Option<(ApprovalId, OperatorId)>,
    /// The request's `Idempotency-Key`: what is done is done once.
    pub idempotency_key: Option<String>,
}

impl Caller {
    /// The program itself.
    #[must_use]
    pub const fn system() -> Self {
        Self {
            actor: Actor::System,
            request_id: String::new(),
            client_ip: String::new(),
            user_agent: String::new(),
            api_endpoint: String::new(),
            scope: String::new(),
            has_second_factor: false,
            approved: None,
            idempotency_key: None,
        }
    }

    /// The event for something that this caller does.
    #[must_use]
    pub fn event(&self, at: Timestamp, action: &str, target: &str) -> AuditEvent {
        let mut event = AuditEvent::new(at, self.actor.clone(), action, target);
        event.request_id.clone_from(&self.request_id);
        event.client_ip.clone_from(&self.client_ip);
        event.user_agent.clone_from(&self.user_agent);
        event.api_endpoint.clone_from(&self.api_endpoint);
        event.token_scope.clone_from(&self.scope);
        if let Some((approval, approver)) = &self.approved {
            event = event.with("approval", approval.as_str()).with("approved_by", approver.as_str());
        }
        match &self.idempotency_key {
            Some(key) => event.with(idempotency::DETAIL, &**key),
            None => event,
        }
    }
}
