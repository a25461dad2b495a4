//! What a request does in its case: a change that gives something new or drops a guard takes more than one that does
//! not.

use claviger_domain::{
    id::KeyId,
    limit::Limits,
    operator::verb::{Effect, Verb},
};
use claviger_service::{
    ServiceError,
    budgets::{BudgetWish, KeyBudget},
};

use crate::{
    api::{
        budgets::{self, SetBudget},
        channels::UpdateChannel,
        keys::{UpdateKey, update},
        limits::LimitsPatch,
        owners::UpdateOwner,
        policies::SetPolicy,
        workspaces::UpdateWorkspace,
    },
    gate::Asked,
    problem::Problem,
    state::ControlState,
};

/// The effect of this request. One that its operation will refuse anyway counts as what its verb does.
///
/// # Errors
/// A problem with status 503.
pub async fn effect(state: &ControlState, verb: Verb, asked: &Asked<'_>) -> Result<Effect, Problem> {
    if verb == Verb::KeyUpdate {
        return of_key_update(state, asked).await;
    }
    if verb == Verb::PolicySet {
        return of_policy_set(state, asked).await;
    }
    if verb == Verb::WorkspaceUpdate {
        return of_workspace_update(state, asked).await;
    }
    if verb == Verb::BudgetSet {
        return of_budget_set(state, asked).await;
    }
    if verb == Verb::OwnerUpdate {
        return of_owner_update(state, asked).await;
    }
    if verb == Verb::ChannelUpdate {
        return of_channel_update(state, asked).await;
    }
    // A stolen session must not be somebody's second person.
    if verb == Verb::ApprovalApprove {
        return Ok(Effect::Grant);
    }
    Ok(verb.effect())
}

/// Whether requests of this verb may have to wait for a second person.
#[must_use]
pub fn may_wait(verb: Verb) -> bool {
    verb.effect().needs_second_person()
        || matches!(
            verb,
            Verb::KeyUpdate | Verb::PolicySet | Verb::WorkspaceUpdate | Verb::ChannelUpdate | Verb::BudgetSet
        )
}

/// Whether requests of this verb may need a fresh second factor.
#[must_use]
pub fn may_need_code(verb: Verb) -> bool {
    verb.effect().needs_second_factor()
        || may_wait(verb)
        || matches!(verb, Verb::ApprovalApprove | Verb::OwnerUpdate)
}

async fn of_policy_set(state: &ControlState, asked: &Asked<'_>) -> Result<Effect, Problem> {
    let Ok(body) = serde_json::from_slice::<SetPolicy>(asked.body) else {
        return Ok(Verb::PolicySet.effect());
    };
    let Ok(patch) = body.patch() else { return Ok(Verb::PolicySet.effect()) };
    match state.services.policies.would_loosen(body.workspace.as_deref(), &patch).await {
        Ok(true) => Ok(Effect::Destroy),
        Ok(false) | Err(ServiceError::NotFound { .. }) => Ok(Verb::PolicySet.effect()),
        Err(error) => Err(error.into()),
    }
}

async fn of_workspace_update(state: &ControlState, asked: &Asked<'_>) -> Result<Effect, Problem> {
    let usual = Verb::WorkspaceUpdate.effect();
    let body = serde_json::from_slice::<UpdateWorkspace>(asked.body);
    let (Some(id), Ok(body)) = (asked.ids.first(), body) else { return Ok(usual) };
    match state.services.tenants.workspace(id).await {
        Ok(found) if body.class().is_some_and(|class| class < found.environment) => Ok(Effect::Destroy),
        Ok(found) if raises(&found.limits, body.limits) => Ok(Effect::Grant),
        Ok(_) | Err(ServiceError::NotFound { .. }) => Ok(usual),
        Err(error) => Err(error.into()),
    }
}

async fn of_owner_update(state: &ControlState, asked: &Asked<'_>) -> Result<Effect, Problem> {
    let usual = Verb::OwnerUpdate.effect();
    let body = serde_json::from_slice::<UpdateOwner>(asked.body);
    let (Some(id), Ok(body)) = (asked.ids.first(), body) else { return Ok(usual) };
    match state.services.tenants.owner(id).await {
        Ok(found) if raises(&found.limits, body.limits) => Ok(Effect::Grant),
        Ok(_) | Err(ServiceError::NotFound { .. }) => Ok(usual),
        Err(error) => Err(error.into()),
    }
}

fn raises(limits: &Limits, patch: LimitsPatch) -> bool {
    limits.is_raised_by(&limits.patched(&patch.into()))
}

async fn of_channel_update(state: &ControlState, asked: &Asked<'_>) -> Result<Effect, Problem> {
    let patch = serde_json::from_slice::<UpdateChannel>(asked.body).ok();
    let patch = patch.and_then(|body| body.into_patch().ok());
    let (Some(id), Some(patch)) = (asked.ids.first(), patch) else {
        return Ok(Verb::ChannelUpdate.effect());
    };
    match state.services.channels.judge_update(id, patch).await {
        Ok(effect) => Ok(effect),
        Err(ServiceError::Unavailable(why)) => Err(ServiceError::Unavailable(why).into()),
        // Its operation says what is wrong.
        Err(_) => Ok(Verb::ChannelUpdate.effect()),
    }
}

/// A ceiling that is raised or refuses nobody any more is a guard that is loosened; a new or lower one is none.
async fn of_budget_set(state: &ControlState, asked: &Asked<'_>) -> Result<Effect, Problem> {
    let body = serde_json::from_slice::<SetBudget>(asked.body).ok();
    let wish = match body {
        Some(body) => budgets::wish(state, body).await.ok(),
        None => None,
    };
    match wish {
        Some(wish) => of_wish(state, &wish).await,
        // Its operation says what is wrong.
        None => Ok(Verb::BudgetSet.effect()),
    }
}

async fn of_wish(state: &ControlState, wish: &BudgetWish) -> Result<Effect, Problem> {
    let loosens = state.services.budgets.would_loosen(wish).await?;
    Ok(if loosens { Effect::Destroy } else { Verb::BudgetSet.effect() })
}

async fn of_key_update(state: &ControlState, asked: &Asked<'_>) -> Result<Effect, Problem> {
    let unjudged = Ok(Verb::KeyUpdate.effect());
    let id = asked.ids.first().and_then(|id| KeyId::parse(id).ok());
    let body = serde_json::from_slice::<UpdateKey>(asked.body).ok();
    let gives = body.as_ref().is_some_and(UpdateKey::gives_a_secret);
    let budget = body.as_ref().and_then(|body| KeyBudget::parse(body.budget.as_deref()?).ok());
    let (Some(id), Some(patch)) = (id, body.and_then(|body| update::patch(body).ok())) else {
        return unjudged;
    };
    let judged = state.services.keys.judge_update(&id, patch).await?;
    if let Some(budget) = budget
        && of_wish(state, &update::budget_wish(state, &id, budget).await?).await? == Effect::Destroy
    {
        return Ok(Effect::Destroy);
    }
    // A new secret is something new, whatever else is changed.
    Ok(if gives && judged == Effect::Change { Effect::Grant } else { judged })
}
