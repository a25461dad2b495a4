//! `claviger calibrate`

use std::{fs, time::Duration};

use clap::Args;
use claviger_claude_wire::content;
use claviger_domain::{
    estimate::{Content, Estimator},
    token::KeyClass,
};
use claviger_gateway::outlook::units;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Context,
    gateway::{Gateway, NotDone},
    holder::HolderArgs,
    output::{CliError, Columns},
};

/// Prompts of each kind that are counted, and how many of them are learned from.
const PROMPTS: usize = 6;
const LESSONS: usize = 3;
/// Tries of one prompt, and the pause between them: limits of a minute pass.
const TRIES: u32 = 40;
const PATIENCE: Duration = Duration::from_secs(3);
/// Where the table is kept, in the data folder.
const FILE: &str = "calibration.json";
/// What is counted, by kind.
const TEXTS: [(&str, &str); 11] = [
    ("English", include_str!("calibrate/texts/english.txt")),
    ("German", include_str!("calibrate/texts/german.txt")),
    ("French", include_str!("calibrate/texts/french.txt")),
    ("Spanish", include_str!("calibrate/texts/spanish.txt")),
    ("Russian", include_str!("calibrate/texts/russian.txt")),
    ("Arabic", include_str!("calibrate/texts/arabic.txt")),
    ("Hindi", include_str!("calibrate/texts/hindi.txt")),
    ("Chinese", include_str!("calibrate/texts/chinese.txt")),
    ("Japanese", include_str!("calibrate/texts/japanese.txt")),
    ("Korean", include_str!("calibrate/texts/korean.txt")),
    ("code", include_str!("calibrate/texts/code.txt")),
];

/// `calibrate`
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    #[command(flatten)]
    holder: HolderArgs,
    /// A model whose tokens are counted; more than once: each
    #[arg(long = "model", value_name = "MODEL", default_value = "claude-opus-5-5")]
    models: Vec<String>,
}

const COLUMNS: Columns = &[
    ("MODEL", "model"),
    ("CONTENT", "content"),
    ("PROMPTS", "prompts"),
    ("BEFORE: OVER P50 %", "before_over_p50"),
    ("P95 %", "before_over_p95"),
    ("UNDER P50 %", "before_under_p50"),
    ("P95 %", "before_under_p95"),
    ("AFTER: OVER P50 %", "after_over_p50"),
    ("P95 %", "after_over_p95"),
    ("UNDER P50 %", "after_under_p50"),
    ("P95 %", "after_under_p95"),
];

/// Has the provider count prompts, which is free, and prints how far estimates of them are off, before and after they
/// were learned from. The gateway learns from them, too, for the key that they are counted with.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: &CalibrateArgs) -> Result<(), CliError> {
    let (gateway, key) = Gateway::find(context, &args.holder)?;
    if key.class() == KeyClass::Test {
        return Err(CliError::usage(
            "a test key is answered by the simulator, whose counts are its own: calibrate with a live key",
        ));
    }
    let mut rows = Vec::new();
    for model in &args.models {
        rows.extend(table(&gateway, model)?);
    }
    let rows = Value::Array(rows);
    if let Some(folder) = context.data_folder().ok().filter(|folder| folder.is_dir()) {
        let file = folder.join(FILE);
        let failed = |e: std::io::Error| CliError::failed(format!("{}: {e}", file.display()));
        fs::write(&file, format!("{rows:#}\n")).map_err(failed)?;
        context.out.note(&format!("kept in {}", file.display()));
    }
    context.out.rows(COLUMNS, &rows);
    Ok(())
}

/// The table of one model.
fn table(gateway: &Gateway, model: &str) -> Result<Vec<Value>, CliError> {
    let mut known = Estimator::default();
    let mut counted = Vec::new();
    for (name, prompts) in prompts(model) {
        let cases = prompts.iter().map(|prompt| count(gateway, prompt)).collect::<Result<Vec<_>, _>>()?;
        cases.iter().take(LESSONS).for_each(|(content, tokens)| known.learn_tokens(content, *tokens));
        counted.push((name, cases));
    }
    let all: Vec<Case> = counted.iter().flat_map(|(_, cases)| cases.clone()).collect();
    let rest: Vec<Case> = counted.iter().flat_map(|(_, cases)| cases.iter().skip(LESSONS).copied()).collect();
    let mut rows: Vec<Value> = counted
        .iter()
        .map(|(name, cases)| row((model, name), &known, cases, cases.get(LESSONS..).unwrap_or_default()))
        .collect();
    rows.push(row((model, "all"), &known, &all, &rest));
    Ok(rows)
}

