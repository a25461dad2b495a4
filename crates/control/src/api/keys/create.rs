//! `POST /admin/v1/keys`

use axum::extract::State;
use claviger_domain::{key::KeyUse, proof::Proof};
use claviger_service::{
    Caller,
    budgets::KeyBudget,
    keys::{Expiry, NewKey},
    signing::MadeSecret,
};

use super::{CreateKey, expiry, moment, on_disconnect};
use crate::{
    answer::Secret,
    api::{time::Moment, view::KeyView},
    extract::{Body, Operator},
    problem::Problem,
    state::ControlState,
};

/// Makes a key. The answer is the only place where it, or the token that opens it, is ever shown.
pub async fn create(
    State(state): State<ControlState>,
    operator: Operator,
    Body(mut body): Body<CreateKey>,
) -> Result<Secret<KeyView>, Problem> {
    // A new key that must sign has nothing to sign with, and its answer is read: it gets a secret unasked.
    body.sign |= body.require.iter().flatten().any(|proof| proof.trim() == Proof::Signature.as_str());
    make(&state, body, &operator.caller).await.map(Secret)
}

/// The text of a new signing secret.
pub(super) fn shown(secret: &MadeSecret) -> String {
    String::from_utf8_lossy(secret.text.expose()).into_owned()
}

/// Makes a key, wrapped or not.
pub(super) async fn make(state: &ControlState, body: CreateKey, caller: &Caller) -> Result<KeyView, Problem> {
    let (wrapped, wrap_ttl_secs) = (body.wrapped, body.wrap_ttl_secs);
    if wrap_ttl_secs.is_some() && !wrapped {
        return Err(Problem::invalid("wrap_ttl_secs", "goes with `wrapped` only"));
    }
    let new = NewKey {
        name: body.name,
        test: body.test,
        workspace: body.workspace,
        owner: body.owner,
        models: body.models.unwrap_or_default(),
        endpoints: body.endpoints.unwrap_or_default(),
        scopes: body.scopes,
        allow_ip: body.allow_ip.unwrap_or_default(),
        limits: body.limits.into(),
        max_uses: body.max_uses.filter(|n| *n > 0),
        hours: body.hours.filter(|h| !h.trim().is_empty()),
        require: body.require.unwrap_or_default(),
        sign: body.sign,
        on_disconnect: body.on_disconnect.as_deref().map(on_disconnect).transpose()?.unwrap_or_default(),
        cache: body.cache,
        bind_mtls: body.bind_mtls.unwrap_or_default(),
        not_before: body.not_before.as_deref().map(|t| moment("not_before", t)).transpose()?,
        expires: body.expires_in.as_deref().map(expiry).transpose()?.unwrap_or(Expiry::Default),
        budget: body.budget.as_deref().map(KeyBudget::parse).transpose()?,
    };
    if wrapped {
        let (record, wrapped, secret) =
            state.services.keys.create_wrapped(new, wrap_ttl_secs, caller).await?;
        let mut view = KeyView::of(&record, &KeyUse::default(), state.clock.now());
        view.wrapping_token = Some(String::from_utf8_lossy(wrapped.token.expose()).into_owned());
        view.wrapping_expires_at = Some(Moment(wrapped.record.expires_at));
        view.signing_secret = secret.map(|secret| shown(&secret));
        return Ok(view);
    }
    let (record, token, secret) = state.services.keys.create_signing(new, caller).await?;
    let mut view = KeyView::of(&record, &KeyUse::default(), state.clock.now());
    view.key = Some(String::from_utf8_lossy(token.expose()).into_owned());
    view.signing_secret = secret.map(|secret| shown(&secret));
    Ok(view)
}
