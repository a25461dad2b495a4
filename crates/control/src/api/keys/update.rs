//! `PATCH /admin/v1/keys/{id}`

use axum::extract::State;
use claviger_domain::{id::KeyId, key::KeyRecord};
use claviger_service::{
    ServiceError,
    budgets::{BudgetWish, KeyBudget},
    keys::KeyPatch,
};

use super::{UpdateKey, create::shown, expiry, key_id, on_disconnect};
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
    let id = key_id(&id)?;
    let (sign, public, gives) = (body.sign, body.signing_public_key.clone(), body.gives_a_secret());
    let budget = body.budget.as_deref().map(KeyBudget::parse).transpose()?;
    let patch = patch(body)?;
    let (services, caller) = (&state.services, &operator.caller);
    if let Some(budget) = budget {
        let (present, used) = services.keys.show(&id).await?;
        fresh(&present, version)?;
        // The ceiling first: a change that is refused then has made nothing easier.
        services.budgets.set(budget_wish(&state, &id, budget).await?, None, caller).await?;
        if patch.is_empty() && !gives {
            return Ok(One(KeyView::of(&present, &used, state.clock.now())));
        }
    }
    if !gives {
        let (record, usage) = services.keys.update(&id, patch, version, caller).await?;
        return Ok(One(KeyView::of(&record, &usage, state.clock.now())));
    }
    let (present, _) = services.keys.show(&id).await?;
    fresh(&present, version)?;
    // What is demanded must be possible; else nothing is made that a refused change would leave unseen.
    let demands = patch.require.is_some();
    if !demands && !patch.is_empty() {
        services.keys.update(&id, patch.clone(), version, caller).await?;
    }
    if let Some(public) = &public {
        services.signing.put_public_key(&id, public, caller).await?;
    }
    let mut secret = None;
    if sign {
        secret = Some(services.signing.rotate(&id, false, caller).await?.1);
    }
    let (record, usage) = if demands {
        services.keys.update(&id, patch, version, caller).await?
    } else {
        services.keys.show(&id).await?
    };
    let mut view = KeyView::of(&record, &usage, state.clock.now());
    view.signing_secret = secret.map(|secret| shown(&secret));
    Ok(One(view))
}

fn fresh(present: &KeyRecord, version: Option<i64>) -> Result<(), Problem> {
    if version.is_some_and(|version| version != present.version) {
        return Err(ServiceError::Stale { what: "key", version: present.version }.into());
    }
    Ok(())
}

/// The budget that is asked for: of the key's line.
///
/// # Errors
/// A problem when there is no such key.
pub async fn budget_wish(state: &ControlState, id: &KeyId, budget: KeyBudget) -> Result<BudgetWish, Problem> {
    let (key, _) = state.services.keys.show(id).await?;
    Ok(budget.wish(&key.lineage))
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
        require: body.require,
        on_disconnect: body.on_disconnect.as_deref().map(on_disconnect).transpose()?,
        cache: body.cache,
        bind_mtls: body.bind_mtls,
        not_before: None,
        expires: body.expires_in.as_deref().map(expiry).transpose()?,
    })
}
