//! What the simulated provider charges: written from its published price list, apart from the table that the gateway
//! prices with, so that each can be held against the other.

use serde_json::Value;

use super::books::Counts;

/// Tenths of a cent per million tokens: input, one-hour write, five-minute write, read, output.
type Rates = [u64; 5];

/// Model, rates, rates of fast mode (none: twice the others), whether inference in the US costs more.
const LIST: [(&str, Rates, Option<Rates>, bool); 13] = [
    (
        "claude-fable-5-2",
        [8_000, 16_000, 10_000, 200, 40_000],
        Some([16_000, 32_000, 20_000, 400, 80_000]),
        true,
    ),
    ("claude-fable-5-1", [10_000, 20_000, 12_500, 250, 50_000], None, true),
    ("claude-fable-5", [10_000, 20_000, 12_500, 1_000, 50_000], None, true),
    ("claude-opus-5-5", [4_000, 8_000, 5_000, 200, 20_000], Some([8_000, 16_000, 10_000, 400, 40_000]), true),
    ("claude-opus-4-5", [5_000, 10_000, 6_250, 500, 25_000], None, false),
    ("claude-opus-4-1", [15_000, 30_000, 18_750, 1_500, 75_000], None, false),
    (
        "claude-opus-",
        [5_000, 10_000, 6_250, 500, 25_000],
        Some([10_000, 20_000, 12_500, 1_000, 50_000]),
        true,
    ),
    ("claude-sonnet-5-5", [2_000, 4_000, 2_500, 100, 10_000], None, true),
    ("claude-sonnet-5", [2_000, 4_000, 2_500, 200, 10_000], None, true),
    ("claude-sonnet-4-5", [3_000, 6_000, 3_750, 300, 15_000], None, false),
    ("claude-sonnet-", [3_000, 6_000, 3_750, 300, 15_000], None, true),
    ("claude-haiku-5-5", [100, 200, 125, 10, 500], None, true),
    ("claude-haiku-4-5", [1_000, 2_000, 1_250, 100, 5_000], None, false),
];
/// The model whose large prompts cost five times as much, and from how many tokens on.
const BANDED: (&str, u64) = ("claude-haiku-5-5", 100_000);
/// A web search: a cent.
const SEARCH_PICO: u64 = 10_000_000_000;
/// A tenth of a cent per million tokens, in pico-dollars per token.
const UNIT_PICO: u64 = 1_000;

/// What one answer costs, by the classes of [`Counts::classes`]; models that are not on the list are free.
pub(super) fn bill(model: &str, usage: &Value, count: fn(&Value) -> Counts) -> [u64; 6] {
    let mut pico = [0; 6];
    let is_fast = usage["speed"] == "fast";
    let is_us = usage["inference_geo"] == "us";
    let iterations = usage["iterations"].as_array().filter(|all| !all.is_empty());
    let alone = [usage.clone()];
    for part in iterations.map_or(alone.as_slice(), Vec::as_slice) {
        let model = part["model"].as_str().unwrap_or(model);
        let counts = count(part);
        for (sum, more) in pico.iter_mut().zip(tokens(model, &counts, is_fast, is_us)) {
            *sum += more;
        }
    }
    if usage["service_tier"] == "batch" {
        pico.iter_mut().for_each(|sum| *sum /= 2);
    }
    pico[5] = SEARCH_PICO * usage["server_tool_use"]["web_search_requests"].as_u64().unwrap_or(0);
    pico
}

fn tokens(model: &str, counts: &Counts, is_fast: bool, is_us: bool) -> [u64; 5] {
    let model = model.replace("mythos", "fable");
    let Some((name, rates, fast, has_geography)) = LIST.iter().find(|(name, ..)| model.starts_with(name))
    else {
        return [0; 5];
    };
    let classes = counts.classes();
    let prompt: u64 = classes.iter().take(4).sum();
    let times = match (is_fast, fast) {
        (true, None) => 2,
        (false, _) if *name == BANDED.0 && prompt > BANDED.1 => 5,
        (true, Some(_)) | (false, _) => 1,
    };
    let rates = fast.filter(|_| is_fast).unwrap_or(*rates);
    let mut pico = [0; 5];
    for ((sum, rate), count) in pico.iter_mut().zip(rates).zip(classes) {
        let plain = rate * UNIT_PICO * times * count;
        *sum = if is_us && *has_geography { plain / 10 * 11 } else { plain };
    }
    pico
}
