//! What to do: each rule with its threshold. A rule speaks of a group only when it has enough calls to judge by, and of
//! the whole only through its groups.

use serde::Serialize;

use super::{Figures, StageTime};

/// Calls that a group must have before anything is said of it.
pub const ENOUGH: u64 = 20;
/// Prompt-cache hit rate below which caching is worth a look.
pub const LOW_HIT_RATE: f64 = 0.30;
/// Mean latency above which it is slow, in milliseconds.
pub const SLOW_MEAN_MS: f64 = 2_000.0;
/// Share of errors above which something is wrong.
pub const MANY_ERRORS: f64 = 0.05;
/// Share of calls that took more than one try, above which capacity is missing.
pub const MANY_RETRIES: f64 = 0.05;
/// How many times the median the slowest hundredth may take.
pub const LONG_TAIL: f64 = 10.0;
/// Tokens of input a call, on average, from which on prompt caching is worth its writes.
pub const CACHEABLE_INPUT: u64 = 2_000;
/// Mean time of our own in a stage, in milliseconds, above which it is worth a look.
pub const SLOW_STAGE_MS: f64 = 10.0;
/// Stages that wait for others: the client that sends its body, the provider, the end of a stream.
const WAITING: [&str; 3] = ["authorize", "forward", "relay"];

/// Why something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// [`LOW_HIT_RATE`]
    LowPromptCacheHitRate,
    /// [`SLOW_MEAN_MS`]
    HighLatency,
    /// [`MANY_ERRORS`]
    HighErrorRate,
    /// [`MANY_RETRIES`]
    ManyRetries,
    /// [`LONG_TAIL`]
    LongTail,
    /// [`SLOW_STAGE_MS`]
    SlowStage,
}

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Which rule.
    pub rule: Rule,
    /// The group, or the stage.
    pub about: String,
    /// The figure, its threshold, and what to do.
    pub text: String,
}

/// Everything that there is to say.
pub(super) fn advise(total: &Figures, groups: &[Figures], stages: &[StageTime]) -> Vec<Advice> {
    let mut advice = Vec::new();
    let judged: Vec<&Figures> = groups.iter().filter(|group| group.requests >= ENOUGH).collect();
    // Where no group has enough calls, all of them together may.
    let whole = (judged.is_empty() && total.requests >= ENOUGH).then_some(total);
    for group in judged.into_iter().chain(whole) {
        let rules = [cache(group), latency(group), errors(group), retries(group), tail(group)];
        let said = rules.into_iter().flatten();
        advice.extend(said.map(|(rule, text)| Advice { rule, about: group.group.clone(), text }));
    }
    advice.extend(stages.iter().filter_map(stage));
    advice
}

type Said = Option<(Rule, String)>;

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn cache(group: &Figures) -> Said {
    let rate = group.prompt_cache_hit_rate;
    let is_worth_it = group.input_tokens / group.requests.max(1) >= CACHEABLE_INPUT;
    (is_worth_it && rate < LOW_HIT_RATE).then(|| {
        let text = format!(
            "{} of the input was read from the prompt cache, below {}: mark what stays the same (tools, system, earlier \
             turns) with cache_control and keep it byte for byte, changing parts last",
            percent(rate),
            percent(LOW_HIT_RATE)
        );
        (Rule::LowPromptCacheHitRate, text)
    })
}

fn latency(group: &Figures) -> Said {
    let (mean, first) = (group.latency.mean_ms, group.first_byte.mean_ms);
    (mean > SLOW_MEAN_MS).then(|| {
        let what = if first * 2.0 > mean {
            "most of it passes before the first byte: shorter or cached prompts, or a smaller model, answer sooner"
        } else {
            "most of it is the answer itself: stream it, ask for less output, or use fast mode or a smaller model"
        };
        let text = format!("mean latency is {mean:.0} ms, above {SLOW_MEAN_MS:.0} ms; {what}");
        (Rule::HighLatency, text)
    })
}

fn errors(group: &Figures) -> Said {
    let most = group.errors_by_outcome.iter().max_by_key(|(_, count)| **count);
    (group.error_rate > MANY_ERRORS).then(|| {
        let what = match most.map(|(outcome, _)| *outcome) {
            Some("upstream_error") => {
                "most are the provider's own answers: look at their types in the ledger, spread the load over more \
                 credentials, or lower limits"
            }
            Some("unreachable" | "upstream_cut") => {
                "most are lost connections: look at the way to the provider and at its status page"
            }
            Some("cut") => "most were cut here: keys were revoked, or budgets reached, in the middle of streams",
            Some("unknown") => "most had no known end: nodes died with calls in flight",
            Some(_) | None => "look at the ledger for the reasons",
        };
        let text =
            format!("{} of the calls failed, above {}; {what}", percent(group.error_rate), percent(MANY_ERRORS));
        (Rule::HighErrorRate, text)
    })
}

fn retries(group: &Figures) -> Said {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = group.retried as f64 / group.requests.max(1) as f64;
    (rate > MANY_RETRIES).then(|| {
        let text = format!(
            "{} of the calls took more than one try, above {}: the provider has too little room for them; add a \
             credential or lower the keys' limits",
            percent(rate),
            percent(MANY_RETRIES)
        );
        (Rule::ManyRetries, text)
    })
}

fn tail(group: &Figures) -> Said {
    let (p50, p99) = (group.latency.p50_ms, group.latency.p99_ms);
    (p99 > p50 * LONG_TAIL && p99 > SLOW_MEAN_MS).then(|| {
        let text = format!(
            "one call in a hundred takes {p99:.0} ms or more, over {LONG_TAIL:.0} times the median of {p50:.0} ms: \
             kinds of work are mixed; give long work a key of its own, or a batch"
        );
        (Rule::LongTail, text)
    })
}

fn stage(stage: &StageTime) -> Option<Advice> {
    let is_ours = !WAITING.contains(&stage.stage.as_str());
    (is_ours && stage.count >= ENOUGH && stage.mean_ms > SLOW_STAGE_MS).then(|| Advice {
        rule: Rule::SlowStage,
        about: stage.stage.clone(),
        text: format!(
            "this stage takes {:.1} ms of Claviger's own on average, above {SLOW_STAGE_MS:.0} ms: calls wait here for a \
             free place or for the database",
            stage.mean_ms
        ),
    })
}
