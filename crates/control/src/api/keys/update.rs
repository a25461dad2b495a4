//! `PATCH /admin/v1/keys/{id}`

use axum::extract::State;
use claviger_service::keys::KeyPatch;

use super::{UpdateKey, expiry, key_id, on_disconnect};
use crate::{
    answer::One,
    api::view::KeyView,
    extract::{Body, IfMatch, Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// Changes what a key may do; with `If-Match: <version>` only if nobody else did meanwhile.
pub async fn update(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Body(body): Body<UpdateKey>,
) -> Result<One<KeyView>, Problem> {
    let patch = patch(body)?;
    let (record, usage) = state.services.keys.update(&key_id(&id)?, patch, version, &operator.caller).await?;
    Ok(One(KeyView::of(&record, &usage, state.clock.now())))
}

/// What the body asks to be changed.
///
/// # Errors
/// A problem that names the field.
pub fn patch(body: UpdateKey) -> Result<KeyPatch, Problem> {
    Ok(KeyPatch {
        name: body.name,
        models: body.models,
        endpoints: body.endpoints,
        scopes: body.scopes,
        allow_ip: body.allow_ip,
        limits: body.limits.into(),
        max_uses: body.max_uses.map(|n| (n > 0).then_some(n)),
        hours: body.hours.map(|h| (!h.trim().is_empty()).then_some(h)),
        on_disconnect: body.on_disconnect.as_deref().map(on_disconnect).transpose()?,
        bind_mtls: body.bind_mtls,
        not_before: None,
        expires: body.expires_in.as_deref().map(expiry).transpose()?,
    })
}
