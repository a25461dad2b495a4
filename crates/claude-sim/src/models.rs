//! The catalogue of models: what exists, and what each can do.

use std::fmt::Write as _;

use crate::error::{ApiError, quoted};
use crate::page::{Page, PageQuery};

/// Whether a model is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Active,
    Deprecated,
    /// Listed for 2026-10-21 only; calling it is a 404.
    Retired,
}

impl Lifecycle {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Retired => "retired",
        }
    }
}

/// Whether `speed: "fast"` works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fast {
    No,
    Yes,
    /// Only with `anthropic-beta: fast-mode-2026-02-01`.
    WithBeta,
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    pub(crate) id: &'static str,
    /// Dateless name that means the same model; empty: none.
    alias: &'static str,
    display_name: &'static str,
    created_at: &'static str,
    line: &'static str,
    pub(crate) max_input_tokens: u64,
    max_tokens: u64,
    lifecycle: Lifecycle,
    fast: Fast,
}

const fn row(
    id: &'static str,
    display_name: &'static str,
    created_at: &'static str,
    line: &'static str,
) -> Model {
    Model {
        id,
        alias: "",
        display_name,
        created_at,
        line,
        max_input_tokens: 1_000_000,
        max_tokens: 128_000,
        lifecycle: Lifecycle::Active,
        fast: Fast::No,
    }
}

const fn small(model: Model, alias: &'static str) -> Model {
    Model { alias, max_input_tokens: 200_000, max_tokens: 64_000, ..model }
}

const fn fast(model: Model, fast: Fast) -> Model {
    Model { fast, ..model }
}

const fn lifecycle(model: Model, lifecycle: Lifecycle) -> Model {
    Model { lifecycle, ..model }
}

/// Newest first, as the API lists them.
const CATALOG: &[Model] = &[
    fast(row("claude-fable-5-2", "Claude Fable 5.2", "2026-10-28T00:00:00Z", "fable"), Fast::Yes),
    row("claude-mythos-5-2", "Claude Mythos 5.2", "2026-10-28T00:00:00Z", "mythos"),
    fast(row("claude-opus-5-5", "Claude Opus 5.5", "2026-10-07T00:00:00Z", "opus"), Fast::Yes),
    row("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-10-07T00:00:00Z", "sonnet"),
    row("claude-haiku-5-5", "Claude Haiku 5.5", "2026-09-22T00:00:00Z", "haiku"),
    row("claude-fable-5-1", "Claude Fable 5.1", "2026-08-31T00:00:00Z", "fable"),
    row("claude-mythos-5-1", "Claude Mythos 5.1", "2026-08-31T00:00:00Z", "mythos"),
    row("claude-fable-5", "Claude Fable 5", "2026-07-14T00:00:00Z", "fable"),
    row("claude-mythos-5", "Claude Mythos 5", "2026-07-14T00:00:00Z", "mythos"),
    fast(row("claude-opus-5", "Claude Opus 5", "2026-06-16T00:00:00Z", "opus"), Fast::WithBeta),
    row("claude-sonnet-5", "Claude Sonnet 5", "2026-06-16T00:00:00Z", "sonnet"),
    fast(row("claude-opus-4-8", "Claude Opus 4.8", "2026-05-12T00:00:00Z", "opus"), Fast::WithBeta),
    row("claude-opus-4-7", "Claude Opus 4.7", "2026-04-14T00:00:00Z", "opus"),
    row("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-02-17T00:00:00Z", "sonnet"),
    row("claude-opus-4-6", "Claude Opus 4.6", "2026-02-05T00:00:00Z", "opus"),
    small(
        row("claude-opus-4-5-20251101", "Claude Opus 4.5", "2025-11-24T00:00:00Z", "opus"),
        "claude-opus-4-5",
    ),
    small(
        row("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "2025-10-15T00:00:00Z", "haiku"),
        "claude-haiku-4-5",
    ),
    lifecycle(
        small(
            row("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "2025-09-29T00:00:00Z", "sonnet"),
            "claude-sonnet-4-5",
        ),
        Lifecycle::Deprecated,
    ),
    lifecycle(
        small(
            row("claude-opus-4-1-20250805", "Claude Opus 4.1", "2025-08-05T00:00:00Z", "opus"),
            "claude-opus-4-1",
        ),
        Lifecycle::Retired,
    ),
];

/// The model that `name` (id or alias) means; `None` when no such model answers.
pub(crate) fn served(name: &str) -> Option<&'static Model> {
    find(name).filter(|model| model.lifecycle != Lifecycle::Retired)
}

fn find(name: &str) -> Option<&'static Model> {
    CATALOG.iter().find(|model| model.id == name || (!model.alias.is_empty() && model.alias == name))
}

