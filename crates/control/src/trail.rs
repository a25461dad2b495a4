//! What was asked for and not done stands in the audit log like what was.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use claviger_domain::{
    operator::verb::{Effect, Verb},
    policy::Rule,
    token::without_keys,
};
use claviger_service::Caller;

use crate::{problem::Problem, state::ControlState};

/// The longest that is kept of an id that somebody made up, in characters.
const LONGEST_TARGET: usize = 64;

/// Stands in the extensions of a refusal: what its audit record says of it.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The problem's type.
    pub kind: String,
    /// The field at fault.
    pub field: Option<String>,
    /// The rule that stands against it.
    pub rule: Option<Rule>,
}

/// Who asked for what.
pub struct Trail {
    caller: Caller,
    verb: Verb,
    target: String,
}

impl Trail {
    /// A request of somebody who is known.
    #[must_use]
    pub fn new(caller: Caller, verb: Verb, ids: &[String]) -> Self {
        // What was typed in a wrong place may be a key.
        let target = ids.first().map(|id| without_keys(id).chars().take(LONGEST_TARGET).collect());
        Self { caller, verb, target: target.unwrap_or_default() }
    }

    /// Notes a refusal, of reading only when the role forbids it. One that cannot be noted is answered as such.
    pub async fn end(self, state: &ControlState, response: Response) -> Response {
        let reads = self.verb.effect() == Effect::Read;
        let status = response.status();
        if !status.is_client_error() || (reads && status != StatusCode::FORBIDDEN) {
            return response;
        }
        let Some(refused) = response.extensions().get::<Refused>() else { return response };
        let mut event = self.caller.event(state.clock.now(), self.verb.as_str(), &self.target);
        event.outcome.clone_from(&refused.kind);
        if self.target.starts_with("key_") {
            event.key.clone_from(&self.target);
        }
        let event = refused.field.iter().fold(event, |event, field| event.with("field", field.as_str()));
        let event = refused.rule.iter().fold(event, |event, rule| event.with("rule", rule.as_str()));
        match state.services.audit.note(event).await {
            Ok(()) => response,
            Err(error) => Problem::from(error).into_response(),
        }
    }
}
