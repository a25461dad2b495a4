//! The most that a call can cost, worked out before it is made. What nothing bounds is named, so that a hard budget
//! can refuse it.

use std::fmt;

use super::{CallKind, PriceTable, Row, row::Readings};
use crate::exposure::{Exposure, TypedTool};

/// What kind of thing is classed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// A field of the request.
    Field,
    /// A tool, by its `type`.
    Tool,
    /// A word in `anthropic-beta`.
    Beta,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Field => "field",
            Self::Tool => "tool",
            Self::Beta => "beta",
        })
    }
}

/// What something does to the most that a call can cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nothing beyond its own bytes and `max_tokens`.
    Free,
    /// The prompt can be as large as the model's context window.
    Window,
    /// Each use of the tool is one more reading of a prompt that can fill the window; its `max_uses` says how many.
    Bounded,
    /// Nothing in the request says how much it costs.
    Unbounded,
}

/// One line of the classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classed {
    /// What kind of thing.
    pub of: Feature,
    /// Its name, or the beginning of it and a `*`.
    pub name: Box<str>,
    /// What it does.
    pub class: Class,
    /// Each use is a web search.
    pub searches: bool,
    /// An operator's word for what it costs a call at most, beside tokens, in pico-dollars: taken instead of a refusal.
    pub surcharge_pico: Option<i128>,
}

impl Classed {
    fn matches(&self, of: Feature, name: &str) -> bool {
        self.of == of
            && match self.name.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => *self.name == *name,
            }
    }
}

/// A call about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The model that is asked.
    pub model: &'a str,
    /// The length of its parameters, in bytes.
    pub body_len: u64,
    /// `max_tokens`
    pub max_tokens: Option<u64>,
    /// What its parameters hold beside text.
    pub exposure: &'a Exposure,
    /// By itself or in a batch.
    pub kind: CallKind,
}

/// Nothing says what a call costs at most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unbounded {
    /// Something that is not known, or known to have no bound.
    #[error("{of} `{name}`: what it costs has no bound, which a hard budget does not allow")]
    Named {
        /// What kind of thing.
        of: Feature,
        /// Its name.
        name: Box<str>,
    },
    /// A tool that can be used as often as the model likes.
    #[error("tools: `{name}` needs `max_uses`, so that what it costs has a bound, as a hard budget demands")]
    MaxUses {
        /// The tool's type.
        name: Box<str>,
    },
    /// More tools or fields than are looked at.
    #[error("the request has too many tools or fields for its cost to be bounded, as a hard budget demands")]
    TooMany,
}

/// What the request's features come to.
#[derive(Default)]
struct Plan {
    window: bool,
    /// Uses of tools that read the prompt once more.
    uses: u64,
    searches: u64,
    pico: i128,
}

impl PriceTable {
    /// The most that a call can cost, in pico-dollars: for each model that may be asked, the dearest input rate for all
    /// that its prompt can hold and the dearest output rate for `max_tokens`, as often as tools make it read again.
    /// `betas` are the words of `anthropic-beta`. Price the call at the same time, so that a new price cannot come in
    /// between.
    ///
    /// # Errors
    /// [`Unbounded`] names what has no bound.
    pub fn ceiling<'b>(
        &self,
        call: &Call<'_>,
        betas: impl IntoIterator<Item = &'b str>,
        at_unix_micros: i64,
    ) -> Result<i128, Unbounded> {
        let mut plan = Plan { window: call.exposure.whole_window, ..Plan::default() };
        if call.exposure.overflows {
            return Err(Unbounded::TooMany);
        }
        for name in &call.exposure.features {
            self.weigh(&mut plan, Feature::Field, name)?;
        }
        for name in betas {
            self.weigh(&mut plan, Feature::Beta, name)?;
        }
        for tool in &call.exposure.tools {
            self.weigh_tool(&mut plan, tool, at_unix_micros)?;
        }
        let fallbacks = call.exposure.fallbacks.iter().map(|model| &**model);
        let tokens = std::iter::once(call.model).chain(fallbacks).fold(0_i128, |sum, model| {
            let cost = self.with_row(model, at_unix_micros, |row| self.reading(row, call, &plan));
            sum.saturating_add(cost)
        });
        let tokens = tokens.saturating_add(plan.pico);
        let tokens = match call.kind {
            CallKind::Single => tokens,
            CallKind::Batch => tokens.saturating_add(1) / 2,
        };
        Ok(tokens.saturating_add(self.web_search_pico.saturating_mul(i128::from(plan.searches))))
    }

    /// The class of something; what is not listed has no bound.
    #[must_use]
    pub fn classed(&self, of: Feature, name: &str) -> Option<&Classed> {
        self.classes.iter().find(|classed| classed.matches(of, name))
    }

    fn weigh(&self, plan: &mut Plan, of: Feature, name: &str) -> Result<(), Unbounded> {
        let classed = self.classed(of, name);
        match classed.map_or(Class::Unbounded, |classed| classed.class) {
            Class::Free => Ok(()),
            Class::Window => {
                plan.window = true;
                Ok(())
            }
            Class::Bounded | Class::Unbounded => {
                let surcharge = classed.and_then(|classed| classed.surcharge_pico);
                let surcharge = surcharge.ok_or_else(|| Unbounded::Named { of, name: name.into() })?;
                plan.pico = plan.pico.saturating_add(surcharge);
                Ok(())
            }
        }
    }

    fn weigh_tool(&self, plan: &mut Plan, tool: &TypedTool, at: i64) -> Result<(), Unbounded> {
        let classed = self.classed(Feature::Tool, &tool.kind).filter(|c| c.class == Class::Bounded);
        let Some(classed) = classed else { return self.weigh(plan, Feature::Tool, &tool.kind) };
        let Some(uses) = tool.max_uses else {
            let surcharge =
                classed.surcharge_pico.ok_or_else(|| Unbounded::MaxUses { name: tool.kind.clone() })?;
            plan.pico = plan.pico.saturating_add(surcharge);
            return Ok(());
        };
        plan.uses = plan.uses.saturating_add(uses);
        if classed.searches {
            plan.searches = plan.searches.saturating_add(uses);
        }
        if let Some(model) = &tool.model {
            let once = self.with_row(model, at, |row| row.worst_case(row.context_window, None));
            plan.pico = plan.pico.saturating_add(once.saturating_mul(i128::from(uses)));
        }
        Ok(())
    }

    /// What one model's part of a call can cost.
    fn reading(&self, row: &Row, call: &Call<'_>, plan: &Plan) -> i128 {
        let Exposure { images, image_bytes, .. } = call.exposure;
        let text = call.body_len.saturating_sub(*image_bytes);
        let prompt = text
            .saturating_add(images.saturating_mul(self.image_tokens))
            .saturating_add(self.overhead_tokens);
        let prompt = if plan.window || plan.uses > 0 { row.context_window } else { prompt };
        let any_speed = call.exposure.features.iter().any(|name| &**name == "speed");
        let readings = Readings { prompt, times: plan.uses.saturating_add(1), any_speed };
        row.worst_readings(readings, call.max_tokens)
    }

    fn with_row(&self, model: &str, at: i64, cost: impl Fn(&Row) -> i128) -> i128 {
        match self.row(model, at) {
            Some(row) => cost(row),
            None => self.unlisted(at).map(|(_, row)| cost(&row)).unwrap_or_default(),
        }
    }
}
