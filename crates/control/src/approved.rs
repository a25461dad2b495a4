//! Carrying out what a second person has approved: through the router once more, in the requester's name, under an
//! idempotency key of the approval's own. What a process that died left behind is taken up by the next one.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, StatusCode, header},
};
use claviger_domain::{id::RequestId, operator::approval::ApprovalRecord};
use claviger_service::{
    Caller, ServiceError,
    approvals::{Claim, Outcome},
};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{api, extract::OnBehalf, once, openapi::PREFIX, state::ControlState};

/// How often what was left behind is looked for.
const LOOK: Duration = Duration::from_secs(5);

/// Looks for what was left behind until told to stop.
pub async fn run(state: ControlState, stop: CancellationToken) {
    loop {
        if let Err(error) = resume(&state).await {
            tracing::debug!(%error, "what was approved and left behind cannot be seen");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Carries out what was left behind, and forgets secrets that nobody took.
///
/// # Errors
/// [`ServiceError::Unavailable`].
pub async fn resume(state: &ControlState) -> Result<(), ServiceError> {
    let approvals = &state.services.approvals;
    let caller = Caller::system();
    for claim in approvals.left_behind(&caller).await? {
        let id = claim.approval.id.clone();
        let done = carry_out(state, claim, &caller).await?;
        tracing::info!(approval = %id, state = done.state.as_str(), "what was approved was taken up again");
    }
    approvals.forget_untaken(&caller).await
}

/// Does what was approved, and notes how it went. What cannot be done for the moment stays approved, and is taken up
/// again.
///
/// # Errors
/// [`ServiceError::Unavailable`]; likewise.
pub async fn carry_out(
    state: &ControlState,
    claim: Claim,
    caller: &Caller,
) -> Result<ApprovalRecord, ServiceError> {
    match attempt(state, &claim, caller).await? {
        Some(outcome) => claim.end(outcome, caller).await,
        None => Ok(claim.approval),
    }
}

/// Does what was approved, unless it was done before; how it went. `None`: it cannot be done for the moment.
///
/// # Errors
/// [`ServiceError::Entropy`].
pub async fn attempt(
    state: &ControlState,
    claim: &Claim,
    caller: &Caller,
) -> Result<Option<Outcome>, ServiceError> {
    // A request of its own: the approver's may have an idempotency key, too.
    let request_id = RequestId::generate(state.entropy.as_ref())?.to_string();
    let approved = &claim.approval;
    let approver = approved.decided_by.clone().unwrap_or_else(|| approved.requester.clone());
    let behalf = OnBehalf {
        requester: claim.requester.clone(),
        approved: (approved.id.clone(), approver),
        caller: Caller { request_id, ..caller.clone() },
    };
    let (status, body, is_secret) = send(state, approved, behalf).await;
    let said: Option<Value> = serde_json::from_slice(&body).ok();
    let kind = said.as_ref().and_then(|said| said["type"].as_str()).unwrap_or_default();
    if status == StatusCode::CONFLICT && kind == "already_done" {
        return Ok(Some(Outcome::Unheard));
    }
    if is_for_the_moment(status) || (status == StatusCode::CONFLICT && kind == "in_progress") {
        tracing::warn!(approval = %approved.id, %status, "what was approved could not be done yet");
        return Ok(None);
    }
    Ok(Some(Outcome::Answered { status: status.as_u16(), body: body.to_vec(), is_secret }))
}

fn is_for_the_moment(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// Status, body, and whether it holds a secret.
async fn send(
    state: &ControlState,
    approved: &ApprovalRecord,
    behalf: OnBehalf,
) -> (StatusCode, Bytes, bool) {
    let frozen = &approved.frozen;
    let mut request = Request::builder()
        .method(frozen.method.as_str())
        .uri(frozen.path.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(once::HEADER, approved.id.as_str());
    if !frozen.if_match.is_empty() {
        request = request.header(header::IF_MATCH, frozen.if_match.as_str());
    }
    let Ok(request) = request.extension(behalf).body(Body::from(frozen.body.clone())) else {
        return (StatusCode::BAD_REQUEST, Bytes::new(), false);
    };
    let router: Router = Router::new().nest(PREFIX, api::routes(state)).with_state(state.clone());
    let Ok(response) = router.oneshot(request).await;
    let (status, is_secret) = (response.status(), response.extensions().get::<once::HoldsSecret>().is_some());
    match response.into_body().collect().await {
        Ok(body) => (status, body.to_bytes(), is_secret),
        Err(_) => (status, Bytes::new(), is_secret),
    }
}
