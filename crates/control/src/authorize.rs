//! Whether an operator may do what they ask for, and what it takes: their role, their workspace, a fresh second factor,
//! a second person. The rule itself is [`claviger_domain::operator::access`].

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use claviger_domain::operator::{
    approval::Frozen,
    verb::{Area, Effect, Verb},
};
use claviger_service::operators::{Code, IdentityKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::time::Moment,
    extract::{OnBehalf, Operator, TOTP_HEADER},
    gate::Asked,
    judge, once,
    openapi::PREFIX,
    problem::Problem,
    reach::{self, Narrowed},
    state::ControlState,
};

/// A request was frozen until a second person has decided.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PendingView {
    /// `approval_pending`.
    #[serde(rename = "type")]
    pub kind: String,
    /// 202.
    pub status: u16,
    /// What to do next.
    pub detail: String,
    /// The approval: `apr_…`.
    pub approval: String,
    /// Nobody can approve it from then on.
    pub expires_at: Moment,
}

/// Why a request does not go on.
pub enum Halt {
    /// It is refused.
    Refused(Problem),
    /// It waits for a second person.
    Pending(PendingView),
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl IntoResponse for Halt {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(problem) => problem.into_response(),
            Self::Pending(view) => (StatusCode::ACCEPTED, axum::Json(view)).into_response(),
        }
    }
}

/// What was found of a request that may go on.
pub struct Passed {
    /// What takes the place of its address and body.
    pub narrowed: Option<Narrowed>,
    /// Whether a second factor stands behind it.
    pub is_proved: bool,
}

/// Lets the operator through, with the request narrowed to what they see.
///
/// # Errors
/// [`Halt`] with status 202, 401, 403, 404 or 429.
pub async fn authorize(
    state: &ControlState,
    operator: &Operator,
    verb: Verb,
    asked: &Asked<'_>,
) -> Result<Passed, Halt> {
    // What a role may never do is refused before anything is looked up.
    let effect = match operator.identity.may(verb, verb.effect()) {
        Ok(_) => judge::effect(state, verb, asked).await?,
        Err(_) => verb.effect(),
    };
    let needs = match operator.identity.may(verb, effect) {
        Ok(needs) => needs,
        Err(denied) => {
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", denied.to_string()).into());
        }
    };
    let narrowed = reach::narrow(state, operator, verb, asked).await?;
    if asked.head.extensions.get::<OnBehalf>().is_none() {
        if needs.second_factor {
            second_factor(state, operator, verb, asked).await?;
        }
        if needs.second_person {
            return Err(Halt::Pending(freeze(state, operator, verb, asked).await?));
        }
    }
    if verb.area() == Area::Audit && effect == Effect::Read {
        note_reading(state, operator, verb).await?;
    }
    let is_proved = match operator.identity.kind {
        // A machine's minter proved it for the verbs that need it.
        IdentityKind::Person | IdentityKind::Machine => effect.needs_second_factor(),
        IdentityKind::Local | IdentityKind::BreakGlass => false,
    };
    Ok(Passed { narrowed, is_proved })
}

/// The request as it came, before it was narrowed: what is proved and what is approved.
fn frozen(verb: Verb, asked: &Asked<'_>) -> Frozen {
    let place = asked.head.uri.path_and_query().map_or("", |p| p.as_str());
    let if_match = asked.head.headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok());
    Frozen {
        verb,
        method: asked.method.to_string(),
        path: format!("{PREFIX}{place}"),
        if_match: if_match.unwrap_or_default().to_owned(),
        body: asked.body.to_vec(),
    }
}

async fn second_factor(
    state: &ControlState,
    operator: &Operator,
    verb: Verb,
    asked: &Asked<'_>,
) -> Result<(), Problem> {
    let action = frozen(verb, asked).digest();
    let text = asked.head.headers.get(TOTP_HEADER).and_then(|v| v.to_str().ok());
    let is_for_repetitions = once::key(&asked.head.headers)?.is_some();
    let code = text.map(|text| Code { text, is_for_repetitions });
    Ok(state.services.operators.prove(&operator.identity, (verb, action), code, &operator.caller).await?)
}

async fn freeze(
    state: &ControlState,
    operator: &Operator,
    verb: Verb,
    asked: &Asked<'_>,
) -> Result<PendingView, Problem> {
    let workspace = reach::about(state, asked).await?;
    let approvals = &state.services.approvals;
    let record =
        approvals.freeze(frozen(verb, asked), workspace, &operator.identity, &operator.caller).await?;
    let operators = &state.services.operators;
    let has_second = operators.has_second_person(&operator.identity, verb, record.workspace.as_ref()).await?;
    let next = if has_second {
        format!("another operator runs `claviger approval approve {}`", record.id)
    } else {
        "nobody else is enrolled who could agree: enrol somebody with `claviger operator add`, or open the sealed code of \
         break-glass"
            .to_owned()
    };
    Ok(PendingView {
        kind: "approval_pending".to_owned(),
        status: StatusCode::ACCEPTED.as_u16(),
        detail: format!("{} needs a second person: {next}", verb.as_str()),
        approval: record.id.to_string(),
        expires_at: Moment(record.expires_at),
    })
}

/// Whoever reads the log stands in it.
async fn note_reading(state: &ControlState, operator: &Operator, verb: Verb) -> Result<(), Problem> {
    let event = operator.caller.event(state.clock.now(), verb.as_str(), "");
    Ok(state.services.audit.note(event).await?)
}
