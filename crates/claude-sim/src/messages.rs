//! `POST /v1/messages` and `/v1/messages/count_tokens`.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use http::StatusCode;
use serde_json::Value;

use crate::admin::books::Bill;
use crate::answer::{Answer, Planner};
use crate::cache::{Prompt as CachedPrompt, tokens};
use crate::call::{Call, Reply};
use crate::directive::Directives;
use crate::error::{ApiError, Hints};
use crate::events::{EventWriter, message_json};
use crate::log::{Inference, raw};
use crate::request::{MessagesRequest, Prompt};
use crate::seed::{Rng, hash};
use crate::simulator::Core;
use crate::usage::CacheCreation;
use crate::workspace::Workspace;
use crate::{auth, models};

/// A request that was read.
pub(crate) struct Inbound<'a> {
    pub(crate) request: &'a MessagesRequest<'a>,
    pub(crate) prompt: &'a Prompt,
    pub(crate) body: &'a [u8],
}

/// The model as it is billed, and whether fast mode works on it.
struct Chosen {
    id: Cow<'static, str>,
    max_input: u64,
    can_be_fast: bool,
}

/// `POST /v1/messages/count_tokens`.
pub(crate) fn count(call: &mut Call, inbound: &Inbound<'_>) -> Result<Reply, ApiError> {
    inbound.request.validate(inbound.body, call.version(), false)?;
    choose(&call.core, inbound.request, &call.steer, "")?;
    Ok(Reply::json(format!(r#"{{"input_tokens":{}}}"#, tokens(inbound.body.len()))))
}

/// `POST /v1/messages`.
pub(crate) fn create(
    call: &mut Call,
    inbound: &Inbound<'_>,
    workspace: &Workspace,
) -> Result<Reply, ApiError> {
    let request = inbound.request;
    let window = workspace.count_request(call.now_ms);
    call.window = Some(window);
    if call.core.config.requests_per_minute.is_some_and(|limit| window.requests > limit) {
        return Err(rate_limited(call.now_ms));
    }
    request.validate(inbound.body, call.version(), true)?;
    let betas = auth::betas(&call.head.headers).collect::<Vec<_>>().join(",");
    let chosen = choose(&call.core, request, &call.steer, &betas)?;
    check_files(inbound.body, workspace)?;
    let input = input_of(inbound, workspace, &chosen, call.now_ms);
    check_input(request, &chosen, &input)?;
    let seed = hash(inbound.body);
    let planner = Planner {
        config: &call.core.config,
        request,
        prompt: inbound.prompt,
        steer: &call.steer,
        model: &chosen.id,
        input,
        seed,
        tools_on_request_only: is_claude_code(call),
        in_batch: false,
    };
    let answer = planner.plan(&mut call.ids);
    let usage = answer.usage.plain();
    call.window = Some(workspace.count_tokens(usage.input_tokens, usage.output_tokens));
    call.core.log.counters.inferences.fetch_add(1, Ordering::Relaxed);
    let stream = request.stream.unwrap_or(false);
    if answer.billed {
        let usage = if stream { answer.usage.streamed() } else { answer.usage.whole() };
        call.core.bill(&Bill {
            at_ms: call.now_ms,
            key: auth::presented(&call.head.headers).unwrap_or(""),
            workspace: &workspace.name,
            model: &answer.model,
            usage: &usage,
        });
    }
    if let Some(line) = &mut call.record.line {
        line.inference = Some(inference(&answer, request, stream));
    }
    Ok(if stream {
        Reply::Stream(Box::new(EventWriter::new(answer, &call.steer.shape, seed)))
    } else {
        Reply::json(message_json(&answer))
    })
}

/// One item of a batch: the message as JSON and its line in the log.
pub(crate) fn batch_item(
    core: &Core,
    params: &[u8],
    version: &str,
    ids: &mut Rng,
) -> Result<(String, Inference), ApiError> {
    let request = MessagesRequest::of(params)?;
    request.validate(params, version, true)?;
    let prompt = request.prompt();
    let steer = item_directives(&request, &prompt, params)?;
    let chosen = choose(core, &request, &steer, "")?;
    let planner = Planner {
        config: &core.config,
        request: &request,
        prompt: &prompt,
        steer: &steer,
        model: &chosen.id,
        input: uncached(params.len()),
        seed: hash(params),
        tools_on_request_only: false,
        in_batch: true,
    };
    let answer = planner.plan(ids);
    core.log.counters.inferences.fetch_add(1, Ordering::Relaxed);
    Ok((message_json(&answer), inference(&answer, &request, false)))
}

/// The directives of one item of a batch.
pub(crate) fn item_directives(
    request: &MessagesRequest<'_>,
    prompt: &Prompt,
    params: &[u8],
) -> Result<Directives, ApiError> {
    let mut steer = Directives::default();
    for list in crate::call::lists_in(request, prompt, params) {
        steer.add(&list).map_err(|error| ApiError::invalid(error.to_string()))?;
    }
    Ok(steer)
}

fn inference(answer: &Answer, request: &MessagesRequest<'_>, stream: bool) -> Inference {
    let usage = if stream { answer.usage.streamed() } else { answer.usage.whole() };
    Inference {
        requested_model: request.model.clone().unwrap_or_default(),
        model: answer.model.clone(),
        message_id: answer.id.clone(),
        stream,
        billed: answer.billed,
        stop_reason: answer.stop.reason.to_string(),
        usage: raw(usage).unwrap_or_default(),
        sent_start: None,
        sent_delta: None,
        chars: answer.chars(),
        sent_chars: 0,
        batch_id: None,
        custom_id: None,
    }
}

/// Resolves the model and checks that it can do what is asked.
fn choose(
    core: &Core,
    request: &MessagesRequest<'_>,
    steer: &Directives,
    betas: &str,
) -> Result<Chosen, ApiError> {
    let name = request.model.as_deref().unwrap_or_default();
    let chosen = match models::served(name) {
        Some(model) => Chosen {
            id: Cow::Borrowed(model.id),
            max_input: model.max_input_tokens,
            can_be_fast: model.can_be_fast(betas),
        },
        None if steer.shape.any_model || core.config.extra_models.iter().any(|id| id == name) => {
            Chosen { id: Cow::Owned(name.to_owned()), max_input: 1_000_000, can_be_fast: true }
        }
        None => return Err(ApiError::not_found(format!("model: {name}"))),
    };
    if request.speed.as_deref() == Some("fast") && !chosen.can_be_fast {
        return Err(ApiError::invalid(format!("speed: fast mode is not available for {name}")));
    }
    Ok(chosen)
}

fn check_input(request: &MessagesRequest<'_>, chosen: &Chosen, input: &CachedPrompt) -> Result<(), ApiError> {
    let written = input.written.ephemeral_5m_input_tokens + input.written.ephemeral_1h_input_tokens;
    let total = input.uncached + input.read + written;
    if total > chosen.max_input {
        return Err(ApiError::invalid(format!(
            "prompt is too long: {total} tokens > {} maximum",
            chosen.max_input
        )));
    }
    let budget = request.thinking.as_ref().and_then(|thinking| thinking.budget_tokens);
    match (budget, request.max_tokens) {
        (Some(budget), Some(max)) if budget >= max => {
            Err(ApiError::invalid("`max_tokens` must be greater than `thinking.budget_tokens`"))
        }
        (_, _) => Ok(()),
    }
}

fn input_of(inbound: &Inbound<'_>, workspace: &Workspace, chosen: &Chosen, now_ms: u64) -> CachedPrompt {
    if memchr::memmem::find(inbound.body, b"\"cache_control\"").is_none() {
        return uncached(inbound.body.len());
    }
    let blocks = inbound.request.cache_blocks();
    workspace.cache().pass(&blocks, hash(chosen.id.as_bytes()), now_ms)
}

fn uncached(bytes: usize) -> CachedPrompt {
    CachedPrompt { uncached: tokens(bytes), read: 0, written: CacheCreation::default() }
}

/// Every `file_id` of the body must be a file of the workspace.
fn check_files(body: &[u8], workspace: &Workspace) -> Result<(), ApiError> {
    if memchr::memmem::find(body, b"\"file_id\"").is_none() {
        return Ok(());
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
    let mut open = vec![&value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                if let Some(id) = fields.get("file_id").and_then(Value::as_str)
                    && !workspace.files().has(id)
                {
                    return Err(ApiError::not_found(format!("File not found: {id}")));
                }
                open.extend(fields.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}

fn is_claude_code(call: &Call) -> bool {
    let agent = call.head.headers.get(http::header::USER_AGENT);
    agent.and_then(|value| value.to_str().ok()).is_some_and(|agent| agent.starts_with("claude-cli/"))
}

fn rate_limited(now_ms: u64) -> ApiError {
    let seconds = 60 - now_ms / 1000 % 60;
    let hints = Hints { retry_after: Some(seconds.to_string()), ..Hints::default() };
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "This request would exceed your organization's rate limit of requests per minute",
    )
    .with(hints)
}
