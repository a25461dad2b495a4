use super::*;
use crate::usage::{Iteration, Speed};
use proptest::prelude::*;
use std::fmt::Write;

/// 2026-11-22T00:00:00Z
const NOW: i64 = 1_795_305_600_000_000;
/// 2026-10-06T23:59:59.999999Z
const BEFORE_OCTOBER_7: i64 = 1_791_331_199_999_999;

fn counts(input: u64, output: u64) -> TokenCounts {
    TokenCounts { input, output, ..TokenCounts::default() }
}

fn usage(counts: TokenCounts) -> Usage {
    Usage { counts, ..Usage::default() }
}

#[test]
fn the_builtin_table_is_the_reference_table() {
    let mut text = String::new();
    let mtok = |rates: &Rates| {
        [rates.input, rates.output, rates.cache_write_5m, rates.cache_write_1h, rates.cache_read]
            .map(|pico| format!("{}", pico as f64 / 1e6))
            .join(" ")
    };
    for row in PriceTable::builtin().rows() {
        let from = row.from_micros.map_or(String::new(), |m| format!(" from day {}", m / MICROS_PER_DAY));
        let geo = if row.geography { " geo" } else { "" };
        let (id, window, out, status) = (&row.id, row.context_window, row.max_output, row.status);
        writeln!(text, "{id}{from}: {window}/{out}{geo} {status:?}: {}", mtok(&row.rates)).unwrap();
        if let Some(fast) = &row.fast {
            writeln!(text, "  fast: {}", mtok(fast)).unwrap();
        }
        if let Some(band) = &row.band {
            writeln!(text, "  above {}: {}", band.above, mtok(&band.rates)).unwrap();
        }
    }
    insta::assert_snapshot!(text, @"
    claude-3-5-haiku: 200000/8000 Retired: 0.8 4 1 1.6 0.08
    claude-3-7-sonnet: 200000/64000 Retired: 3 15 3.75 6 0.3
    claude-fable-5: 1000000/128000 geo Active: 10 50 12.5 20 1
    claude-fable-5-1: 1000000/128000 geo Active: 10 50 12.5 20 0.25
    claude-fable-5-2: 1000000/128000 geo Active: 8 40 10 16 0.2
      fast: 16 80 20 32 0.4
    claude-haiku-4-5: 200000/64000 Active: 1 5 1.25 2 0.1
    claude-haiku-5-5: 1000000/128000 geo Active: 0.1 0.5 0.125 0.2 0.01
      above 100000: 0.5 2.5 0.625 1 0.05
    claude-mythos-5: 1000000/128000 geo Active: 10 50 12.5 20 1
    claude-mythos-5-1: 1000000/128000 geo Active: 10 50 12.5 20 0.25
    claude-mythos-5-2: 1000000/128000 geo Active: 8 40 10 16 0.2
    claude-opus-4: 200000/32000 Retired: 15 75 18.75 30 1.5
    claude-opus-4-1: 200000/32000 Retired: 15 75 18.75 30 1.5
    claude-opus-4-5: 200000/64000 Active: 5 25 6.25 10 0.5
    claude-opus-4-6: 1000000/128000 geo Active: 5 25 6.25 10 0.5
    claude-opus-4-7: 1000000/128000 geo Active: 5 25 6.25 10 0.5
    claude-opus-4-8: 1000000/128000 geo Active: 5 25 6.25 10 0.5
      fast: 10 50 12.5 20 1
    claude-opus-5: 1000000/128000 geo Active: 5 25 6.25 10 0.5
      fast: 10 50 12.5 20 1
    claude-opus-5-5: 1000000/128000 geo Active: 4 20 5 8 0.2
      fast: 8 40 10 16 0.4
    claude-sonnet-4: 200000/64000 Retired: 3 15 3.75 6 0.3
      above 200000: 6 22.5 7.5 12 0.6
    claude-sonnet-4-5: 200000/64000 Deprecated: 3 15 3.75 6 0.3
      above 200000: 6 22.5 7.5 12 0.6
    claude-sonnet-4-6: 1000000/128000 geo Active: 3 15 3.75 6 0.3
    claude-sonnet-5: 1000000/128000 geo Active: 2 10 2.5 4 0.2
    claude-sonnet-5-5: 1000000/128000 geo Active: 2 10 2.5 4 0.2
    claude-sonnet-5-5 from day 20733: 1000000/128000 geo Active: 2 10 2.5 4 0.1
    ");
}

#[test]
fn a_call_costs_what_claude_code_computes() {
    let table = PriceTable::builtin();
    let cost = table.cost("claude-opus-5-5", &usage(counts(25, 12)), CallKind::Single, NOW);
    assert_eq!(cost, Cost { pico: 340_000_000, priced_as: "claude-opus-5-5", unknown_model: false });
}

#[test]
fn every_class_has_its_own_rate() {
    let table = PriceTable::builtin();
    let all =
        TokenCounts { input: 1, cache_write_5m: 10, cache_write_1h: 100, cache_read: 1_000, output: 10_000 };
    let cost = table.cost("claude-opus-5", &usage(all), CallKind::Single, NOW);
    assert_eq!(cost.pico, 5_000_000 + 62_500_000 + 1_000_000_000 + 500_000_000 + 250_000_000_000);
}

#[test]
fn a_price_changes_at_its_date() {
    let table = PriceTable::builtin();
    let read = usage(TokenCounts { cache_read: 10, ..TokenCounts::default() });
    let pico = |at| table.cost("claude-sonnet-5-5", &read, CallKind::Single, at).pico;
    assert_eq!(pico(BEFORE_OCTOBER_7), 2_000_000);
    assert_eq!(pico(BEFORE_OCTOBER_7 + 1), 1_000_000);
    assert_eq!(pico(i64::MIN), 2_000_000);
}

#[test]
fn the_band_is_measured_by_the_whole_prompt() {
    let table = PriceTable::builtin();
    let with_reads = |cache_read| usage(TokenCounts { input: 10, cache_read, ..TokenCounts::default() });
    let pico = |read| table.cost("claude-haiku-5-5", &with_reads(read), CallKind::Single, NOW).pico;
    assert_eq!(pico(99_990), 10 * 100_000 + 99_990 * 10_000);
    assert_eq!(pico(99_991), 10 * 500_000 + 99_991 * 50_000);
}

#[test]
fn speed_geography_batch_and_searches_multiply_as_documented() {
    let table = PriceTable::builtin();
    let base = counts(20, 0);
    let cost = |change: &dyn Fn(&mut Usage), kind| {
        let mut usage = usage(base);
        change(&mut usage);
        table.cost("claude-opus-5-5", &usage, kind, NOW).pico
    };
    let us: &dyn Fn(&mut Usage) = &|u| u.inference_geo = Some("us".into());
    assert_eq!(cost(&|_| {}, CallKind::Single), 80_000_000);
    assert_eq!(cost(&|u| u.speed = Speed::Fast, CallKind::Single), 160_000_000);
    assert_eq!(cost(us, CallKind::Single), 88_000_000);
    assert_eq!(cost(&|_| {}, CallKind::Batch), 40_000_000);
    assert_eq!(cost(us, CallKind::Batch), 44_000_000);
    assert_eq!(cost(&|u| u.inference_geo = Some("global".into()), CallKind::Single), 80_000_000);
    // A search is $0.01, in a batch too.
    assert_eq!(cost(&|u| u.web_search_requests = 3, CallKind::Batch), 40_000_000 + 30_000_000_000);
    let old = Usage { inference_geo: Some("us".into()), ..usage(base) };
    assert_eq!(table.cost("claude-haiku-4-5", &old, CallKind::Single, NOW).pico, 20_000_000);
}

#[test]
fn iterations_are_billed_each_at_its_own_model_and_band() {
    let table = PriceTable::builtin();
    let iteration = |model: Option<&str>, input| Iteration {
        kind: "message".into(),
        model: model.map(Into::into),
        counts: counts(input, 0),
    };
    let usage = Usage {
        counts: counts(5, 5),
        iterations: vec![
            iteration(None, 100_000),
            iteration(Some("claude-opus-5-5"), 1),
            iteration(Some("new"), 1),
        ],
        ..Usage::default()
    };
    let cost = table.cost("claude-haiku-5-5", &usage, CallKind::Single, NOW);
    assert_eq!(cost.pico, 100_000 * 100_000 + 4_000_000 + 15_000_000);
    assert_eq!((cost.priced_as, cost.unknown_model), ("claude-haiku-5-5", true));
}

#[test]
fn an_unknown_model_costs_the_dearest_row_and_says_so() {
    let table = PriceTable::builtin();
    let cost = |usage: &Usage| table.cost("claude-next-9", usage, CallKind::Single, NOW);
    let plain = cost(&usage(counts(2, 4)));
    assert_eq!(plain, Cost { pico: 330_000_000, priced_as: "claude-opus-4-1", unknown_model: true });
    let fast = Usage { speed: Speed::Fast, ..usage(counts(1, 1)) };
    assert_eq!(cost(&fast).pico, 96_000_000);
    assert_eq!(table.label("claude-next-9"), "other");
}

#[test]
fn fast_mode_without_a_row_is_doubled_and_flagged_as_every_known_fast_row_is_double() {
    let table = PriceTable::builtin();
    for row in table.rows() {
        let Some(fast) = row.fast else { continue };
        let double = |a: i128, b: i128| assert_eq!(a * 2, b, "{}", row.id);
        double(row.rates.input, fast.input);
        double(row.rates.output, fast.output);
        double(row.rates.cache_read, fast.cache_read);
    }
    let fast = Usage { speed: Speed::Fast, ..usage(counts(1, 0)) };
    let cost = table.cost("claude-opus-4-7", &fast, CallKind::Single, NOW);
    assert_eq!(cost, Cost { pico: 10_000_000, priced_as: "claude-opus-4-7", unknown_model: true });
}

#[test]
fn models_are_found_by_id_alias_and_dated_id() {
    let table = PriceTable::builtin();
    let label = |name| table.label(name).to_owned();
    assert_eq!(label("claude-haiku-4-5"), "claude-haiku-4-5");
    assert_eq!(label("claude-haiku-4-5-20251001"), "claude-haiku-4-5");
    assert_eq!(label("claude-3-7-sonnet-latest"), "claude-3-7-sonnet");
    assert_eq!(label("claude-sonnet-4-0"), "claude-sonnet-4");
    assert_eq!(label("claude-sonnet-4-20250514"), "claude-sonnet-4");
    for unknown in ["", "claude", "claude-haiku-4-5-2025", "claude-haiku-4-5-20251001x", "-20251001", "x\"\n"]
    {
        assert_eq!(label(unknown), OTHER, "{unknown}");
    }
}

#[test]
fn an_override_replaces_by_id_and_date_and_adds_the_rest() {
    let row = |id: &str, from: &str, input: &str| {
        format!(
            "[[model]]\nid = \"{id}\"\n{from}\ncontext_window = 10\nmax_output = 10\ngeography = false\n\
             rates = {{ input = \"{input}\", output = \"2\", cache_write_5m = \"1\", cache_write_1h = \"1\", cache_read = \"0.00002\" }}\n"
        )
    };
    let text = [
        "version = \"acme-1\"\nweb_search_per_1000 = \"5\"\n".to_owned(),
        row("claude-sonnet-5-5", "", "7"),
        row("claude-own-1", "", "1"),
        row("claude-opus-5", "from = 2026-11-22", "3"),
    ]
    .concat();
    let table = PriceTable::builtin().with_override(&text).unwrap();
    let pico = |model, at| table.cost(model, &usage(counts(1, 0)), CallKind::Single, at).pico;
    assert_eq!(pico("claude-sonnet-5-5", BEFORE_OCTOBER_7), 7_000_000);
    assert_eq!(pico("claude-sonnet-5-5", NOW), 2_000_000, "the row of another date stays");
    assert_eq!(pico("claude-own-1", NOW), 1_000_000);
    assert_eq!((pico("claude-opus-5", NOW - 1), pico("claude-opus-5", NOW)), (5_000_000, 3_000_000));
    assert_eq!(table.version(), "2026-11-03+acme-1");
    let search = Usage { web_search_requests: 1, ..Usage::default() };
    assert_eq!(table.cost("claude-own-1", &search, CallKind::Single, NOW).pico, 5_000_000_000);
    let read = usage(TokenCounts { cache_read: 1, ..TokenCounts::default() });
    assert_eq!(table.cost("claude-own-1", &read, CallKind::Batch, NOW).pico, 10);
}

#[test]
fn a_bad_file_is_refused_with_its_line_and_column() {
    let good = "[[model]]\nid = \"a\"\ncontext_window = 1\nmax_output = 1\ngeography = true\n\
        rates = { input = \"1\", output = \"1\", cache_write_5m = \"1\", cache_write_1h = \"1\", cache_read = \"1\" }\n";
    let cases = [
        (String::new(), "line 1, column 1: the file prices no model"),
        (good.replace("id =", "name ="), "line 2, column 1: unknown field `name`"),
        (
            good.replace("input = \"1\"", "input = 1.5"),
            "line 6, column 19: invalid type: floating point `1.5`",
        ),
        (good.replace("input = \"1\"", "input = \"1,5\""), "line 6, column 19: `1,5` is not a price"),
        (good.replace("input = \"1\"", "input = \"0.00001\""), "line 6, column 19: `0.00001` is not a price"),
        (good.replace("id = \"a\"", "id = \"a\"\nfrom = 12:00:00"), "line 3, column 8: expected a date"),
        (format!("{good}{good}"), "line 8, column 6: `a` has two rows of the same date"),
        (
            format!("{good}{}", good.replace("id = \"a\"", "id = \"b\"\naliases = [\"a\"]")),
            "`a` already names another model",
        ),
        (good.replace('[', "("), "line 1, column 8: "),
    ];
    for (text, message) in cases {
        let fault = PriceTable::parse(&text).unwrap_err().to_string();
        assert!(fault.contains(message), "{fault}\n  wanted: {message}");
    }
}

/// A price as the exact fraction `numerator / 10^6` of a pico-dollar step, straight from the file's text.
fn fraction(word: &str) -> i128 {
    let (whole, part) = word.split_once('.').unwrap_or((word, ""));
    format!("{whole}{part:0<6}").parse().unwrap()
}

/// Every row of the built-in file as serde sees it: the judge does not use the code under test.
fn judge_rows() -> Vec<toml::Table> {
    let file: toml::Table = toml::from_str(BUILTIN).unwrap();
    file["model"].as_array().unwrap().iter().map(|row| row.as_table().unwrap().clone()).collect()
}

fn judge(row: &toml::Table, usage: &Usage, batch: bool) -> (i128, i128) {
    let counts = &usage.counts;
    let rates = match (usage.speed, row.get("fast"), row.get("band")) {
        (Speed::Fast, Some(fast), _) => fast,
        (_, _, Some(band))
            if i128::from(counts.prompt()) > i128::from(band["above"].as_integer().unwrap()) =>
        {
            &band["rates"]
        }
        _ => &row["rates"],
    };
    let price = |class: &str, tokens: u64| fraction(rates[class].as_str().unwrap()) * i128::from(tokens);
    let sum = price("input", counts.input)
        + price("cache_write_5m", counts.cache_write_5m)
        + price("cache_write_1h", counts.cache_write_1h)
        + price("cache_read", counts.cache_read)
        + price("output", counts.output);
    let us = usage.inference_geo.as_deref() == Some("us") && row["geography"].as_bool().unwrap();
    let (mut top, mut bottom) = if us { (sum * 11, 10) } else { (sum, 1) };
    if batch {
        bottom *= 2;
    }
    top += i128::from(usage.web_search_requests) * 10_000_000_000 * bottom;
    (top, bottom)
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let tokens = || prop_oneof![0u64..10, 0u64..200_001, 0u64..1_000_000_000_000];
    let geo = prop::sample::select(vec![None, Some("us"), Some("global")]);
    ((tokens(), tokens(), tokens(), tokens(), tokens()), geo, any::<bool>(), 0u64..5).prop_map(
        |(t, geo, fast, searches)| Usage {
            counts: TokenCounts {
                input: t.0,
                cache_write_5m: t.1,
                cache_write_1h: t.2,
                cache_read: t.3,
                output: t.4,
            },
            inference_geo: geo.map(Into::into),
            speed: if fast { Speed::Fast } else { Speed::Standard },
            web_search_requests: searches,
            ..Usage::default()
        },
    )
}

proptest! {
    #[test]
    fn integer_cost_equals_rational_arithmetic(usage in any_usage(), batch in any::<bool>(), pick in any::<prop::sample::Index>()) {
        let rows = judge_rows();
        let row = pick.get(&rows);
        let mut usage = usage;
        if row.get("fast").is_none() {
            usage.speed = Speed::Standard;
        }
        let at = if row["id"].as_str() == Some("claude-sonnet-5-5") && row.get("from").is_none() { BEFORE_OCTOBER_7 } else { NOW };
        let kind = if batch { CallKind::Batch } else { CallKind::Single };
        let table = PriceTable::builtin();
        let cost = table.cost(row["id"].as_str().unwrap(), &usage, kind, at);
        let (top, bottom) = judge(row, &usage, batch);
        prop_assert_eq!(top % bottom, 0, "not a whole number of pico-dollars");
        prop_assert_eq!(cost.pico, top / bottom);
        prop_assert!(!cost.unknown_model);
    }

    #[test]
    fn no_call_costs_more_than_its_worst_case(
        usage in any_usage(), body_len in 0u64..2_000_000, max_tokens in prop::option::of(0u64..200_000),
        pick in any::<prop::sample::Index>(), unknown in any::<bool>(), shares in prop::array::uniform4(0u64..100),
    ) {
        let table = PriceTable::builtin();
        let row = pick.get(table.rows());
        let model = if unknown { "claude-next-9" } else { &row.id };
        let mut usage = usage;
        usage.web_search_requests = 0;
        if !unknown && row.fast.is_none() {
            usage.speed = Speed::Standard;
        }
        let window = if unknown { 1_000_000 } else { row.context_window };
        let total: u64 = shares.iter().sum::<u64>().max(1);
        let share = |n: usize| body_len.min(window) * shares[n] / total;
        usage.counts = TokenCounts {
            input: share(0), cache_write_5m: share(1), cache_write_1h: share(2), cache_read: share(3),
            output: usage.counts.output.min(max_tokens.unwrap_or(if unknown { 128_000 } else { row.max_output })),
        };
        let worst = table.worst_case(model, body_len, max_tokens, NOW);
        prop_assert!(table.cost(model, &usage, CallKind::Single, NOW).pico <= worst);
    }

    #[test]
    fn no_usage_overflows(tokens in prop::array::uniform5(any::<u64>())) {
        let usage = Usage {
            counts: TokenCounts { input: tokens[0], cache_write_5m: tokens[1], cache_write_1h: tokens[2], cache_read: tokens[3], output: tokens[4] },
            inference_geo: Some("us".into()),
            web_search_requests: u64::MAX,
            ..Usage::default()
        };
        let table = PriceTable::builtin();
        prop_assert!(table.cost("claude-opus-5", &usage, CallKind::Single, NOW).pico >= 0);
        prop_assert!(table.worst_case("claude-opus-5", u64::MAX, Some(u64::MAX), NOW) > 0);
    }
}

fn exposed() -> crate::exposure::Exposure {
    crate::exposure::Exposure::default()
}

fn call<'a>(model: &'a str, exposure: &'a crate::exposure::Exposure) -> Call<'a> {
    Call { model, body_len: 1_000, max_tokens: Some(100), exposure, kind: CallKind::Single }
}

fn tool(kind: &str, max_uses: Option<u64>) -> crate::exposure::TypedTool {
    crate::exposure::TypedTool { kind: kind.into(), max_uses, model: None }
}

#[test]
fn images_count_as_images_and_not_by_their_bytes() {
    let table = PriceTable::builtin();
    let plain = exposed();
    let long = Call { body_len: 900_000, ..call("claude-opus-5", &plain) };
    let image = crate::exposure::Exposure { images: 1, image_bytes: 899_000, ..exposed() };
    let with_image = Call { exposure: &image, ..long };
    let at = |call: &Call<'_>| table.ceiling(call, [], NOW).unwrap();
    assert!(at(&with_image) < at(&long) / 10);
    assert!(at(&with_image) > at(&call("claude-opus-5", &plain)));
    let fetched = crate::exposure::Exposure { whole_window: true, ..exposed() };
    let row = table.row("claude-opus-5", NOW).unwrap();
    assert_eq!(at(&call("claude-opus-5", &fetched)), row.worst_case(row.context_window, Some(100)));
}

#[test]
fn what_has_no_bound_is_named() {
    let table = PriceTable::builtin();
    let named = |exposure: crate::exposure::Exposure, betas: &[&'static str]| {
        table.ceiling(&call("claude-opus-5", &exposure), betas.iter().copied(), NOW).unwrap_err().to_string()
    };
    let tools = |tools| crate::exposure::Exposure { tools, ..exposed() };
    let features = |name: &str| crate::exposure::Exposure { features: vec![name.into()], ..exposed() };
    insta::assert_snapshot!(named(tools(vec![tool("web_search_20260209", None)]), &[]), @"tools: `web_search_20260209` needs `max_uses`, so that what it costs has a bound, as a hard budget demands");
    insta::assert_snapshot!(named(tools(vec![tool("code_execution_20260120", Some(1))]), &[]), @"tool `code_execution_20260120`: what it costs has no bound, which a hard budget does not allow");
    insta::assert_snapshot!(named(features("mcp_servers"), &[]), @"field `mcp_servers`: what it costs has no bound, which a hard budget does not allow");
    insta::assert_snapshot!(named(features("invented"), &[]), @"field `invented`: what it costs has no bound, which a hard budget does not allow");
    insta::assert_snapshot!(named(exposed(), &["effort-2025-11-24", "invented-2027-01-01"]), @"beta `invented-2027-01-01`: what it costs has no bound, which a hard budget does not allow");
    let many = crate::exposure::Exposure { overflows: true, ..exposed() };
    assert_eq!(table.ceiling(&call("claude-opus-5", &many), [], NOW), Err(Unbounded::TooMany));
}

#[test]
fn what_claude_code_sends_has_a_bound() {
    let betas = [
        "claude-code-20250219",
        "interleaved-thinking-2025-05-14",
        "context-management-2025-06-27",
        "per-turn-control-2026-07-01",
        "mid-conversation-tool-changes-2026-07-01",
        "thinking-token-count-2026-05-13",
        "advanced-tool-use-2025-11-20",
        "effort-2025-11-24",
        "dangerous-tool-use-2026-09-03",
        "thinking-display-updates-2026-08-18",
        "afk-mode-2026-01-31",
        "structured-outputs-2025-12-15",
        "redact-thinking-2026-02-12",
    ];
    let exposure = crate::exposure::Exposure {
        features: [
            "context_management",
            "context_management.clear_thinking_20251015",
            "output_config",
            "safeguards",
        ]
        .map(Box::from)
        .into(),
        ..exposed()
    };
    assert!(PriceTable::builtin().ceiling(&call("claude-opus-5-5", &exposure), betas, NOW).is_ok());
}

#[test]
fn tools_that_run_there_multiply_and_other_models_add() {
    let table = PriceTable::builtin();
    let at = |exposure: crate::exposure::Exposure| {
        table.ceiling(&call("claude-opus-5", &exposure), [], NOW).unwrap()
    };
    let full = |model: &str, out: Option<u64>| {
        let row = table.row(model, NOW).unwrap();
        row.worst_case(row.context_window, out)
    };
    let searching =
        crate::exposure::Exposure { tools: vec![tool("web_search_20260209", Some(2))], ..exposed() };
    assert_eq!(at(searching), 3 * full("claude-opus-5", Some(100)) + 2 * 10_000_000_000);
    let advised = crate::exposure::TypedTool {
        model: Some("claude-fable-5-1".into()),
        ..tool("advisor_20260301", Some(1))
    };
    let advised = crate::exposure::Exposure { tools: vec![advised], ..exposed() };
    assert_eq!(at(advised), 2 * full("claude-opus-5", Some(100)) + full("claude-fable-5-1", None));
    let fallbacks = crate::exposure::Exposure { fallbacks: vec!["claude-opus-5".into()], ..exposed() };
    assert_eq!(at(fallbacks), 2 * at(exposed()));
}

#[test]
fn an_operator_classes_what_is_new_or_sets_a_price_on_it() {
    let text = r#"
        [[class]]
        of = "beta"
        is = "free"
        names = ["invented-*"]

        [[class]]
        of = "tool"
        is = "unbounded"
        names = ["code_execution_*"]
        surcharge = "0.05"
    "#;
    let table = PriceTable::builtin().with_override(text).unwrap();
    let executing =
        crate::exposure::Exposure { tools: vec![tool("code_execution_20260120", None)], ..exposed() };
    let plain = exposed();
    let without = table.ceiling(&call("claude-opus-5", &plain), ["invented-2027-01-01"], NOW).unwrap();
    let with = table.ceiling(&call("claude-opus-5", &executing), [], NOW).unwrap();
    assert_eq!(with - without, 50_000_000_000);
    let bad = PriceTable::builtin().with_override("[[class]]\nof = \"beta\"\nis = \"cheap\"\nnames = []\n");
    assert_eq!(bad.unwrap_err().line, 3);
}

proptest! {
    /// No answer to a request costs more than what was worked out before: prompts as long as the body lets them be and
    /// one time more for each use of a tool, in every split over cache classes, with and without fast mode and surcharge.
    #[test]
    fn no_answer_costs_more_than_the_ceiling(
        model in prop::sample::select(PriceTable::builtin().rows().iter().map(|r| r.id.to_string()).chain(["unknown".into()]).collect::<Vec<_>>()),
        body_len in 0_u64..3_000_000,
        images in 0_u64..20,
        uses in 0_u64..4,
        searches in any::<bool>(),
        shares in prop::array::uniform4(0_u64..100),
        max_tokens in 0_u64..200_000,
        fast in any::<bool>(),
        us in any::<bool>(),
        batch in any::<bool>(),
    ) {
        let table = PriceTable::builtin();
        let kind = if batch { CallKind::Batch } else { CallKind::Single };
        let name = if searches { "web_search_20260209" } else { "web_fetch_20260209" };
        let tools = if uses > 0 { vec![tool(name, Some(uses))] } else { Vec::new() };
        let image_bytes = (images * 60_000).min(body_len);
        let features = if fast { vec!["speed".into()] } else { Vec::new() };
        let exposure = crate::exposure::Exposure { images, image_bytes, tools, features, ..exposed() };
        let ask = Call { model: &model, body_len, max_tokens: Some(max_tokens), exposure: &exposure, kind };
        let ceiling = table.ceiling(&ask, [], NOW).unwrap();

        let window = table.row(&model, NOW).map_or(1_000_000, |row| row.context_window);
        let read = (body_len - image_bytes + images * 4_900 + 9_000).min(window);
        let prompt = if uses > 0 { window * (uses + 1) } else { read };
        let total: u64 = shares.iter().sum::<u64>().max(1);
        let part = |share: u64| prompt * share / total;
        let counts = TokenCounts {
            input: part(shares[0]),
            cache_write_5m: part(shares[1]),
            cache_write_1h: part(shares[2]),
            cache_read: part(shares[3]),
            output: max_tokens * (uses + 1),
        };
        let usage = Usage {
            counts,
            speed: if fast && !batch { Speed::Fast } else { Speed::Standard },
            inference_geo: us.then(|| "us".into()),
            web_search_requests: if searches { uses } else { 0 },
            ..Usage::default()
        };
        let cost = table.cost(&model, &usage, kind, NOW).pico;
        prop_assert!(cost <= ceiling, "{cost} > {ceiling}");
    }
}