type Case = (Content, u64);

fn row((model, name): (&str, &str), known: &Estimator, all: &[Case], rest: &[Case]) -> Value {
    let (before, after) = (off(&Estimator::default(), all), off(known, rest));
    json!({
        "model": model,
        "content": name,
        "prompts": all.len(),
        "before_over_p50": share(&before, 1.0, 50),
        "before_over_p95": share(&before, 1.0, 95),
        "before_under_p50": share(&before, -1.0, 50),
        "before_under_p95": share(&before, -1.0, 95),
        "after_over_p50": share(&after, 1.0, 50),
        "after_over_p95": share(&after, 1.0, 95),
        "after_under_p50": share(&after, -1.0, 50),
        "after_under_p95": share(&after, -1.0, 95),
    })
}

/// By how much estimates are off, as parts of what is true.
#[expect(clippy::cast_precision_loss, reason = "prompts have few tokens")]
fn off(known: &Estimator, cases: &[Case]) -> Vec<f64> {
    cases.iter().map(|(content, tokens)| known.tokens(content) / (*tokens).max(1) as f64 - 1.0).collect()
}

/// What so many in a hundred are over (1) or under (-1) at most, in per cent with one digit.
fn share(off: &[f64], sign: f64, rank: usize) -> f64 {
    let mut all: Vec<f64> = off.iter().map(|off| (off * sign).max(0.0)).collect();
    all.sort_by(f64::total_cmp);
    let at = (all.len() * rank).div_ceil(100).max(1) - 1;
    (all.get(at).copied().unwrap_or_default() * 1_000.0).round() / 10.0
}

/// Prompts by kind: some lines of the text, and of tools some.
fn prompts(model: &str) -> Vec<(&'static str, Vec<Value>)> {
    let say = |text: String| json!({"model": model, "messages": [{"role": "user", "content": text}]});
    let of_text = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        let some = |number: usize| {
            let count = 1 + number * 7;
            lines.iter().cycle().skip(number).take(count).copied().collect::<Vec<_>>().join("\n")
        };
        (0..PROMPTS).map(some).map(say).collect()
    };
    let with_tools = |number: usize| {
        let tools: Vec<Value> = (0..=number * 3).map(tool).collect();
        json!({"model": model, "tools": tools, "messages": [{"role": "user", "content": "Look it up."}]})
    };
    let texts = TEXTS.iter().map(|(name, text)| (*name, of_text(text)));
    texts.chain([("tools", (0..PROMPTS).map(with_tools).collect())]).collect()
}

fn tool(number: usize) -> Value {
    json!({
        "name": format!("look_up_{number}"),
        "description": "Looks a customer up by name, number or address, and says what was ordered when.",
        "input_schema": {"type": "object", "required": ["query"], "properties": {
            "query": {"type": "string", "description": "What to look for"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 100},
        }},
    })
}

fn count(gateway: &Gateway, prompt: &Value) -> Result<Case, CliError> {
    let body = prompt.to_string();
    let content = content::Content::read(body.as_bytes()).map_err(|e| CliError::failed(e.to_string()))?;
    let counted = counted(gateway, prompt)?;
    let tokens = counted["input_tokens"].as_u64();
    let tokens = tokens.ok_or_else(|| CliError::failed("the answer is no count of tokens"))?;
    Ok((units(&content), tokens))
}

/// Has it counted; where the gateway or the provider asks for patience, again after a while.
fn counted(gateway: &Gateway, prompt: &Value) -> Result<Value, NotDone> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match gateway.count_tokens(prompt) {
            Err(NotDone::Refused { status: StatusCode::TOO_MANY_REQUESTS, .. }) if left > 0 => {
                std::thread::sleep(PATIENCE);
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_taken_by_rank_and_one_side_at_a_time() {
        let off = [-0.2, -0.1, 0.0, 0.1, 0.333];
        assert_eq!([share(&off, 1.0, 50), share(&off, 1.0, 95)], [0.0, 33.3]);
        assert_eq!([share(&off, -1.0, 50), share(&off, -1.0, 95)], [0.0, 20.0]);
        assert_eq!(share(&[], 1.0, 95), 0.0);
    }

    #[test]
    fn every_kind_has_its_prompts_and_all_of_them_differ() {
        let all = prompts("m");
        assert_eq!(all.len(), TEXTS.len() + 1);
        let mut texts: Vec<String> = all.iter().flat_map(|(_, p)| p.iter().map(Value::to_string)).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), all.len() * PROMPTS);
    }
}