impl Model {
    /// Whether fast mode works with these betas.
    pub(crate) fn can_be_fast(&self, betas: &str) -> bool {
        match self.fast {
            Fast::Yes => true,
            Fast::WithBeta => betas.contains("fast-mode-2026-02-01"),
            Fast::No => false,
        }
    }

    fn json(&self, new_shape: bool) -> String {
        let mut json = format!(
            r#"{{"id":"{}","type":"model","display_name":"{}","created_at":"{}""#,
            self.id, self.display_name, self.created_at
        );
        if new_shape {
            let (deprecated_at, retires_at) = match self.lifecycle {
                Lifecycle::Active => ("null", "null"),
                Lifecycle::Deprecated => ("\"2026-06-30T00:00:00Z\"", "\"2026-11-30T00:00:00Z\""),
                Lifecycle::Retired => ("\"2026-02-05T00:00:00Z\"", "\"2026-08-05T00:00:00Z\""),
            };
            let _ = write!(
                json,
                r#","max_input_tokens":{},"max_tokens":{},"capabilities":{{"batch":{{"supported":true}},"citations":{{"supported":true}},"image_input":{{"supported":true}},"pdf_input":{{"supported":true}},"thinking":{{"supported":true}}}},"line":"{}","lifecycle":"{}","deprecated_at":{deprecated_at},"retires_at":{retires_at}"#,
                self.max_input_tokens,
                self.max_tokens,
                self.line,
                self.lifecycle.name(),
            );
        }
        json.push('}');
        json
    }
}

/// A model that the operator of the simulator added.
fn extra_json(id: &str) -> String {
    let id = quoted(id);
    format!(r#"{{"id":{id},"type":"model","display_name":{id},"created_at":"2026-11-01T00:00:00Z"}}"#)
}

/// `GET /v1/models/{id}`.
pub(crate) fn get(name: &str, extra: &[String], new_shape: bool) -> Result<String, ApiError> {
    if let Some(model) = find(name).filter(|model| new_shape || model.lifecycle != Lifecycle::Retired) {
        return Ok(model.json(new_shape));
    }
    extra
        .iter()
        .find(|id| *id == name)
        .map(|id| extra_json(id))
        .ok_or_else(|| ApiError::not_found(format!("model: {name}")))
}

/// `GET /v1/models`, with `lifecycle[]` filters of the query.
pub(crate) fn list(query: &PageQuery, extra: &[String], new_shape: bool) -> Result<String, ApiError> {
    let wanted = query.all("lifecycle[]");
    let shown = |model: &&Model| {
        if wanted.is_empty() {
            model.lifecycle != Lifecycle::Retired
        } else {
            wanted.iter().any(|name| *name == model.lifecycle.name())
        }
    };
    let rows = extra
        .iter()
        .map(|id| (id.clone(), extra_json(id)))
        .chain(CATALOG.iter().filter(shown).map(|model| (model.id.to_owned(), model.json(new_shape))))
        .collect();
    Page::of(rows, query).map(|page| page.json())
}
